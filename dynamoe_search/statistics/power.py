"""Power: how small a difference a number of seeds can show, from the noise of paired losses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import CONFIDENCE

POWER = 0.8


@dataclass(frozen=True)
class PairedNoise:
    """The noise of the difference of two candidates for one seed.

    Parameters
    ----------
    deviation : float
        The standard deviation, in nats, pooled over all pairs.
    low, high : float
        Its 95 % interval, where noise is normal.
    degrees : int
        The degrees of freedom.
    """

    deviation: float
    low: float
    high: float
    degrees: int


def paired_variance(losses: NDArray[np.float64]) -> float:
    """The variance of the difference of two candidates for one seed, pooled over all pairs.

    It is twice the residual variance of the two-way analysis of variance: what neither the
    candidate nor the seed explains. 0 where there is a single candidate, or a single seed.

    Parameters
    ----------
    losses : ndarray of float64, shape (seeds, candidates)
    """
    seeds, candidates = losses.shape
    rest = losses - losses.mean(axis=0) - losses.mean(axis=1, keepdims=True) + losses.mean()
    degrees = max(1, (seeds - 1) * (candidates - 1))
    return float(2 * (rest**2).sum() / degrees)


def paired_noise(results: pd.DataFrame) -> PairedNoise:
    """The noise that is left when candidates are compared seed by seed.

    It is the square root of `paired_variance`.

    Parameters
    ----------
    results : DataFrame
        A row for each candidate and seed: ``candidate``, ``seed``, ``loss`` in nats. The seeds that
        all candidates have are used.

    Raises
    ------
    InvalidInput
        For fewer than two candidates, or two seeds, that can be compared.

    Examples
    --------
    >>> results = pd.DataFrame({"candidate": list("aaabbb"), "seed": [0, 1, 2] * 2,
    ...                         "loss": [1.0, 2.0, 3.0, 1.1, 2.0, 2.9]})
    >>> round(paired_noise(results).deviation, 3)
    0.1
    """
    losses = results.pivot(index="seed", columns="candidate", values="loss").dropna().to_numpy()
    seeds, candidates = losses.shape
    if seeds < 2 or candidates < 2:
        raise InvalidInput(
            "noise takes two candidates with two seeds in common; there are"
            f" {candidates} candidates with {seeds}"
        )
    degrees = (seeds - 1) * (candidates - 1)
    deviation = math.sqrt(paired_variance(losses))
    tail = (1 - CONFIDENCE) / 2
    high, low = (
        deviation * math.sqrt(degrees / stats.chi2.ppf(level, degrees))
        for level in (tail, 1 - tail)
    )
    return PairedNoise(deviation, low, high, degrees)


def detectable_difference(deviation: float, seeds: int) -> float:
    """The difference that a paired t test of two candidates shows in 80 % of cases.

    The test is two-sided at 5 %; its power is that of the noncentral t distribution.

    Parameters
    ----------
    deviation : float
        Of the paired difference for one seed, in nats.
    seeds : int
        At least 2.

    Examples
    --------
    >>> round(detectable_difference(0.01, 16), 4)
    0.0075
    """
    degrees = seeds - 1
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, degrees)

    def lack(noncentrality: float) -> float:
        return float(stats.nct.sf(quantile, degrees, noncentrality)) - POWER

    most = 2 * quantile + 10
    return float(optimize.brentq(lack, 0.0, most)) * deviation / math.sqrt(seeds)


def seeds_to_detect(deviation: float, difference: float) -> int:
    """The least number of seeds with which a difference is detectable.

    Examples
    --------
    >>> seeds_to_detect(0.01, 0.0075)
    16
    """
    ratio = (deviation / difference) ** 2
    normal = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER)
    seeds = max(2, int(np.floor(normal**2 * ratio)))  # what the normal distribution would need
    while detectable_difference(deviation, seeds) > difference:
        seeds += 1
    return seeds
