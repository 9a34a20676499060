"""How sure a mean of a few blocks is, and which means can be told apart.

All schedules of a study are taken to have the same noise, whose standard deviation is pooled over
those trained more than once. That gives an interval even to a schedule trained once, at the price
of the assumption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Noise:
    """The noise of one training.

    Parameters
    ----------
    deviation : float
        The pooled standard deviation; NaN where nothing was trained twice.
    degrees : int
        Its degrees of freedom: trainings less groups, over the groups of at least two.
    """

    deviation: float
    degrees: int


def pooled_noise(values: pd.Series, groups: pd.Series) -> Noise:
    """The standard deviation within groups, pooled: sqrt(sum (x - mean of its group)^2 / df).

    Parameters
    ----------
    values : Series of float
        Those that are not finite are left out.
    groups : Series
        The group of each value.

    Examples
    --------
    >>> pooled_noise(pd.Series([1.0, 3.0, 10.0]), pd.Series(["a", "a", "b"]))
    Noise(deviation=1.4142135623730951, degrees=1)
    """
    values = values[np.isfinite(values)]
    grouped = values.groupby(groups)
    degrees = int((grouped.size() - 1).sum())
    if degrees == 0:
        return Noise(float("nan"), 0)
    squares = float(((values - grouped.transform("mean")) ** 2).sum())
    return Noise((squares / degrees) ** 0.5, degrees)


def half_width(noise: Noise, blocks: ArrayLike) -> NDArray[np.float64]:
    """Half the width of the 95 % interval of a mean: t s / sqrt(n), t of the noise's degrees.

    NaN where the noise is unknown.
    """
    counts = np.asarray(blocks, dtype=np.float64)
    if noise.degrees == 0:
        return np.full(counts.shape, np.nan)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, noise.degrees)
    return np.asarray(quantile * noise.deviation / np.sqrt(counts))


def least_significant_difference(
    noise: Noise, blocks: ArrayLike, other_blocks: ArrayLike, groups: int
) -> NDArray[np.float64]:
    """The difference of two means that noise exceeds in 5 % of studies, for any pair of them.

    Tukey and Kramer: q s sqrt((1/n1 + 1/n2) / 2), q the studentized range of `groups` means. As it
    holds for all pairs at once, it also holds for the pair that the search picked for being
    extreme. Infinite where the noise is unknown.

    Parameters
    ----------
    noise : Noise
    blocks, other_blocks : array_like of int
        Blocks behind each mean.
    groups : int
        The means that are compared, at least 2.
    """
    share = (1 / np.asarray(blocks, float) + 1 / np.asarray(other_blocks, float)) / 2
    if noise.degrees == 0:
        return np.full(share.shape, np.inf)
    quantile = studentized_range(max(groups, 2), noise.degrees)
    return np.asarray(quantile * noise.deviation * np.sqrt(share))


@cache  # scipy integrates for it: a tenth of a second
def studentized_range(groups: int, degrees: int) -> float:
    """Tukey's q: the range of so many means, over their standard error, that noise exceeds in 5 %.

    Parameters
    ----------
    groups : int
        The means, at least 2.
    degrees : int
        Of freedom, of the error.
    """
    # Between the quantile for one pair alone and Bonferroni's for all: scipy looks from 0 to
    # infinity, which takes twice as long.
    one_pair, all_pairs = (
        math.sqrt(2) * float(stats.t.isf((1 - CONFIDENCE) / 2 / pairs, degrees))
        for pairs in (1, math.comb(groups, 2))
    )
    if groups == 2:
        return one_pair

    def excess(q: float) -> float:
        return float(stats.studentized_range.cdf(q, groups, degrees)) - CONFIDENCE

    return float(optimize.brentq(excess, one_pair, all_pairs))
