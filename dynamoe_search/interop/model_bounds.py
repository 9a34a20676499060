"""How far the schedule of a real model is from the best and the worst of its own budget.

The budget is the model's experts, in its layers with experts, each with at least the k experts that
a token uses there, and in multiples of the expert-parallel degree.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from dynamoe_search.bounds.routing import (
    balanced_distinct_experts,
    entropy_bounds,
    log2_configurations,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import TopK

QUANTITIES = ("log2_configurations", "entropy_ceiling", "distinct_experts")
"""Routing configurations in bits, the mean of ln N in nats per layer, and the distinct experts that
a batch touches with an even load."""


def model_bounds(model: ModelConfig, tokens: int = 1, step: int = 1) -> pd.DataFrame:
    """The bounds of a model's schedule, beside the extremes over all schedules of its budget.

    All quantities are concave in N from k on, so the extremes are exact. The counts of
    configurations take every set of k experts as possible; routers that first choose groups of
    experts reach fewer.

    Parameters
    ----------
    model : ModelConfig
        With experts in some layer.
    tokens : int
        The batch of which distinct experts are counted.
    step : int
        Every layer has a multiple of it.

    Returns
    -------
    DataFrame
        A row for each of `QUANTITIES`, the index: ``value`` of the model, ``least``, ``most``,
        ``most_schedule`` (of the layers with experts) and ``share`` (value / most).

    Raises
    ------
    InvalidInput
        Where no schedule of these steps has the model's total, or no layer has experts.

    Examples
    --------
    >>> from dynamoe_search.interop.reading import read_config
    >>> row = model_bounds(read_config({"model_type": "mixtral"})).loc["log2_configurations"]
    >>> round(float(row["value"]), 1), float(row["share"]), str(row["most_schedule"])[:7]
    (153.8, 1.0, '8-8-8-8')
    """
    layers = [model.layers[place] for place in model.moe_layers]
    counts, active = [layer.experts for layer in layers], [layer.active for layer in layers]
    depth, total = len(layers), model.schedule.total
    of_one: dict[str, Callable[[int, int], float]] = {
        "log2_configurations": lambda n, k: log2_configurations(TopK(k=k), n),
        "entropy_ceiling": lambda n, k: entropy_bounds(n, k)[1] / depth,
        "distinct_experts": lambda n, k: balanced_distinct_experts(n, k, tokens),
    }
    least = [-(-k // step) for k in active]
    spare = total // step - sum(least)
    if total % step or spare < 0:
        raise InvalidInput(
            f"no schedule of {total} experts in {depth} layers has a multiple of {step} in each"
        )
    rows = {}
    for name, value in of_one.items():
        own = sum(value(n, k) for n, k in zip(counts, active, strict=True))
        lowest = [value(step * one, k) for one, k in zip(least, active, strict=True)]
        # The worst has all that is spare in one layer.
        alone = [value(step * (one + spare), k) for one, k in zip(least, active, strict=True)]
        worst = sum(lowest) + min(np.subtract(alone, lowest))
        best = _best_of_concave(value, active, least, spare, step)
        most = sum(value(n, k) for n, k in zip(best, active, strict=True))
        rows[name] = {
            "value": own,
            "least": worst,
            "most": most,
            "most_schedule": best,
            "share": 1.0 if math.isclose(own, most, rel_tol=1e-12) else own / most,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _best_of_concave(
    value: Callable[[int, int], float], active: list[int], least: list[int], spare: int, step: int
) -> Schedule:
    """The schedule with the largest sum of concave values, by N and k.

    What a further step gains falls in every layer, so the steps that gain most are the best. Layers
    are looked at up to a size that none of them wants.

    Parameters
    ----------
    value : callable
    active : list of int
        k of each layer.
    least : list of int
        The fewest steps of each layer.
    spare : int
        The steps above them, of all layers together.
    step : int
    """
    depth, size = len(active), 2 * -(-spare // len(active))
    while True:
        size = min(size, spare)
        gains = {
            (k, one): np.diff([value(step * n, k) for n in range(one, one + size + 1)])
            for k, one in set(zip(active, least, strict=True))
        }
        # In the order of sizes, so that of equal gains the most even come first.
        table = np.array([gains[layer] for layer in zip(active, least, strict=True)]).T
        chosen = np.argsort(-table.round(9), axis=None, kind="stable")[:spare]
        more = np.bincount(chosen % depth, minlength=depth)
        if size == spare or more.max() < size:
            return Schedule(
                tuple(step * (one + int(n)) for one, n in zip(least, more, strict=True))
            )
        size *= 2
