"""The exact best schedule that a cost allows, where layers may differ in what an expert costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.bounds.separable import Optimum
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule


def best_affordable_schedule(
    utility: ArrayLike, cost: ArrayLike, budget: int, minimum: int = 1
) -> Optimum:
    """The schedule with the largest utility, sum over l of u_l(N_l), among those within a budget.

    Its cost, sum over l of c_l(N_l), is at most the budget; `best_schedule` is for one total of
    experts instead. Layers are added one by one. Of the schedules of the layers so far only those
    stay that no other one beats in utility at no more cost, so that the result is exact for any
    numbers. There are at most as many as there are different costs within the budget.

    Parameters
    ----------
    utility : array_like of float, shape (depth, counts)
        u_l of `minimum`, `minimum` + 1, ... experts; -inf forbids a number.
    cost : array_like of int, shape (depth, counts)
        c_l of the same numbers, such as FLOPs; at least 0.
    budget : int
        The largest cost of all layers together.
    minimum : int
        The first number of experts.

    Returns
    -------
    Optimum
        Of equal utilities one of the cheapest.

    Raises
    ------
    InvalidInput
        If the shapes differ, a utility is NaN or inf, a cost is not a whole number or below 0, or
        every schedule within the budget is forbidden.

    Examples
    --------
    >>> gain = [[0, 4, 5], [0, 3, 6]]  # of 1, 2 or 3 experts, in two layers
    >>> best_affordable_schedule(gain, cost=[[1, 2, 3], [2, 4, 6]], budget=6)
    Optimum(schedule=Schedule(counts=(2, 2)), value=7.0)
    """
    u, c = np.asarray(utility, dtype=np.float64), np.asarray(cost)
    if u.ndim != 2 or u.shape != c.shape or not (u < np.inf).all():
        raise InvalidInput(
            f"the utility is of shape {u.shape} and the cost of shape {c.shape}; expected one row"
            " per layer in both, with a utility below inf for each count of experts"
        )
    if c.dtype.kind not in "iu" or (c < 0).any():
        raise InvalidInput("a cost is not a whole number of at least 0")
    least = np.where(u > -np.inf, c, np.iinfo(np.int64).max).min(axis=1)
    if not (u > -np.inf).any(axis=1).all() or sum(least.tolist()) > budget:
        raise InvalidInput(f"every schedule of {len(u)} layers is forbidden, or over {budget:,}")
    left_after = np.append(np.cumsum(least[::-1])[::-1][1:], 0)  # what later layers need at least
    costs, values = np.zeros(1, dtype=np.int64), np.zeros(1)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for utilities, prices, needed in zip(u, c, left_after, strict=True):
        both = np.add.outer(costs, prices).ravel(), np.add.outer(values, utilities).ravel()
        allowed = np.flatnonzero((both[0] <= budget - needed) & (both[1] > -np.inf))
        costs, values = both[0][allowed], both[1][allowed]
        order = np.lexsort((-values, costs))  # by cost, and of one cost the best first
        best_before = np.maximum.accumulate(np.append(-np.inf, values[order][:-1]))
        kept = order[values[order] > best_before]
        costs, values = costs[kept], values[kept]
        steps.append(np.divmod(allowed[kept], len(prices)))  # the schedule before, and its choice
    chosen, place = [], len(values) - 1
    for before, choice in reversed(steps):
        chosen.append(minimum + int(choice[place]))
        place = int(before[place])
    return Optimum(Schedule(tuple(reversed(chosen))), float(values[-1]))
