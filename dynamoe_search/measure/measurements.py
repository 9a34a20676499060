"""What a study can measure of each network that it trains: numbers, and tables as lists of rows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.measure.gradient_moments import pool_groups, with_ratios
from dynamoe_search.measure.gradients import gradient_noise_by_group
from dynamoe_search.measure.quantities import GROUPS, NETWORK
from dynamoe_search.measure.representation import rank_table, sum_representations
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization_tables import load_table, utilization_table
from dynamoe_search.models import Model
from dynamoe_search.specification import Experts
from dynamoe_search.training.settings import Precision

_MICRO_BATCH, _MICRO_BATCHES = 32, 8


def gradients_now(
    model: Model,
    split: ImageSplit | TextSplit,
    fraction: float,
    seed: int,
    precision: Precision = "float32",
) -> pd.DataFrame:
    """The gradient noise of a network at a point of its training, by group and of all parameters.

    It is estimated from 8 micro-batches of 32 samples, or fewer for a smaller split.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    split : ImageSplit or TextSplit
        Usually the training split.
    fraction : float
        The part of the training that is done.
    seed : int
        Decides which samples are drawn.
    precision : {"float32", "bfloat16"}

    Returns
    -------
    DataFrame
        One row for the whole network (``group`` is ``network``), and one for each group that it
        has: ``fraction``, ``group``, and the columns of `gradient_noise_by_group`.
    """
    batch = min(_MICRO_BATCH, max(1, len(split) // 2))
    micro_batches = min(_MICRO_BATCHES, len(split) // batch)
    by_layer = gradient_noise_by_group(model, split, batch, micro_batches, seed, precision)
    return pool_groups(by_layer.assign(fraction=fraction), ["fraction"])


def gradient_results(moments: pd.DataFrame) -> dict[str, Any]:
    """The results of a training run that are kept of its gradients.

    Parameters
    ----------
    moments : DataFrame
        The tables of `gradients_now` at all measured points, below each other.

    Returns
    -------
    dict
        ``gradient_noise``, ``gradient_trace``, ``gradient_squared_norm``, and ``gradient_noise_``
        with each group: means over the training, where noise scales are ratios of means; and
        ``gradients``, the table as a list of rows.
    """
    # A mean with NaN is NaN.
    grouped = moments.groupby("group", sort=False)
    means = with_ratios(grouped.agg(lambda values: values.mean(skipna=False)).reset_index())
    of_group = means.set_index("group").to_dict("index")
    network = of_group[NETWORK]
    return {
        "gradient_noise": network["noise_scale"],
        "gradient_trace": network["trace"],
        "gradient_squared_norm": network["squared_norm"],
        **{
            f"gradient_noise_{group}": of_group[group]["noise_scale"]
            for group in GROUPS
            if group in of_group
        },
        "gradients": moments.to_dict("records"),
    }


def utilization_results(
    model: Model, split: ImageSplit | TextSplit, precision: Precision = "float32"
) -> dict[str, Any]:
    """The results of a training run about the use of its experts; empty for a dense network.

    Returns
    -------
    dict
        Sums over layers (``effective_experts``, ``dead_experts``); means over layers
        (``maximum_violation``, ``gini``, ``router_entropy``, and ``information``, the mutual
        information of experts with classes or tokens, less its chance level); and as lists of rows
        ``utilization``, by `utilization_table`, and ``load``, by `load_table`.
    """
    if not isinstance(model.specification.blocks, Experts):
        return {}
    counts = count_routings(model, split, precision=precision)
    table = utilization_table(counts)
    information = table["mutual_information"] - table["chance_information"]
    return {
        **{name: float(table[name].sum()) for name in ("effective_experts", "dead_experts")},
        **{
            name: float(table[name].mean())
            for name in ("maximum_violation", "gini", "router_entropy")
        },
        "information": float(information.mean()),
        "utilization": _rows(table),
        "load": _rows(load_table(counts)),
    }


def representation_results(
    model: Model, split: ImageSplit | TextSplit, precision: Precision = "float32"
) -> dict[str, Any]:
    """The results of a training run about the tokens' representations at its layers.

    Returns
    -------
    dict
        ``effective_rank`` (the mean over layers), ``effective_rank_first`` and
        ``effective_rank_last``; and ``representation``, by `rank_table`, as a list of rows.
    """
    table = rank_table(sum_representations(model, split, precision))
    ranks = table["effective_rank"]
    return {
        "effective_rank": float(ranks.mean()),
        "effective_rank_first": float(ranks.iloc[0]),
        "effective_rank_last": float(ranks.iloc[-1]),
        "representation": _rows(table),
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return list(table.to_dict("records"))
