"""A baseline's least advantage over its rivals, looked at again and again.

To be the best of all is to have a least true advantage a, over all rivals, above 0. So all
questions about it are two: is a above some number, and is it below? It is above where every
advantage is: the largest p value of one-sided tests counts (intersection-union, Berger 1982). It is
below where any advantage is: the smallest counts, times the number of rivals (Bonferroni). Against
one rival both are the paired t test.

The tests are those of `dynamoe_search.statistics.group_sequential`, and a p value is the least over
all looks: where the tested hypothesis is true, it is ever at most alpha with a chance of at most
alpha. So it only falls as seeds are added, whatever decided to add them, and rivals may have
different numbers of seeds. The same holds for Holm's correction of such p values: a verdict that it
gave stays (Maurer and Bretz 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from dynamoe_search.statistics.comparison import ERROR_RATE, MOST_SEEDS, POWER, t_statistics
from dynamoe_search.statistics.group_sequential import critical_value, sequential_p_value
from dynamoe_search.statistics.sequential import Looks, pair_counts

Floats = NDArray[np.float64]


def one_sided_p_values(
    advantages: ArrayLike, center: float, counts: tuple[int, ...], planned: int
) -> tuple[Floats, Floats]:
    """The p values of a mean above, and of one below, a number: the least over all looks.

    Parameters
    ----------
    advantages : array_like of float, shape (..., n)
        One per pair.
    center : float
        The number.
    counts : tuple of int
        The pairs at each look, in order, from 2.
    planned : int
        As in `dynamoe_search.statistics.sequential.Looks`.

    Returns
    -------
    above, below : ndarray of float64, shape (...)
        1 before the first look.

    Examples
    --------
    >>> above, below = one_sided_p_values([2.0, 3.0, 2.0, 3.0], 0.0, (4,), planned=16)
    >>> round(float(above), 4), float(below)
    (0.0053, 1.0)
    """
    values = np.asarray(advantages, dtype=np.float64)
    found = np.ones((2, *values.shape[:-1]))
    for look in range(1, len(counts) + 1):
        some = values[..., : counts[look - 1]]
        found = np.minimum(found, p_values_at_look(some, center, counts[:look], planned))
    return found[0], found[1]


def p_values_at_look(
    advantages: ArrayLike, center: float, counts: tuple[int, ...], planned: int
) -> Floats:
    """As `one_sided_p_values`, at the last look alone; shape (2, ...), above first."""
    statistic = t_statistics(np.asarray(advantages, dtype=np.float64), center)
    return sequential_p_value(np.stack([statistic, -statistic]), counts, planned)


def of_least_advantage(above: ArrayLike, below: ArrayLike) -> tuple[Floats, Floats]:
    """The p values of the least advantage, from those of each rival along the last axis.

    Examples
    --------
    >>> [float(p) for p in of_least_advantage([0.01, 0.2], [1.0, 0.3])]
    [0.2, 0.6]
    """
    rivals = np.shape(below)[-1]
    return np.max(above, axis=-1), np.minimum(1.0, rivals * np.min(below, axis=-1))


def least_p_values(
    advantages: Sequence[Floats], center: float, looks: Looks
) -> tuple[Floats, Floats]:
    """The p values of each advantage above, and below, a number; see `one_sided_p_values`.

    Parameters
    ----------
    advantages : sequence of ndarray of float64, shape (n,)
        For each rival, by the seed's place; NaN where a pair is missing.
    center : float
    looks : Looks

    Returns
    -------
    above, below : ndarray of float64, shape (rivals,)
    """
    found = [
        one_sided_p_values(
            one[np.isfinite(one)], center, pair_counts(one, looks.every), looks.planned
        )
        for one in advantages
    ]
    above, below = zip(*found, strict=True)
    return np.array(above), np.array(below)


def least_advantage_interval(advantages: Sequence[Floats], looks: Looks) -> tuple[float, float]:
    """The repeated 95 % interval of the least true advantage, which holds at every look.

    From the least of the lower ends at 2.5 % to the least of the upper ends at 2.5 % over the
    number of rivals, which allows for the strongest rival being picked for being the strongest.

    Parameters
    ----------
    advantages, looks
        As for `least_p_values`.

    Returns
    -------
    low, high : float
        Infinite where no rival, or not every rival, was looked at.

    Examples
    --------
    >>> advantages = [np.array([2.0, 3.0, 2.0, 3.0])]
    >>> [round(end, 2) for end in least_advantage_interval(advantages, Looks(4, 16, 16))]
    [1.06, 3.94]
    """
    lows, highs = [], []
    for one in advantages:
        counts = pair_counts(one, looks.every)
        if not counts:
            lows.append(-math.inf)
            continue
        pairs = one[np.isfinite(one)][: counts[-1]]
        error = float(pairs.std(ddof=1)) / math.sqrt(counts[-1])
        widths = [
            critical_value(rate, counts, looks.planned) * error
            for rate in (ERROR_RATE / 2, ERROR_RATE / 2 / len(advantages))
        ]
        lows.append(float(pairs.mean()) - widths[0])
        highs.append(float(pairs.mean()) + widths[1])
    return min(lows), min(highs, default=math.inf)


def seeds_to_show(distance: float, deviation: float, level: float) -> float:
    """About the fewest pairs with which a one-sided t test likely shows a mean above a number.

    With d the distance over the deviation, ((z_level + z_power) / d)^2 + z_level^2 / 2 (Guenther
    1981), which is exact to about one pair.

    Parameters
    ----------
    distance : float
        How far the true mean is above it.
    deviation : float
        The standard deviation of the pairs.
    level : float
        The one-sided error rate at the last look.

    Returns
    -------
    float
        A whole number; infinite where more than `MOST_SEEDS` are needed.

    Examples
    --------
    >>> seeds_to_show(1.0, 1.0, level=0.025), seeds_to_show(-1.0, 1.0, level=0.025)
    (10.0, inf)
    """
    if distance <= 0:
        return math.inf
    quantile = -special.ndtri(level)
    needed = ((quantile + special.ndtri(POWER)) * deviation / distance) ** 2 + quantile**2 / 2
    return float(math.ceil(needed)) if needed <= MOST_SEEDS else math.inf


@dataclass(frozen=True)
class SeedsNeeded:
    """About the fewest pairs, in all, with which a verdict is likely; infinite where none is.

    Parameters
    ----------
    to_refute : float
        To show the least advantage below the threshold, by one rival alone.
    rival : int
        That rival.
    to_bound : float
        To show it above the threshold, or within the margin: this takes all rivals.
    """

    to_refute: float
    rival: int
    to_bound: float


def seeds_needed(
    means: Sequence[float],
    deviations: Sequence[float],
    threshold: float,
    margin: float | None,
    level: float,
) -> SeedsNeeded:
    """What a verdict would take if the true means and deviations were the observed ones.

    Parameters
    ----------
    means, deviations : sequence of float
        Of the advantages over each rival.
    threshold : float
    margin : float or None
        None where equivalence is no verdict.
    level : float
        The one-sided error rate of a test at the last look.

    Examples
    --------
    >>> seeds_needed([-1.0, 2.0], [1.0, 1.0], threshold=0.0, margin=0.1, level=0.025)
    SeedsNeeded(to_refute=13.0, rival=0, to_bound=inf)
    """
    moments = list(zip(means, deviations, strict=True))

    def above(number: float, rate: float) -> float:
        return max(seeds_to_show(mean - number, deviation, rate) for mean, deviation in moments)

    def below(number: float, rate: float) -> list[float]:
        rate /= len(moments)
        return [seeds_to_show(number - mean, deviation, rate) for mean, deviation in moments]

    to_refute = below(threshold, level)
    to_bound = above(threshold, level)
    if margin is not None:
        within = max(above(-margin, 2 * level), min(below(margin, 2 * level)))
        to_bound = min(to_bound, within)
    rival = int(np.argmin(to_refute))
    return SeedsNeeded(to_refute[rival], rival, to_bound)
