"""How much of a table is merit and how much is luck: which schedules can be told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from dynamoe_search.statistics.intervals import studentized_range
from dynamoe_search.statistics.shrinkage import expected_means, paired_means


@dataclass(frozen=True)
class Distinction:
    """What the losses of schedules that were trained from the same seeds tell apart.

    Parameters
    ----------
    schedules, seeds : int
    error : float
        The standard error of a mean, without what a seed does to all schedules alike, in nats.
    spread : float
        The standard deviation of the means, in nats.
    p_value : float
        Of the test that no schedule differs from any other (F, two-way layout).
    difference : float
        The difference of two means that noise exceeds, for any pair at all, in 5 % of such tables
        (Tukey), in nats.
    pairs, told_apart : int
        All pairs of schedules, and those that differ by more than that.
    indistinguishable : tuple of str
        The schedules that cannot be told from the best, which is the first; in order of their loss.
    expected_best : float
        The loss that the best is expected to have in truth, in nats: it was picked for being best.
    """

    schedules: int
    seeds: int
    error: float
    spread: float
    p_value: float
    difference: float
    pairs: int
    told_apart: int
    indistinguishable: tuple[str, ...]
    expected_best: float

    @property
    def reliability(self) -> float:
        """The share of the variance of means that is not noise, 0 to 1."""
        return max(0.0, 1 - (self.error / self.spread) ** 2)


def tell_apart(losses: pd.DataFrame) -> Distinction:
    """Which schedules can be told apart.

    Parameters
    ----------
    losses : DataFrame of float, shape (schedules, seeds)
        As `Bench.losses` gives it: at least two of each.

    Examples
    --------
    >>> losses = pd.DataFrame({0: [1.0, 2.1, 2.0], 1: [1.2, 2.0, 2.1]}, index=["a", "b", "c"])
    >>> found = tell_apart(losses)
    >>> found.told_apart, found.pairs, found.indistinguishable
    (2, 3, ('a',))
    """
    found = paired_means(losses.to_numpy())
    schedules, seeds = losses.shape
    degrees = (schedules - 1) * (seeds - 1)
    difference = studentized_range(schedules, degrees) * found.error
    told_apart = sum(abs(a - b) > difference for a, b in combinations(found.means.tolist(), 2))
    means = pd.Series(found.means, index=losses.index).sort_values(kind="stable")
    tied = means.index[means - means.iloc[0] <= difference]
    return Distinction(
        schedules,
        seeds,
        found.error,
        float(found.means.std(ddof=1)),
        found.p_value,
        difference,
        math.comb(schedules, 2),
        told_apart,
        tuple(tied),
        float(np.min(expected_means(found.means, found.error))),
    )
