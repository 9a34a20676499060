"""The exact best schedule with its active schedule, for any utility that is a sum over layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.schedules.allocation import check_bounds


@dataclass(frozen=True)
class Pair:
    """An optimal schedule, its active schedule, and their utility."""

    schedule: Schedule
    active: Schedule
    value: float


def best_pair(utility: ArrayLike, experts: int, active: int, minimum: int = 1) -> Pair:
    """The schedules with the largest utility, sum over l of u_l(N_l, K_l), at given sums of both.

    Dynamic programming over layers, remaining experts and remaining active experts: exact for any
    numbers u, in O(depth * experts * active * counts). Of equal pairs it takes the most even one:
    from the first layer on, the numbers nearest to an even share of what remains.

    Parameters
    ----------
    utility : array_like of float, shape (depth, counts, active counts)
        u_l of `minimum`, `minimum` + 1, ... experts, of which a token uses 1, 2, ...; -inf forbids
        a pair, such as K above N.
    experts, active : int
        The sums of N_l and of K_l over the layers.
    minimum : int
        The fewest experts per layer, at least 1.

    Raises
    ------
    InvalidInput
        If a utility is NaN or inf, no schedules have these sums, or all of them are forbidden.

    Examples
    --------
    >>> gain = np.log([[[1, -0.0], [2, 1], [3, 3]]] * 2, where=[[[1, 0], [1, 1], [1, 1]]] * 2,
    ...               out=np.full((2, 3, 2), -np.inf))  # ln C(N, K)
    >>> pair = best_pair(gain, experts=4, active=3)
    >>> str(pair.schedule), str(pair.active), round(pair.value, 2)
    ('1-3', '1-2', 1.1)
    """
    u = np.asarray(utility, dtype=np.float64)
    if u.ndim != 3 or not (u < np.inf).all():
        raise InvalidInput(
            f"the utility is of shape {u.shape}; expected, for each layer, a number below inf for"
            " each count of experts and of active experts"
        )
    depth, counts, most = u.shape
    check_bounds(experts, depth, minimum, minimum + counts - 1)
    check_bounds(active, depth, 1, most)
    best = _best_of_the_last_layers(u, experts - depth * minimum, active - depth)
    if best[0, -1, -1] == -np.inf:
        raise InvalidInput(f"every pair of {experts} experts and {active} active ones is forbidden")
    chosen = _chosen(u, best)
    return Pair(
        Schedule(tuple(minimum + more for more, _ in chosen)),
        Schedule(tuple(1 + used for _, used in chosen)),
        float(sum(u[layer, more, used] for layer, (more, used) in enumerate(chosen))),
    )


def _best_of_the_last_layers(
    u: NDArray[np.float64], spare: int, spare_active: int
) -> NDArray[np.float64]:
    """The largest utilities of layers l, l + 1, ..., by what they share above the least.

    Shape (depth + 1, spare + 1, spare_active + 1).
    """
    depth, counts, most = u.shape
    best = np.full((depth + 1, spare + 1, spare_active + 1), -np.inf)
    best[depth, 0, 0] = 0
    for layer in reversed(range(depth)):
        for more in range(min(counts, spare + 1)):
            for used in range(min(most, spare_active + 1)):
                if u[layer, more, used] == -np.inf:
                    continue
                rest = best[layer + 1, : spare + 1 - more, : spare_active + 1 - used]
                into = best[layer, more:, used:]
                np.maximum(into, rest + u[layer, more, used], out=into)
    return best


def _chosen(u: NDArray[np.float64], best: NDArray[np.float64]) -> list[tuple[int, int]]:
    """What each layer has above the least, from the first one on."""
    depth, left, active_left = len(u), best.shape[1] - 1, best.shape[2] - 1
    chosen = []
    for layer in range(depth):
        more = np.arange(min(u.shape[1], left + 1))[:, None]
        used = np.arange(min(u.shape[2], active_left + 1))[None]
        values = u[layer, : len(more), : used.shape[1]]
        values = values + best[layer + 1, left - more, active_left - used]
        largest = values.max()
        near = values >= largest - 1e-12 * max(1.0, abs(largest))
        layers = depth - layer
        uneven = np.abs(more - left / layers) + np.abs(used - active_left / layers)
        place = int(np.where(near, uneven, np.inf).argmin())
        chosen.append((place // used.shape[1], place % used.shape[1]))
        left, active_left = left - chosen[-1][0], active_left - chosen[-1][1]
    return chosen
