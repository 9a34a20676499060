"""Measured quantities of trained networks, beside their lower and upper bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

import numpy as np
import pandas as pd

from dynamoe_search.bounds.machine import Machine
from dynamoe_search.bounds.routing import entropy_bounds
from dynamoe_search.budgets import (
    BACKWARD_AND_FORWARD,
    active_experts,
    experts_of,
    flops_per_token,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.specification import Classifier, LanguageModel, Specification
from dynamoe_search.statistics.intervals import half_width, pooled_noise


@dataclass(frozen=True)
class MeasuredQuantity:
    """A quantity that is both measured and bounded: its label and unit."""

    label: str
    unit: str


MEASURED_AND_BOUNDED: Mapping[str, MeasuredQuantity] = MappingProxyType(
    {
        "active_experts": MeasuredQuantity("active experts K", "per layer"),
        "flops_per_token": MeasuredQuantity("forward FLOPs per token", ""),
        "entropy": MeasuredQuantity("load entropy", "nats per layer"),
        "training_seconds": MeasuredQuantity("time of a training run", "s"),
    }
)
"""The quantities of `measured_bounds`, by name."""


def measured_bounds(
    runs: pd.DataFrame,
    networks: Mapping[str, Specification],
    machine: Machine | None = None,
) -> pd.DataFrame:
    """Compare the measured quantities of candidates with their own bounds.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.
    networks : mapping of str to Classifier or LanguageModel
        The network, with experts, of each candidate to show.
    machine : Machine, optional
        One worker's part of the machine that trained. Without it, times have no bound.

    Returns
    -------
    DataFrame
        One row for each trained candidate, in the order of `networks`, and each of
        `MEASURED_AND_BOUNDED` that is known: ``candidate``, ``seeds``, ``quantity``; ``floor`` and
        ``ceiling``, the bounds; ``measured``, the mean over seeds, with ``low`` and ``high``
        (95 %, from the noise pooled over the study; NaN where nothing was trained twice);
        ``place``, from 0 at the floor to 1 at the ceiling; NaN where they are equal.

        - K, its mean over the layers with experts, between the fewest and the most of the router.
        - FLOPs per token of the whole network, at these K.
        - Load entropy, its mean over the layers with experts, between ln K at each layer's measured
          K, and ln N (`dynamoe_search.bounds.routing.entropy_bounds`).
        - Time of training without evaluation, above the training FLOPs at the measured K over the
          machine's peak. FLOPs that the usual count includes but that are never computed are left
          out: the gradient of the images, and the masked half of attention. Memory gives no bound,
          since the weights of a proxy stay in a cache. There is no ceiling.

    Raises
    ------
    InvalidInput
        If none of the candidates has a complete run.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts, TopP
    >>> network = Classifier(64, 10, 16, Experts(16, Schedule((3, 1)), TopP(p=0.7)))
    >>> runs = pd.DataFrame(
    ...     {
    ...         "candidate": ["3-1"], "state": ["complete"], "active_experts": [1.5],
    ...         "flops_per_token": [6000.0], "mean_active": [[2.0, 1.0]],
    ...         "layer_entropy": [[1.0, 0.0]], "training_seconds": [2.0], "training_flops": [1e9],
    ...         "samples": [1000],
    ...     }
    ... )
    >>> table = measured_bounds(runs, {"3-1": network}).set_index("quantity")
    >>> table.loc["active_experts", ["floor", "measured", "ceiling", "place"]].tolist()
    [1.0, 1.5, 2.0, 0.5]
    """
    complete = runs[runs["state"] == "complete"]
    known = {
        name: network for name, network in networks.items() if name in set(complete["candidate"])
    }
    if not known:
        raise InvalidInput(
            "none of the candidates has a complete training run; run the study first"
        )
    values = complete.assign(
        entropy=list(map(_mean_entropy, complete["layer_entropy"], complete["mean_active"]))
    )
    noises = {
        name: pooled_noise(values[name], values["candidate"]) for name in MEASURED_AND_BOUNDED
    }
    rows = []
    for candidate, network in known.items():
        own = values[values["candidate"] == candidate]
        for quantity, floor, ceiling in _bounds(own, network, machine):
            measured = float(own[quantity].mean())
            if np.isnan(measured):
                continue
            seeds = int(own[quantity].count())
            width = float(half_width(noises[quantity], seeds))
            span = ceiling - floor
            rows.append(
                {
                    "candidate": candidate,
                    "seeds": seeds,
                    "quantity": quantity,
                    "floor": floor,
                    "measured": measured,
                    "low": measured - width,
                    "high": measured + width,
                    "ceiling": ceiling,
                    "place": (measured - floor) / span if span > 1e-9 * abs(ceiling) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _mean_entropy(entropies: list[float] | None, active: list[float]) -> float:
    """The mean over the layers with experts, which are those that use any."""
    if entropies is None:
        return np.nan
    return fmean(one for one, used in zip(entropies, active, strict=True) if used)


def _bounds(
    own: pd.DataFrame, network: Specification, machine: Machine | None
) -> Iterator[tuple[str, float, float]]:
    """The name, floor and ceiling of each quantity, from a candidate's own runs."""
    blocks = experts_of(network)
    active, flops = active_experts(blocks), flops_per_token(network)
    layers = len(blocks.schedule.layers_with_experts)
    yield (
        "active_experts",
        sum(layer.minimum for layer in active) / layers,
        sum(layer.maximum for layer in active) / layers,
    )
    yield "flops_per_token", flops.minimum, flops.maximum
    bounds = [
        entropy_bounds(experts, min(max(1.0, mean), experts))
        for means in own["mean_active"]
        for experts, mean in zip(blocks.schedule, means, strict=True)
        if experts
    ]
    floors, ceilings = np.mean(bounds, axis=0).tolist()
    yield "entropy", floors, ceilings
    least = np.nan
    if machine is not None:
        flops_needed = own["training_flops"] - _never_computed(network) * own["samples"]
        least = float(flops_needed.mean()) / machine.peak_flops
    yield "training_seconds", least, np.nan


def _never_computed(network: Specification) -> int:
    """The FLOPs per sample that the usual count, three forward passes, includes wrongly.

    An image needs no gradient. In a text, half of the attention is masked; and if documents are
    separate, nearly all of it can be.
    """
    match network:
        case Classifier():
            return 2 * network.inputs * network.width
        case LanguageModel():
            masked = 2 if network.documents == "separate" else 1
            attention = masked * network.width * network.context if network.heads else 0
            return BACKWARD_AND_FORWARD * 2 * network.context * network.blocks.depth * attention
