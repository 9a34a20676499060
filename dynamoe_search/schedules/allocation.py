"""Allocation: from a profile (a positive weight per layer) to whole experts that meet a total.

The least-squares integer point is computed directly, without search. With t the profile scaled to
the total, the continuous optimum within the bounds is clip(t + level), where one level meets the
total. The integer optimum rounds this down and gives the experts left over to the layers with the
largest fractions. Fractions and weights are compared as integers of 2^-30 experts, so that rounding
errors neither make nor break a tie.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules.schedule import Schedule

_FRACTION_BITS = 30
LARGEST_TOTAL = 2**22
"""The most experts of all layers together: fractions of 2^-30 then stay exact in float64."""
_CHUNK_VALUES = 2**17  # the working arrays of a chunk then fit in the processor's cache

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def allocate(
    profile: ArrayLike,
    total: int,
    minimum: int = 1,
    maximum: int | ArrayLike | None = None,
    step: int = 1,
) -> Schedule:
    """The schedule with an exact total that is nearest to a profile, in least squares.

    It minimizes sum((n - t)^2) over the multiples n of the step with ``sum(n) == total`` and
    ``minimum <= n <= maximum``, where t is the profile scaled to the total. Where all layers have
    one maximum, a layer of larger weight never gets fewer experts, and equal weights (t within
    2^-30) differ by at most one step. Ties go to the larger weight; among equal weights, to the end
    of the network with more weight, or, if both ends are equal, evenly and symmetrically. Only an
    odd leftover in an even group cannot be symmetric; its place is deterministic.

    Parameters
    ----------
    profile : array_like of float, shape (depth,)
        Positive, finite weights; only their ratios matter.
    total : int
        The sum of the expert counts.
    minimum : int
        The fewest experts per layer, at least 1.
    maximum : int or array_like of int, shape (depth,), optional
        The most experts per layer, for all layers or for each; None for no limit.
    step : int
        Every layer gets a multiple of it.

    Raises
    ------
    InvalidInput
        If a weight is not positive and finite, or the bounds do not allow the total.

    Examples
    --------
    >>> str(allocate([4, 3, 2, 1], total=20))
    '8-6-4-2'
    >>> str(allocate([1, 1, 1, 1, 1], total=11))
    '2-2-3-2-2'
    >>> str(allocate([4, 3, 2, 1], total=20, step=4))
    '8-4-4-4'
    """
    weights = np.asarray(profile, dtype=np.float64)
    if weights.ndim != 1:
        raise InvalidInput(f"a profile has one weight per layer, got shape {weights.shape}")
    counts = allocate_batch(weights[None], total, minimum, maximum, step)[0]
    return Schedule(tuple(counts.tolist()))


def allocate_batch(
    profiles: ArrayLike,
    total: int,
    minimum: int = 1,
    maximum: int | ArrayLike | None = None,
    step: int = 1,
) -> Integers:
    """`allocate` for many profiles at once.

    Parameters
    ----------
    profiles : array_like of float, shape (schedules, depth)
        One profile per row.
    total, minimum, step
        As in `allocate`, for all rows.
    maximum : int or array_like of int, optional
        As in `allocate`; an array of shape (schedules, depth) has one for each layer of each row.

    Returns
    -------
    ndarray of int64, shape (schedules, depth)
        The expert counts; each row sums to `total`.

    Raises
    ------
    InvalidInput
        As `allocate`; the message names the first wrong row.

    Examples
    --------
    >>> allocate_batch([[4, 3, 2, 1], [1, 1, 1, 1]], total=20).tolist()
    [[8, 6, 4, 2], [5, 5, 5, 5]]
    """
    weights = np.asarray(profiles, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] == 0:
        raise InvalidInput(f"profiles have the shape (schedules, depth), got shape {weights.shape}")
    valid = np.isfinite(weights) & (weights > 0)
    if not valid.all():
        row, layer = np.argwhere(~valid)[0]
        raise InvalidInput(
            f"profile {row} has the weight {weights[row, layer]} at layer {layer}; weights must be"
            " positive and finite"
        )
    depth = weights.shape[1]
    of_all = maximum if maximum is None or isinstance(maximum, int) else None
    check_bounds(total, depth, minimum, of_all, step)
    # From here on, a step is one: the nearest multiples of it are the nearest whole numbers of
    # steps to a profile that is scaled to as many.
    units, least = total // step, -(-minimum // step)
    # No layer can have more than this, so it can stand for a missing maximum.
    largest = units - (depth - 1) * least
    most = largest if maximum is None else np.minimum(np.asarray(maximum) // step, largest)
    ceiling = np.broadcast_to(most, weights.shape)
    if of_all is None and maximum is not None:
        _check_room(ceiling, units, least, step)

    counts = np.empty(weights.shape, dtype=np.int64)
    rows = max(1, _CHUNK_VALUES // depth)
    for start in range(0, len(weights), rows):
        chunk = slice(start, start + rows)
        counts[chunk] = _allocate_chunk(weights[chunk], units, least, ceiling[chunk])
    return counts * step


def stretch(
    profile: ArrayLike, minimum: int, maximum: int, contrast: float, step: int = 1
) -> Schedule:
    """The schedule whose counts follow a profile from `minimum` to `maximum`, with any total.

    N_l = round(m + h (w_l - 1) / contrast), clipped to the range, with m its middle and h half its
    length; halves are rounded up. With a step all of this is in units of it. As in the source,
    schedules then differ in size. A named pattern of this contrast spans the whole range, and
    uniform lies in its middle.

    Parameters
    ----------
    profile : array_like of float, shape (depth,)
        Finite weights around 1.
    minimum, maximum : int
        The fewest and the most experts per layer, 1 <= minimum <= maximum.
    contrast : float
        The contrast that spans the range, above 0.
    step : int
        Every layer gets a multiple of it.

    Raises
    ------
    InvalidInput
        If a weight is not finite, or a bound or the contrast is out of range.

    Examples
    --------
    >>> str(stretch([1.6, 1.2, 0.8, 0.4], minimum=2, maximum=8, contrast=0.6))
    '8-6-4-2'
    """
    weights = np.asarray(profile, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all():
        raise InvalidInput(f"a profile has one finite weight per layer, got {profile!r}")
    if not 1 <= minimum <= maximum:
        raise InvalidInput(
            f"minimum is {minimum} and maximum is {maximum}; 1 <= minimum <= maximum must hold"
        )
    if not contrast > 0:
        raise InvalidInput(f"contrast is {contrast}; it must be above 0")
    low, high = multiples_within(minimum, maximum, step)
    least, most = low // step, high // step
    reach = (most - least) / 2
    counts = (least + most) / 2 + reach * (weights - 1) / contrast
    # Rounding first keeps float errors from deciding which way a half goes.
    whole = np.floor(np.round(counts, 9) + 0.5).clip(least, most).astype(int)
    return Schedule(tuple((whole * step).tolist()))


def multiples_within(minimum: int, maximum: int, step: int) -> tuple[int, int]:
    """The least and the largest multiple of a step between two bounds.

    Raises
    ------
    InvalidInput
        If there is none, or the step is below 1.

    Examples
    --------
    >>> multiples_within(3, 15, step=4)
    (4, 12)
    """
    if step < 1:
        raise InvalidInput(f"the step is {step} experts; it must be at least 1")
    least, most = -(-minimum // step) * step, maximum // step * step
    if least > most:
        raise InvalidInput(
            f"no multiple of the step, {step}, lies between the minimum, {minimum}, and the"
            f" maximum, {maximum}"
        )
    return least, most


def check_bounds(total: int, depth: int, minimum: int, maximum: int | None, step: int = 1) -> None:
    """Raise `InvalidInput` if no schedule of this depth and total is within the bounds."""
    if depth < 1:
        raise InvalidInput(f"depth is {depth}; a network needs at least one layer")
    if minimum < 1:
        raise InvalidInput(f"the minimum is {minimum} experts per layer; it must be at least 1")
    if maximum is not None and maximum < minimum:
        raise InvalidInput(
            f"the maximum, {maximum} experts per layer, is below the minimum, {minimum}"
        )
    if total > LARGEST_TOTAL:
        raise InvalidInput(f"the total is {total} experts; it must be at most {LARGEST_TOTAL}")
    ceiling = minimum + total + step if maximum is None else maximum  # a multiple is below it
    least, most = multiples_within(minimum, ceiling, step)
    if total < depth * least:
        raise InvalidInput(
            f"{depth} layers of at least {least} experts need a total of at least"
            f" {depth * least}, got {total}"
        )
    if maximum is not None and total > depth * most:
        raise InvalidInput(
            f"{depth} layers of at most {most} experts hold a total of at most"
            f" {depth * most}, got {total}"
        )
    if total % step:
        below = total // step * step
        raise InvalidInput(
            f"the total is {total} experts, and layers in steps of {step} need a multiple of"
            f" {step}: the nearest that fit are {below} and {below + step}"
        )


def _check_room(maximum: Integers, total: int, minimum: int, step: int) -> None:
    """Raise `InvalidInput` for a row whose layers cannot hold the total; all in steps."""
    narrow = (maximum < minimum).any(axis=1) | (maximum.sum(axis=1) < total)
    if narrow.any():
        row = maximum[int(np.argmax(narrow))] * step
        raise InvalidInput(
            f"layers of {minimum * step} to at most {'-'.join(map(str, row.tolist()))} cannot hold"
            f" a total of {total * step}: it fits from {len(row) * minimum * step} to {row.sum()}"
        )


def _allocate_chunk(weights: Floats, total: int, minimum: int, maximum: Integers) -> Integers:
    # Dividing by the largest weight first keeps the sum finite for any finite weights.
    scaled = weights / weights.max(axis=1, keepdims=True)
    target = scaled * (total / scaled.sum(axis=1, keepdims=True))
    level = _level(target, total, minimum, maximum)

    fixed = np.rint(np.ldexp(target + level[:, None], _FRACTION_BITS)).astype(np.int64)
    np.clip(fixed, minimum << _FRACTION_BITS, maximum << _FRACTION_BITS, out=fixed)
    counts: Integers = fixed >> _FRACTION_BITS
    fraction = fixed & ((1 << _FRACTION_BITS) - 1)

    # At most the number of nonzero fractions, so a layer at a bound (fraction 0) gets none.
    leftover = total - counts.sum(axis=1)
    largest_first = -np.sort(-fraction, axis=1)
    cutoff = np.take_along_axis(largest_first, np.maximum(leftover - 1, 0)[:, None], axis=1)
    # If nothing is left over, no fraction may be above the cutoff.
    cutoff[leftover == 0] = 1 << _FRACTION_BITS
    above = fraction > cutoff
    level_with = fraction == cutoff
    counts += above
    still_left = leftover - above.sum(axis=1)
    tied = level_with.sum(axis=1) > still_left
    easy = ~tied
    counts[easy] += level_with[easy] & (still_left[easy] > 0)[:, None]
    tied &= still_left > 0
    if tied.any():
        weight = np.rint(np.ldexp(target[tied], _FRACTION_BITS)).astype(np.int64)
        counts[tied] += _break_ties(weight, level_with[tied], still_left[tied])
    return counts


def _level(target: Floats, total: int, minimum: int, maximum: Integers) -> Floats:
    """For each row, the level at which clip(target + level, minimum, maximum) meets the total."""
    level = np.zeros(len(target))
    outside = (target < minimum).any(axis=1) | (target > maximum).any(axis=1)
    if not outside.any():
        return level
    rows = target[outside]
    depth = rows.shape[1]
    # As the level rises, a layer leaves the minimum at one event and reaches the maximum at a
    # second. Between events the sum is linear; its slope counts the layers between their bounds.
    events = np.concatenate([minimum - rows, maximum[outside] - rows], axis=1)
    order = np.argsort(events, axis=1)
    events = np.take_along_axis(events, order, axis=1)
    slope = np.cumsum(np.where(order < depth, 1, -1), axis=1)
    rise = slope[:, :-1] * np.diff(events, axis=1)
    sums = depth * minimum + np.concatenate(
        [np.zeros((len(rows), 1)), np.cumsum(rise, axis=1)], axis=1
    )
    # From the last event before the total is passed, the rest is linear.
    last = np.maximum((sums <= total).sum(axis=1) - 1, 0)[:, None]
    slope_there = np.maximum(np.take_along_axis(slope, last, axis=1), 1)
    missing = total - np.take_along_axis(sums, last, axis=1)
    level[outside] = (np.take_along_axis(events, last, axis=1) + missing / slope_there)[:, 0]
    return level


def _break_ties(weight: Integers, tied: Booleans, leftover: Integers) -> Booleans:
    """Which of the tied layers of each row get one of its leftover experts.

    Parameters
    ----------
    weight : ndarray of int64, shape (rows, depth)
    tied : ndarray of bool, shape (rows, depth)
    leftover : ndarray of int64, shape (rows,)
        At least 1 and fewer than the tied layers.
    """
    largest_first = -np.sort(-np.where(tied, weight, -1), axis=1)
    cutoff = np.take_along_axis(largest_first, leftover[:, None] - 1, axis=1)
    heavier: Booleans = tied & (weight > cutoff)
    equal: Booleans = tied & (weight == cutoff)
    wanted = (leftover - heavier.sum(axis=1))[:, None]
    members = equal.sum(axis=1)[:, None]
    position = np.cumsum(equal, axis=1) - 1

    depth = weight.shape[1]
    lever = (depth - 1 - 2 * np.arange(depth)).astype(np.float64)
    lean = ((weight - weight[:, ::-1]) @ lever)[:, None]
    balanced = np.abs(lean) <= 2 * depth * depth  # the largest error of 0 after rounding to 2^-30
    from_the_front = np.where(lean > 0, position, members - 1 - position) < wanted
    equal &= np.where(balanced, _spread(position, members, wanted), from_the_front)
    return heavier | equal


def _spread(position: Integers, members: Integers, wanted: Integers) -> Booleans:
    """Whether each position of a group is among `wanted` evenly spread, symmetric positions.

    An odd number in an even group cannot be symmetric: the innermost pair then loses its second
    position.
    """
    half = members // 2
    lopsided = (members % 2 == 0) & (wanted % 2 == 1)
    pairs = (wanted + lopsided) // 2
    size, count = np.maximum(half, 1), np.maximum(pairs, 1)

    pair = np.minimum(position, members - 1 - position)
    before = (2 * pair * pairs + size) // (2 * size)
    through = (2 * (pair + 1) * pairs + size) // (2 * size)
    innermost = -(-size * (2 * count - 1) // (2 * count)) - 1
    dropped = lopsided & (pair == innermost) & (position >= half)

    is_middle = (members % 2 == 1) & (position == half)
    chosen: Booleans = np.where(is_middle, wanted % 2 == 1, (through > before) & ~dropped)
    return chosen
