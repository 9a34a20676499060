"""What pruning saves, and how well early losses predict final ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dynamoe_search.statistics.intervals import CONFIDENCE

_FEWEST = 5


@dataclass(frozen=True)
class Savings:
    """What pruning saved, over the complete and the pruned training runs.

    Parameters
    ----------
    runs, pruned : int
        The number of all runs, and of those that were pruned.
    spent : float
        The training FLOPs of all runs.
    pruned_in_full : float
        The training FLOPs that the pruned runs would have needed in full: their FLOPs over their
        fraction.
    saved : float
        `pruned_in_full` less the FLOPs that the pruned runs took.
    """

    runs: int
    pruned: int
    spent: float
    pruned_in_full: float
    saved: float

    @property
    def share(self) -> float:
        """The saved part of what all runs would have needed in full, from 0 to 1."""
        return self.saved / (self.spent + self.saved) if self.saved else 0.0


def compute_saved(runs: pd.DataFrame) -> Savings:
    """How much training compute pruning saved.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`.

    Examples
    --------
    >>> runs = pd.DataFrame({"run": [0, 1], "state": ["complete", "pruned"],
    ...                      "fraction": [1.0, 0.25], "training_flops": [8.0, 2.0]})
    >>> compute_saved(runs)
    Savings(runs=2, pruned=1, spent=10.0, pruned_in_full=8.0, saved=6.0)
    >>> compute_saved(runs).share
    0.375
    """
    trained = runs[runs["state"].isin(["complete", "pruned"])]
    pruned = trained[trained["state"] == "pruned"]
    in_full = float((pruned["training_flops"] / pruned["fraction"]).sum())
    return Savings(
        runs=trained["run"].nunique(),
        pruned=pruned["run"].nunique(),
        spent=float(trained["training_flops"].sum()),
        pruned_in_full=in_full,
        saved=in_full - float(pruned["training_flops"].sum()),
    )


def rank_correlations(runs: pd.DataFrame) -> pd.DataFrame:
    """How well the order of candidates early in training agrees with the final order.

    With pruning, only the survivors reach the full budget. Their early losses are similar, so tau
    tends to be smaller than among all candidates (restriction of range). The same holds for the
    candidates with two seeds, where only the leaders that a search trains again have them.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones with a curve are used.

    Returns
    -------
    DataFrame
        One row per rung, the k-th evaluation of every run except its last: ``fraction``, the median
        part of the training that is done; ``tau``, Kendall's tau-b over candidates between their
        mean validation losses at the rung and at the end, with ``tau_low`` and ``tau_high``
        (`kendall_interval`); ``candidates``, their number.

        What noise allows, over the ``seed_candidates`` that have two seeds: ``seed_tau`` between
        the final losses of one seed and the other, with ``seed_low`` and ``seed_high``;
        ``early_seed_tau`` between the loss of one seed at the rung and the final loss of the
        other, the mean of both ways round. Compare these two with each other: ``tau`` can exceed
        them, since one seed's noise is in both its losses. NaN for fewer than 5 candidates.
    """
    rows = [_rank_correlation(rung) for _, rung in _early_losses(runs).groupby("rung")]
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = ["fraction", "tau", "tau_low", "tau_high", "candidates", "early_seed_tau"]
_COLUMNS += ["seed_tau", "seed_low", "seed_high", "seed_candidates"]
_OF_RUN = ["candidate", "block", "seed", "validation_loss", "curve"]


def kendall_interval(
    tau: ArrayLike, count: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of Kendall's tau.

    arctanh(tau) +- 1.96 sqrt(0.437 / (n - 4) + 1 / (8 d)). The first term is that of Fieller,
    Hartley and Pearson (1957), which is too small near 1, above all for small n. The second is our
    addition: d is the number of concordant or discordant pairs, whichever is smaller, at least
    1/2. In simulations of normal pairs with n from 5 to 60 and tau up to 0.95 the interval covers
    tau in at least 89 % of cases, mostly in 95 %; without the second term that falls to 65 %.

    Parameters
    ----------
    tau : array_like of float
    count : array_like of int
        The number of points, n.

    Returns
    -------
    low, high : ndarray of float64
        NaN for fewer than 5 points.

    Examples
    --------
    >>> low, high = kendall_interval(0.6, 40)
    >>> round(float(low), 2), round(float(high), 2)
    (0.44, 0.72)
    """
    points = np.asarray(count, dtype=np.float64)
    points = np.where(points < _FEWEST, np.nan, points)
    pairs = points * (points - 1) / 2
    most = 1 - 1 / pairs
    clipped = np.clip(np.asarray(tau, dtype=np.float64), -most, most)
    rarer = pairs * (1 - np.abs(clipped)) / 2
    quantile = stats.norm.ppf((1 + CONFIDENCE) / 2)
    width = quantile * np.sqrt(0.437 / (points - 4) + 1 / (8 * rarer))
    return np.tanh(np.arctanh(clipped) - width), np.tanh(np.arctanh(clipped) + width)


def _early_losses(runs: pd.DataFrame) -> pd.DataFrame:
    """Every evaluation before the end of a complete run, beside the run's final loss."""
    complete = runs[(runs["state"] == "complete") & runs["curve"].notna()]
    rows = [
        (*of_run, rung, point["fraction"], point["loss"])
        for *of_run, curve in complete[_OF_RUN].itertuples(index=False)
        for rung, point in enumerate(curve)
        if point["fraction"] < 1
    ]
    columns = ["candidate", "block", "seed", "final", "rung", "fraction", "early"]
    return pd.DataFrame(rows, columns=columns)


def _rank_correlation(rung: pd.DataFrame) -> tuple[float, ...]:
    means = rung.groupby("candidate")[["early", "final"]].mean()
    tau = _kendall(means["early"], means["final"])
    # The first two seeds of each candidate, which most candidates share.
    ordered = rung.sort_values(["block", "seed"], kind="stable")
    place = ordered.groupby("candidate").cumcount()
    second = ordered[place == 1].set_index("candidate")
    first = ordered[place == 0].set_index("candidate").loc[second.index]
    between = one_way = other_way = float("nan")
    if len(first) >= _FEWEST:
        between = _kendall(first["final"], second["final"])
        one_way = _kendall(first["early"], second["final"])
        other_way = _kendall(second["early"], first["final"])
    return (
        float(rung["fraction"].median()),
        tau,
        *map(float, kendall_interval(tau, len(means))),
        len(means),
        (one_way + other_way) / 2,
        between,
        *map(float, kendall_interval(between, len(first))),
        len(first),
    )


def _kendall(losses: pd.Series, others: pd.Series) -> float:
    """Kendall's tau-b; NaN for fewer than two candidates, or where all are equal."""
    return float(stats.kendalltau(losses, others).statistic) if len(losses) > 1 else float("nan")
