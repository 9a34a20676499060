"""Bounds of one schedule: its parameters and FLOPs, and what its routing can reach at best.

All counts are of the layers of experts with their routers; the rest of a network costs the same
for every schedule. Every bound is a sum, or a mean, over layers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.bounds.routing import (
    balanced_distinct_experts,
    entropy_bounds,
    log2_configurations,
)
from dynamoe_search.budgets import Spread, active_experts
from dynamoe_search.specification import MATRICES, Experts, Router

QUANTITIES = (
    *("parameters", "active_minimum", "active_expected", "active_maximum", "active_parameters"),
    *("flops_minimum", "flops_expected", "flops_maximum", "log2_configurations"),
    *("entropy_floor", "entropy_ceiling", "distinct_experts", "touched_parameters"),
)
"""The names of the bounds: `layer_bounds` says what they are."""

_OF_PARAMETERS = ["parameters", "active_parameters", "touched_parameters"]
_OF_FLOPS = ["flops_minimum", "flops_expected", "flops_maximum"]
# The others are summed over layers.
_MEANS = {"active_minimum", "active_expected", "active_maximum", "entropy_floor", "entropy_ceiling"}


def layer_bounds(
    blocks: Experts, width: int, tokens: int = 1, mean_active: ArrayLike | None = None
) -> pd.DataFrame:
    """The bounds of each layer.

    Parameters
    ----------
    blocks : Experts
        The experts and the router of each layer.
    width : int
        The model width d.
    tokens : int
        The batch size T, in tokens.
    mean_active : array_like of float, shape (L,), optional
        The measured mean K of each layer. Without it, the expected K is that of
        `dynamoe_search.budgets.active_experts`: that of a router of fixed K, the K that a
        controller holds, or the K of an untrained router, which is the largest.

    Returns
    -------
    DataFrame
        One row per layer: ``experts`` (N) and the columns of `QUANTITIES`:

        - parameters d N + 2 d h N; active parameters d N + 2 d h K; in the modern style 3 d h in
          place of 2 d h, here and below. A plain block of hidden width h, and the shared experts of
          a layer, add 2 d h for each that every token uses;
        - FLOPs of a token's forward pass, 2 (d N + 2 d h K), for the fewest, the expected and the
          most active experts K;
        - routing configurations in bits, by `dynamoe_search.bounds.routing.log2_configurations`;
        - floor ln K and ceiling ln N of the load entropy, by
          `dynamoe_search.bounds.routing.entropy_bounds`; K is the measured mean, or else the
          fewest;
        - the most distinct experts U that a batch can touch at the expected K, reached with an even
          load, by `dynamoe_search.bounds.routing.balanced_distinct_experts`; and the parameters
          d N + 2 d h U that it touches.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import TopK
    >>> table = layer_bounds(Experts(64, Schedule((6, 2)), TopK(k=2)), width=32)
    >>> table[["experts", "flops_expected", "log2_configurations"]].round(2).values.tolist()
    [[6.0, 16768.0, 3.91], [2.0, 16512.0, 0.0]]
    """
    measured = None if mean_active is None else np.asarray(mean_active, dtype=np.float64).tolist()
    spreads = active_experts(blocks, measured)
    unit = MATRICES[blocks.style] * width
    rows = [
        _layer(router, experts, spread, width, unit * blocks.hidden, tokens, measured is not None)
        if experts
        else _plain_block()
        for experts, router, spread in zip(blocks.schedule, blocks.routers, spreads, strict=True)
    ]
    always = unit * np.array(blocks.always_widths)
    table = pd.DataFrame(rows)
    table[_OF_PARAMETERS] = table[_OF_PARAMETERS].add(always, axis=0)
    table[_OF_FLOPS] = table[_OF_FLOPS].add(2 * always, axis=0)
    return table


def _layer(
    router: Router,
    experts: int,
    active: Spread,
    width: int,
    expert: int,
    tokens: int,
    measured: bool,
) -> dict[str, float]:
    """The row of a layer of experts; `expert` is the number of parameters of each."""
    routing = width * experts
    distinct = balanced_distinct_experts(experts, active.expected, tokens)
    floor, ceiling = entropy_bounds(experts, active.expected if measured else active.minimum)
    return {
        "experts": experts,
        "parameters": routing + expert * experts,
        "active_minimum": active.minimum,
        "active_expected": active.expected,
        "active_maximum": active.maximum,
        "active_parameters": routing + expert * active.expected,
        "flops_minimum": 2 * (routing + expert * active.minimum),
        "flops_expected": 2 * (routing + expert * active.expected),
        "flops_maximum": 2 * (routing + expert * active.maximum),
        "log2_configurations": log2_configurations(router, experts),
        "entropy_floor": floor,
        "entropy_ceiling": ceiling,
        "distinct_experts": distinct,
        "touched_parameters": routing + expert * distinct,
    }


def _plain_block() -> dict[str, float]:
    """The row of a layer without experts: nothing is routed."""
    return {"experts": 0, **dict.fromkeys(QUANTITIES, 0)}


def schedule_bounds(
    blocks: Experts, width: int, tokens: int = 1, mean_active: ArrayLike | None = None
) -> pd.Series:
    """The bounds of one schedule: sums over its layers, but means of K and of entropies.

    The means are over the layers with experts.

    Parameters
    ----------
    blocks, width, tokens, mean_active
        As in `layer_bounds`.

    Returns
    -------
    Series
        Indexed by the names of `QUANTITIES`.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import TopK
    >>> bounds = schedule_bounds(Experts(64, Schedule((6, 2)), TopK(k=2)), width=32)
    >>> int(bounds["parameters"]), int(bounds["flops_maximum"]), bounds["active_maximum"].item()
    (33024, 33280, 2.0)
    """
    totals = layer_bounds(blocks, width, tokens, mean_active)[list(QUANTITIES)].sum()
    return totals / divisors(len(blocks.schedule.layers_with_experts))


def divisors(depth: int) -> NDArray[np.int64]:
    """What a sum over layers is divided by, for each of `QUANTITIES`: 1, or the depth for means."""
    return np.array([depth if name in _MEANS else 1 for name in QUANTITIES])
