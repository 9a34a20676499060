"""Compare candidates with one reference, paired by seed: which differ, and which are equivalent.

The reference is fixed before the training runs, so that no comparison is picked for its outcome.
Each candidate is compared with it by a paired t test (is there a difference?) and by two one-sided
t tests (is the difference within the margin?). Holm's correction is made over all candidates, for
each question separately.

The t tests assume that differences are roughly symmetric. This holds even for skewed losses if
candidate and reference have similar noise. If the candidate's noise is skewed and larger, the tests
err more often than stated: with 8 seeds, 9 candidates, exponential losses and twice the deviation
of the reference, 9 % of studies report a false difference and 15 % a false equivalence, not 5 %.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import CONFIDENCE

ERROR_RATE = 1 - CONFIDENCE
POWER = 0.8
MOST_SEEDS = 10_000

_RESAMPLES = 9_999
# With fewer values, resamples are so often nearly constant that the interval is uselessly wide.
_FEWEST_TO_RESAMPLE = 5


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p values: the i-th smallest of m times m - i + 1, made monotone, at most 1.

    Rejecting every hypothesis whose adjusted value is at most alpha makes any error in the family
    with a probability of at most alpha, however the tests depend on each other (Holm 1979).

    Parameters
    ----------
    p_values : array_like of float, shape (..., m)
        A family of m tests along the last axis. NaN stands for a planned test that could not be
        made: it stays NaN, and counts in m.

    Returns
    -------
    ndarray of float64, shape (..., m)

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, axis=-1)  # NaN last
    scaled = np.take_along_axis(raw, order, -1) * np.arange(raw.shape[-1], 0, -1)
    adjusted = np.empty_like(raw)
    monotone = np.minimum(np.maximum.accumulate(scaled, axis=-1), 1)
    np.put_along_axis(adjusted, order, monotone, -1)
    return adjusted


def difference_p_value(differences: ArrayLike) -> NDArray[np.float64]:
    """The p value of the paired t test, two-sided: is the mean difference 0?

    Parameters
    ----------
    differences : array_like of float, shape (..., n)
        One difference per pair.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where n < 2. Where all differences are equal, 0, or 1 if they are all 0.

    Examples
    --------
    >>> round(float(difference_p_value([1.0, 2.0, 3.0])), 4)
    0.0742
    """
    values = np.asarray(differences, dtype=np.float64)
    statistic = np.abs(t_statistics(values, 0.0))
    return np.asarray(2 * stats.t.sf(statistic, values.shape[-1] - 1))


def equivalence_p_value(differences: ArrayLike, margin: float) -> NDArray[np.float64]:
    """The p value of two one-sided t tests: is the mean difference within -margin to margin?

    It is the larger of the two p values (Schuirmann 1987). A small one shows equivalence.

    Parameters
    ----------
    differences : array_like of float, shape (..., n)
        One difference per pair.
    margin : float
        Above 0.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where n < 2.

    Examples
    --------
    >>> round(float(equivalence_p_value([-0.1, 0.0, 0.1], margin=0.5)), 4)
    0.0065
    """
    values = np.asarray(differences, dtype=np.float64)
    nearest = np.minimum(t_statistics(values, -margin), -t_statistics(values, margin))
    return np.asarray(stats.t.sf(nearest, values.shape[-1] - 1))


def studentized_interval(differences: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean by the studentized bootstrap (bootstrap-t).

    mean - t*_0.975 s / sqrt(n) to mean - t*_0.025 s / sqrt(n), where t* is the t statistic of a
    resample about the mean (Efron and Tibshirani 1993, chapter 12.5). It keeps its coverage with
    few values, where percentile intervals are too narrow, and with skewed values, where Student's
    are. Student's quantile replaces t* below 5 values, and where ties make t* infinite.

    Parameters
    ----------
    differences : array_like of float, shape (n,)
    seed : int
        The seed of the resamples.

    Returns
    -------
    low, high : float
        NaN where n < 2; both are the mean where all values are equal.

    Examples
    --------
    >>> low, high = studentized_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> low < 3.5 < high
    True
    """
    values = np.asarray(differences, dtype=np.float64)
    count = len(values)
    if count < 2:
        return math.nan, math.nan
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(count)
    quantile = stats.t.isf(ERROR_RATE / 2, count - 1)
    tails = np.array([-quantile, quantile])
    if count >= _FEWEST_TO_RESAMPLE:
        resamples = np.random.default_rng(seed).choice(values, (_RESAMPLES, count))
        place = round(ERROR_RATE / 2 * (_RESAMPLES + 1))
        bootstrapped = np.sort(t_statistics(resamples, mean))[[place - 1, -place]]
        tails = np.where(np.isfinite(bootstrapped), bootstrapped, tails)
    return float(mean - tails[1] * error), float(mean - tails[0] * error)


def t_statistics(values: NDArray[np.float64], center: float) -> NDArray[np.float64]:
    """(mean - center) / (s / sqrt(n)) along the last axis; 0 for 0 / 0, NaN for n < 2."""
    count = values.shape[-1]
    if count < 2:
        return np.full(values.shape[:-1], np.nan)
    shift = values.mean(axis=-1) - center
    error = values.std(axis=-1, ddof=1) / math.sqrt(count)
    error = np.where(np.ptp(values, axis=-1) == 0, 0.0, error)  # without what rounding leaves
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((shift == 0) & (error == 0), 0.0, shift / error)


def seeds_to_decide(
    mean: float,
    deviation: float,
    margin: float,
    error_rate: float = ERROR_RATE,
    power: float = POWER,
) -> int | None:
    """The fewest paired seeds with which one of the two tests would likely decide.

    The true mean difference and deviation are assumed to be those given. With n seeds, the t
    statistic against 0 is then noncentral t with noncentrality |mean| sqrt(n) / deviation, which
    gives the power of the t test. The two one-sided tests have noncentralities (margin - mean) and
    (margin + mean) times sqrt(n) / deviation. Both must succeed; by Bonferroni, the chance of that
    is at least the sum of their powers less 1. This lower bound, nearly exact where it is large, is
    taken as the power of the equivalence test.

    Parameters
    ----------
    mean : float
        The mean difference.
    deviation : float
        The standard deviation of the differences, at least 0.
    margin : float
        The margin of equivalence, above 0.
    error_rate : float
        The error rate of each test.
    power : float
        The chance of a decision to reach.

    Returns
    -------
    int or None
        From 2 to `MOST_SEEDS`; None where more are needed, or the deviation is NaN.

    Examples
    --------
    >>> seeds_to_decide(mean=1.0, deviation=1.0, margin=0.1)
    10
    >>> seeds_to_decide(mean=0.0, deviation=1.0, margin=0.1)
    858
    """
    # A deviation of (nearly) 0 is raised to one that floating point can divide by.
    deviation = max(deviation, 1e-6 * (abs(mean) + margin))

    def is_enough(count: int) -> bool:
        def chance(distance: float, tail: float) -> float:
            noncentrality = distance * math.sqrt(count) / deviation
            critical = stats.t.isf(tail, count - 1)
            return float(stats.nct.sf(critical, count - 1, noncentrality))

        difference = chance(abs(mean), error_rate / 2)
        equivalence = chance(margin - mean, error_rate) + chance(margin + mean, error_rate) - 1
        return max(difference, equivalence) >= power

    found = bisect_left(range(2, MOST_SEEDS + 1), True, key=is_enough) + 2
    return found if found <= MOST_SEEDS else None


def compare_with_reference(results: pd.DataFrame, reference: str, margin: float) -> pd.DataFrame:
    """Compare every candidate with the reference, paired by seed.

    A difference is significant if its p value is at most 5 % after Holm's correction over all
    candidates; so is equivalence, with a separate correction. Where both hold, the verdict is the
    difference, and `within_margin` says that it is too small to matter. The verdicts come from the
    t tests; each interval is of one difference, and can disagree with them in the last digit.

    Parameters
    ----------
    results : DataFrame
        One row per candidate and seed: ``candidate``, ``seed`` and ``loss`` (NaN or infinite where
        the run diverged; a missing row counts the same). The seeds are all that any candidate has.
    reference : str
        The candidate to compare the others with; fixed before the training runs.
    margin : float
        The largest difference of losses that does not matter, above 0.

    Returns
    -------
    DataFrame
        One row per other candidate, best first: ``candidate``; ``seeds`` (pairs with both losses)
        and ``missing`` (the other seeds); ``mean`` and ``reference_mean`` of the loss over those
        pairs; ``difference`` (above 0: the candidate is worse), its ``low`` and ``high`` (95 %,
        studentized bootstrap) and ``deviation``; ``p_difference``, ``p_equivalence`` and both with
        ``_holm``; ``verdict`` (worse, better, equivalent or undecided; undecided below 2 pairs);
        ``within_margin`` (bool: shown to be within the margin); ``seeds_to_decide`` (Int64: by the
        function `seeds_to_decide`, at the strictest level of Holm's correction; NA where the
        verdict is decided, nothing is known, or more than `MOST_SEEDS` are needed).

    Raises
    ------
    InvalidInput
        If the margin is not above 0, a column is missing, a candidate has two losses of one seed,
        the reference has no results, or no other candidate has.

    Examples
    --------
    >>> results = pd.DataFrame({
    ...     "candidate": ["2-2"] * 3 + ["3-1"] * 3,
    ...     "seed": [0, 1, 2] * 2,
    ...     "loss": [0.50, 0.55, 0.52, 0.61, 0.65, 0.63],
    ... })
    >>> table = compare_with_reference(results, reference="2-2", margin=0.01)
    >>> table[["candidate", "seeds", "verdict"]].to_dict("records")
    [{'candidate': '3-1', 'seeds': 3, 'verdict': 'worse'}]
    """
    losses = _paired_losses(results, reference, margin)
    others = losses.columns.drop(reference)
    table = pd.DataFrame(
        [_compared(losses[candidate], losses[reference], margin) for candidate in others]
    )
    table.insert(0, "candidate", others)
    table = with_verdicts(table.sort_values("difference", kind="stable", ignore_index=True))
    strictest = ERROR_RATE / len(table)
    seeds = [
        seeds_to_decide(row.difference, row.deviation, margin, strictest)
        if row.verdict == "undecided"
        else None
        for row in table.itertuples()
    ]
    table["seeds_to_decide"] = pd.array(seeds, dtype="Int64")
    return table


def with_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's p values and verdicts to ``difference`` and the p values of both questions."""
    table = table.copy()
    for question in ("difference", "equivalence"):
        table[f"p_{question}_holm"] = holm(table[f"p_{question}"])
    is_different = table["p_difference_holm"] <= ERROR_RATE
    table["within_margin"] = table["p_equivalence_holm"] <= ERROR_RATE
    table["verdict"] = np.select(
        [is_different & (table["difference"] > 0), is_different, table["within_margin"]],
        ["worse", "better", "equivalent"],
        "undecided",
    )
    return table


def _paired_losses(results: pd.DataFrame, reference: str, margin: float) -> pd.DataFrame:
    """The losses, one row per seed and one column per candidate; NaN where there is none."""
    if not 0 < margin < math.inf:
        raise InvalidInput(
            f"margin is {margin}; give the largest difference that does not matter, above 0"
        )
    keys = ["candidate", "seed"]
    for column in (*keys, "loss"):
        if column not in results:
            raise InvalidInput(f"results have no column {column!r}; give candidate, seed, loss")
    twice = results[results.duplicated(keys)]
    if not twice.empty:
        candidate, seed = twice.iloc[0][keys]
        raise InvalidInput(f"{candidate} has two losses of seed {seed}; give one per seed")
    losses = results.pivot(index="seed", columns="candidate", values="loss")
    if reference not in losses:
        raise InvalidInput(
            f"reference {reference!r} has no results; choose one of {', '.join(losses)}"
        )
    if losses.shape[1] == 1:
        raise InvalidInput(f"only {reference} has results; train a candidate to compare with it")
    return losses.astype(float).replace([np.inf, -np.inf], np.nan)


def _compared(losses: pd.Series, reference: pd.Series, margin: float) -> dict[str, Any]:
    pairs = pd.DataFrame({"loss": losses, "reference": reference}).dropna()
    differences = (pairs["loss"] - pairs["reference"]).to_numpy()
    low, high = studentized_interval(differences)
    return {
        "seeds": len(pairs),
        "missing": len(losses) - len(pairs),
        "mean": pairs["loss"].mean(),
        "reference_mean": pairs["reference"].mean(),
        "difference": pairs["loss"].mean() - pairs["reference"].mean(),
        "low": low,
        "high": high,
        "deviation": (pairs["loss"] - pairs["reference"]).std(),
        "p_difference": float(difference_p_value(differences)),
        "p_equivalence": float(equivalence_p_value(differences, margin)),
    }
