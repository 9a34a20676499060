"""All pairs of candidates that were trained from the same seeds: how many differ significantly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from dynamoe_search.statistics.intervals import studentized_range
from dynamoe_search.statistics.shrinkage import paired_means


@dataclass(frozen=True)
class PairwiseComparison:
    """How many pairs of candidates differ significantly, and how much of their spread is noise.

    Parameters
    ----------
    candidates, seeds : int
    error : float
        The standard error of a mean, without the seeds' effects, which are the same for all
        candidates.
    spread : float
        The standard deviation of the means.
    p_value : float
        The p value of the F test that all true means are equal (two-way layout).
    difference : float
        The least significant difference of two means, at 5 % for all pairs together (Tukey).
    pairs, distinguishable : int
        The number of pairs, and of those that differ by more than `difference`.
    difference_alone : float
        The least significant difference at 5 % for each pair by itself (Fisher).
    distinguishable_alone : int
        The pairs that differ by more than that; of equal candidates, a twentieth does.
    """

    candidates: int
    seeds: int
    error: float
    spread: float
    p_value: float
    difference: float
    pairs: int
    distinguishable: int
    difference_alone: float
    distinguishable_alone: int

    @property
    def reliability(self) -> float:
        """The share of the variance of the means that is not noise, from 0 to 1."""
        return max(0.0, 1 - (self.error / self.spread) ** 2)


def compare_pairs(losses: pd.DataFrame) -> PairwiseComparison:
    """Compare all pairs of candidates that were trained from the same seeds.

    Parameters
    ----------
    losses : DataFrame of float, shape (candidates, seeds)
        Indexed by candidate, as `Bench.losses`; at least two candidates and two seeds.

    Examples
    --------
    >>> losses = pd.DataFrame({0: [1.0, 2.1, 2.0], 1: [1.2, 2.0, 2.1]}, index=["a", "b", "c"])
    >>> found = compare_pairs(losses)
    >>> found.distinguishable, found.pairs
    (2, 3)
    """
    found = paired_means(losses.to_numpy())
    candidates, seeds = losses.shape
    degrees = (candidates - 1) * (seeds - 1)
    difference = studentized_range(candidates, degrees) * found.error
    alone = studentized_range(2, degrees) * found.error  # of two candidates, it is Student's
    pairs = [abs(a - b) for a, b in combinations(found.means.tolist(), 2)]
    return PairwiseComparison(
        candidates=candidates,
        seeds=seeds,
        error=found.error,
        spread=float(found.means.std(ddof=1)),
        p_value=found.p_value,
        difference=difference,
        pairs=len(pairs),
        distinguishable=sum(pair > difference for pair in pairs),
        difference_alone=alone,
        distinguishable_alone=sum(pair > alone for pair in pairs),
    )
