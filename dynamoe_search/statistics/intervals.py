"""Pooled noise, intervals of single means, and the range of many.

These are for means that nobody picked for being low or high, and whose values are independent. The
candidates of a study are neither: see `dynamoe_search.statistics.two_way`.
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
    """The noise of one value, such as the loss of one seed.

    Parameters
    ----------
    deviation : float
        The pooled standard deviation; NaN where nothing was trained twice.
    degrees : int
        Its degrees of freedom: the values less the groups.
    """

    deviation: float
    degrees: int


def pooled_noise(values: pd.Series, groups: pd.Series) -> Noise:
    """The standard deviation within groups, pooled: sqrt(sum (x - mean of its group)^2 / df).

    Parameters
    ----------
    values : Series of float
        Values that are not finite are left out.
    groups : Series
        The group of each value.

    Examples
    --------
    >>> pooled_noise(pd.Series([1.0, 3.0, 10.0]), pd.Series(["a", "a", "b"]))
    Noise(deviation=1.4142135623730951, degrees=1)
    """
    values = values[np.isfinite(values)]
    grouped = values.groupby(groups)
    degrees = len(values) - grouped.ngroups
    if degrees == 0:
        return Noise(math.nan, 0)
    squares = float(((values - grouped.transform("mean")) ** 2).sum())
    return Noise((squares / degrees) ** 0.5, degrees)


def half_width(noise: Noise, blocks: ArrayLike) -> NDArray[np.float64]:
    """Half the width of the 95 % interval of a mean: t s / sqrt(n), with t of the noise's degrees.

    NaN where the noise is unknown.

    Parameters
    ----------
    noise : Noise
        s and its degrees of freedom.
    blocks : array_like of int
        n, the seeds that each mean is of.
    """
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, noise.degrees)  # NaN for 0 degrees
    return np.asarray(quantile * noise.deviation / np.sqrt(np.asarray(blocks, dtype=np.float64)))


@cache  # takes a tenth of a second
def studentized_range(groups: int, degrees: int) -> float:
    """Tukey's q: the 95 % quantile of the range of means, over their standard error.

    Parameters
    ----------
    groups : int
        The number of means, at least 2.
    degrees : int
        The degrees of freedom of the error.

    Examples
    --------
    >>> round(studentized_range(groups=3, degrees=10), 2)
    3.88
    """
    error_rate, root = 1 - CONFIDENCE, math.sqrt(2)
    of_two = root * float(stats.t.isf(error_rate / 2, degrees))
    if groups == 2:
        return of_two
    # It lies below Bonferroni's bound for all pairs. SciPy's own search for the quantile knows
    # neither end, and evaluates the integral twice as often.
    bound = root * float(stats.t.isf(error_rate / (groups * (groups - 1)), degrees))
    found = optimize.brentq(
        lambda q: stats.studentized_range.sf(q, groups, degrees) - error_rate,
        of_two,
        bound,
        rtol=1e-6,
        xtol=1e-6,
    )
    return float(found)
