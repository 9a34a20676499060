"""What no training of a schedule can beat: its size, its FLOPs, and what its routing can reach.

All counts are of the layers of experts with their routers; the rest of a network costs every
schedule the same. Every bound is a sum, or a mean, over layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.bounds.routing import (
    balanced_distinct_experts,
    entropy_bounds,
    log2_configurations,
)
from dynamoe_search.budgets import Spread, active_experts
from dynamoe_search.specification import Experts, Router


@dataclass(frozen=True)
class Quantity:
    """A number that layers have: how it is called, its unit, and whether a network has its mean."""

    label: str
    unit: str
    is_mean: bool = False


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "parameters": Quantity("parameters", ""),
        "active_minimum": Quantity("fewest active experts", "a layer", is_mean=True),
        "active_expected": Quantity("expected active experts", "a layer", is_mean=True),
        "active_maximum": Quantity("most active experts", "a layer", is_mean=True),
        "active_parameters": Quantity("expected active parameters", ""),
        "flops_minimum": Quantity("fewest FLOPs", "a token"),
        "flops_expected": Quantity("expected FLOPs", "a token"),
        "flops_maximum": Quantity("most FLOPs", "a token"),
        "log2_configurations": Quantity("routing configurations", "bits"),
        "entropy_floor": Quantity("entropy floor", "nats a layer", is_mean=True),
        "entropy_ceiling": Quantity("entropy ceiling", "nats a layer", is_mean=True),
        "distinct_experts": Quantity("distinct experts", "a batch"),
        "touched_parameters": Quantity("parameters touched", "a batch"),
    }
)
"""What `schedule_bounds` gives, by column."""


def layer_bounds(
    blocks: Experts, width: int, tokens: int = 1, mean_active: ArrayLike | None = None
) -> pd.DataFrame:
    """The bounds of each layer.

    Parameters
    ----------
    blocks : Experts
        The experts of each layer, and its router.
    width : int
        The model width d.
    tokens : int
        The batch T.
    mean_active : array_like of float, shape (L,), optional
        The measured mean K of each layer. Without it, expected is what
        `dynamoe_search.budgets.active_experts` expects: the K of a router of fixed K, that which a
        controller holds, else that of an untrained router, which is the most.

    Returns
    -------
    DataFrame
        A row a layer; ``experts`` (N) and the columns of `QUANTITIES`:

        - parameters d N + 2 d h N, of them active d N + 2 d h K;
        - FLOPs of a token's forward pass 2 (d N + 2 d h K), for the fewest, the expected and the
          most active experts K;
        - configurations in bits: `routing_bounds.log2_configurations`;
        - floor and ceiling of the load entropy, ln K and ln N, K being the measured mean, else the
          fewest: `routing_bounds.entropy_bounds`;
        - distinct experts U of a batch at the expected K, where all are used alike, which is the
          most, and the parameters d N + 2 d h U that it touches:
          `routing_bounds.balanced_distinct_experts`.

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
    rows = [
        _layer(router, experts, spread, width, blocks.hidden, tokens, measured is not None)
        for experts, router, spread in zip(blocks.schedule, blocks.routers, spreads, strict=True)
    ]
    return pd.DataFrame(rows)


def _layer(
    router: Router,
    experts: int,
    active: Spread,
    width: int,
    hidden: int,
    tokens: int,
    measured: bool,
) -> dict[str, float]:
    expert, routing = 2 * width * hidden, width * experts
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


def schedule_bounds(
    blocks: Experts, width: int, tokens: int = 1, mean_active: ArrayLike | None = None
) -> pd.Series:
    """The bounds of one schedule: sums over its layers; of K and of entropies the means.

    Parameters
    ----------
    blocks, width, tokens, mean_active
        As in `layer_bounds`.

    Returns
    -------
    Series
        By the names of `QUANTITIES`.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import TopK
    >>> bounds = schedule_bounds(Experts(64, Schedule((6, 2)), TopK(k=2)), width=32)
    >>> int(bounds["parameters"]), int(bounds["flops_maximum"]), bounds["active_maximum"].item()
    (33024, 33280, 2.0)
    """
    totals = layer_bounds(blocks, width, tokens, mean_active)[list(QUANTITIES)].sum()
    return totals / divisors(blocks.depth)


def divisors(depth: int) -> NDArray[np.int64]:
    """What sums over so many layers are divided by, for each of `QUANTITIES`."""
    return np.array([depth if quantity.is_mean else 1 for quantity in QUANTITIES.values()])
