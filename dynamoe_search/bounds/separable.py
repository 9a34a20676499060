"""The exact best and worst schedules of a budget, for any utility that is a sum over layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.schedules.allocation import check_bounds

_ROUNDING = 1e-12  # relative; sums that differ by less, only by their order, count as equal


@dataclass(frozen=True)
class Optimum:
    """An optimal schedule of a budget, and its utility."""

    schedule: Schedule
    value: float


def best_schedule(utility: ArrayLike, total: int, minimum: int = 1) -> Optimum:
    """The schedule with the largest utility, sum over l of u_l(N_l), among all of a total.

    Dynamic programming over layers and remaining experts: exact for any numbers u, in
    O(depth * total * counts). Of equal schedules it takes the most even one: from the first layer
    on, the count nearest to an even share of the remaining experts.

    Parameters
    ----------
    utility : array_like of float, shape (depth, counts)
        u_l of `minimum`, `minimum` + 1, ... experts. A layer can have at most
        `minimum` + counts - 1; -inf forbids a number.
    total : int
        The experts of all layers together.
    minimum : int
        The fewest experts per layer, at least 1.

    Returns
    -------
    Optimum

    Raises
    ------
    InvalidInput
        If a utility is NaN or inf, no schedule has this total, or every schedule is forbidden.

    Examples
    --------
    >>> gain = [[0, 4, 5, 5], [0, 3, 5, 6]]  # of 1, 2, 3 or 4 experts, in two layers
    >>> best_schedule(gain, total=5)
    Optimum(schedule=Schedule(counts=(2, 3)), value=9.0)
    """
    u = np.asarray(utility, dtype=np.float64)
    if u.ndim != 2 or not (u < np.inf).all():
        raise InvalidInput(
            f"the utility is of shape {u.shape}; expected one row per layer, with a number below"
            " inf for each count of experts"
        )
    depth, counts = u.shape
    check_bounds(total, depth, minimum, minimum + counts - 1)
    spare = total - depth * minimum
    counts = min(counts, spare + 1)
    # best[l, s]: the largest utility of layers l, l + 1, ... with s experts above their minimum
    best = np.full((depth + 1, spare + 1), -np.inf)
    best[depth, 0] = 0
    for layer in reversed(range(depth)):
        for more in range(counts):
            rest = best[layer + 1, : spare + 1 - more] + u[layer, more]
            np.maximum(best[layer, more:], rest, out=best[layer, more:])
    if best[0, spare] == -np.inf:
        raise InvalidInput(f"every schedule of {depth} layers and {total} experts is forbidden")
    chosen = _chosen(u, best, counts)
    value = float(u[np.arange(depth), chosen].sum())
    return Optimum(Schedule(tuple(minimum + more for more in chosen)), value)


def worst_schedule(utility: ArrayLike, total: int, minimum: int = 1) -> Optimum:
    """The schedule with the smallest utility: as `best_schedule`, but inf forbids a number.

    Examples
    --------
    >>> worst_schedule([[0, 4, 5, 5], [0, 3, 5, 6]], total=5).schedule
    Schedule(counts=(4, 1))
    """
    optimum = best_schedule(-np.asarray(utility, dtype=np.float64), total, minimum)
    return Optimum(optimum.schedule, 0.0 - optimum.value)


def _chosen(u: NDArray[np.float64], best: NDArray[np.float64], counts: int) -> list[int]:
    """The experts above the minimum in each layer of the optimum, from the first layer on."""
    depth, left = len(u), best.shape[1] - 1
    chosen = []
    for layer in range(depth):
        more = np.arange(min(counts, left + 1))
        values = u[layer, more] + best[layer + 1, left - more]
        largest = values.max()
        equals = more[values >= largest - _ROUNDING * max(1.0, abs(largest))]
        even = left / (depth - layer)
        chosen.append(int(equals[np.abs(equals - even).argmin()]))
        left -= chosen[-1]
    return chosen
