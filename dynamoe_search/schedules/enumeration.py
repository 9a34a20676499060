"""All schedules of a total, and their number."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

from dynamoe_search.schedules.allocation import check_bounds, multiples_within
from dynamoe_search.schedules.schedule import Schedule


def enumerate_schedules(
    total: int, depth: int, minimum: int = 1, maximum: int | None = None, step: int = 1
) -> Iterator[Schedule]:
    """Every schedule of a depth and total, in lexicographic order, one at a time.

    Parameters
    ----------
    total, depth : int
        The sum of the expert counts, and the number of layers.
    minimum : int
        The fewest experts per layer, at least 1.
    maximum : int, optional
        The most experts per layer.
    step : int
        Every layer has a multiple of it.

    Raises
    ------
    InvalidInput
        If no schedule is within the bounds.

    Examples
    --------
    >>> [str(schedule) for schedule in enumerate_schedules(total=5, depth=2)]
    ['1-4', '2-3', '3-2', '4-1']
    """
    check_bounds(total, depth, minimum, maximum, step)
    least, most = multiples_within(minimum, total if maximum is None else maximum, step)
    units = _compositions(total // step, depth, least // step, most // step)
    return (Schedule(tuple(step * unit for unit in counts)) for counts in units)


def _compositions(total: int, depth: int, minimum: int, maximum: int) -> Iterator[tuple[int, ...]]:
    if depth == 1:
        yield (total,)
        return
    rest = depth - 1
    first_least = max(minimum, total - rest * maximum)
    first_most = min(maximum, total - rest * minimum)
    for first in range(first_least, first_most + 1):
        for others in _compositions(total - first, rest, minimum, maximum):
            yield (first, *others)


def count_schedules(
    total: int, depth: int, minimum: int = 1, maximum: int | None = None, step: int = 1
) -> int:
    """The number of schedules that `enumerate_schedules` yields, in closed form.

    With S = total - depth * minimum and R = maximum - minimum, inclusion and exclusion over the
    layers above the maximum gives
    sum over j of (-1)^j C(depth, j) C(S - j (R + 1) + depth - 1, depth - 1).

    Parameters
    ----------
    total, depth, minimum, maximum, step
        As in `enumerate_schedules`; the number is 0 if no schedule is within the bounds.

    Examples
    --------
    >>> count_schedules(total=12, depth=4)
    165
    """
    # All in steps, as in `enumerate_schedules`.
    least = -(-minimum // step)
    spare = total // step - depth * least
    if spare < 0 or total % step:
        return 0
    if maximum is None:
        return comb(spare + depth - 1, depth - 1)
    values = maximum // step - least + 1
    if values < 1:
        return 0
    return sum(
        (-1) ** layers * comb(depth, layers) * comb(spare - layers * values + depth - 1, depth - 1)
        for layers in range(min(depth, spare // values) + 1)
    )
