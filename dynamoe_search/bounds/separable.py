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

    It also finds the best active schedule of given experts: the counts are then K_l, and `total` is
    their sum. For both together see `dynamoe_search.bounds.pairs`.

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


def best_of_equal_layers(utility: ArrayLike, layers: int, total: int, minimum: int = 1) -> Optimum:
    """The schedule with the largest utility, where it is the same function in every layer.

    A concave utility is largest where layers are most even, a convex one where they are most uneven
    (Marshall, Olkin and Arnold 2011, chapter 3, proposition C.1). For others: dynamic programming
    over halves of the layers, in O(total^2 log depth). Of equal schedules any may come.

    Parameters
    ----------
    utility : array_like of float, shape (counts,)
        Of `minimum`, `minimum` + 1, ... experts in a layer; -inf forbids a number.
    layers, total, minimum : int
        As for `best_schedule`.

    Raises
    ------
    InvalidInput
        As `best_schedule`.

    Examples
    --------
    >>> best_of_equal_layers([0, 1, 4, 9], layers=3, total=7).schedule
    Schedule(counts=(1, 2, 4))
    """
    u = np.asarray(utility, dtype=np.float64)
    if u.ndim != 1 or not (u < np.inf).all():
        raise InvalidInput("the utility of a layer is one number below inf for each count")
    check_bounds(total, layers, minimum, minimum + len(u) - 1)
    spare = total - layers * minimum
    u = u[: spare + 1]
    largest = np.abs(u).max()
    # A forbidden number makes it neither.
    bends = np.diff(u, 2) / max(largest, 1) if largest < np.inf else np.full(1, np.nan)
    if (bends <= _ROUNDING).all():
        chosen = [(spare + layer) // layers for layer in range(layers)]
    elif (bends >= -_ROUNDING).all():
        full, rest = divmod(spare, len(u) - 1)
        chosen = ([0] * layers + [rest] + [len(u) - 1] * full)[-layers:]
    else:
        best: dict[int, NDArray[np.float64]] = {}
        _add_halves(best, u, layers, spare)
        if best[layers][spare] == -np.inf:
            raise InvalidInput(
                f"every schedule of {layers} layers and {total} experts is forbidden"
            )
        chosen = sorted(_split(best, layers, spare))
    schedule = Schedule(tuple(minimum + more for more in chosen))
    return Optimum(schedule, float(u[chosen].sum()))


def _add_halves(
    best: dict[int, NDArray[np.float64]], u: NDArray[np.float64], layers: int, spare: int
) -> None:
    """Add the largest utilities of some layers together, by the experts that they share."""
    if layers in best:
        return
    if layers == 1:
        best[1] = u
        return
    for half in (layers // 2, layers - layers // 2):
        _add_halves(best, u, half, spare)
    one, other = best[layers // 2], best[layers - layers // 2]
    both = np.full(min(len(one) + len(other) - 1, spare + 1), -np.inf)
    for more, value in enumerate(one):
        part = both[more : more + len(other)]
        np.maximum(part, value + other[: len(part)], out=part)
    best[layers] = both


def _split(best: dict[int, NDArray[np.float64]], layers: int, left: int) -> list[int]:
    """The experts above the minimum of each layer, as even as can be without a loss."""
    if layers == 1:
        return [left]
    half = layers // 2
    one, other = best[half], best[layers - half]
    more = np.arange(max(0, left - len(other) + 1), min(len(one), left + 1))
    values = one[more] + other[left - more]
    equals = more[values == values.max()]
    first = int(equals[np.abs(equals - left * half / layers).argmin()])
    return _split(best, half, first) + _split(best, layers - half, left - first)


def worst_of_equal_layers(utility: ArrayLike, layers: int, total: int, minimum: int = 1) -> Optimum:
    """The schedule with the smallest utility: as `best_of_equal_layers`.

    Examples
    --------
    >>> worst_of_equal_layers([0, 1, 4, 9], layers=3, total=7).schedule
    Schedule(counts=(2, 2, 3))
    """
    optimum = best_of_equal_layers(-np.asarray(utility, dtype=np.float64), layers, total, minimum)
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
