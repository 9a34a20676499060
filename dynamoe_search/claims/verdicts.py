"""Verdicts on the source's claims, from paired training runs.

The effect is the advantage of a claim's better baseline over its rivals: above 0 where the source
is right. Holm's correction is made over all questions of a folder, also those not run yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dynamoe_search.claims.source import CLAIMS, OUTCOMES, SourceClaim, Unit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.comparison import (
    ERROR_RATE,
    MOST_SEEDS,
    difference_p_value,
    equivalence_p_value,
    holm,
    seeds_to_decide,
    studentized_interval,
)

SUPPORTED, NOT_SUPPORTED, EQUIVALENT, UNDECIDED, NOT_RUN = (
    "supported",
    "not supported",
    "equivalent",
    "undecided",
    "not run yet",
)
VERDICTS = (SUPPORTED, NOT_SUPPORTED, EQUIVALENT, UNDECIDED, NOT_RUN)

_NO_MARGIN = 1e-12  # so small that equivalence is never shown


def advantage_p_value(advantages: ArrayLike) -> NDArray[np.float64]:
    """The p value of a baseline against all its rivals, two-sided.

    It is twice the smaller of two p values from one-sided paired t tests. The null hypothesis that
    the baseline is not better than every rival has the largest of them (intersection-union, Berger
    1982). The null hypothesis that it is worse than no rival has the smallest of those in the other
    direction, times their number (Bonferroni). The sign of the least mean says which of the two a
    small value rejects. Against one rival it is the paired t test.

    Parameters
    ----------
    advantages : array_like of float, shape (..., m, n)
        The advantages over each of m rivals with n paired seeds; above 0 where the baseline is
        better.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where n < 2.

    Examples
    --------
    >>> round(float(advantage_p_value([[1.0, 2.0, 3.0]])), 4)
    0.0742
    >>> round(float(advantage_p_value([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.1]])), 4)
    0.9612
    """
    values = np.asarray(advantages, dtype=np.float64)
    half = difference_p_value(values) / 2
    is_better = values.mean(axis=-1) > 0
    supported = np.where(is_better, half, 1 - half).max(axis=-1)
    refuted = values.shape[-2] * np.where(is_better, 1 - half, half).min(axis=-1)
    return np.asarray(np.minimum(1, 2 * np.minimum(supported, refuted)))


def least_advantage_interval(advantages: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of a baseline's least true advantage over its rivals.

    Against one rival it is the studentized bootstrap. Against m rivals it is Student's: from the
    least of their lower ends at 2.5 %, to the least of their upper ends at 2.5 % / m. This allows
    for the strongest rival being picked for being the strongest. The interval excludes 0 exactly
    where `advantage_p_value` is below 5 %.

    Parameters
    ----------
    advantages : array_like of float, shape (m, n)
        As in `advantage_p_value`.

    Returns
    -------
    low, high : float
        NaN where n < 2.
    """
    values = np.asarray(advantages, dtype=np.float64)
    rivals, seeds = values.shape
    if rivals == 1 or seeds < 2:
        return studentized_interval(values[0])
    means, errors = values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(seeds)
    low = means - stats.t.isf(ERROR_RATE / 2, seeds - 1) * errors
    high = means + stats.t.isf(ERROR_RATE / 2 / rivals, seeds - 1) * errors
    return float(low.min()), float(high.min())


def seeds_for_a_verdict(advantages: ArrayLike, margin: float, error_rate: float) -> int | None:
    """The fewest paired seeds with which a claim would likely get a verdict.

    The true means and deviations are assumed to be the observed ones. The verdict that needs the
    fewest seeds counts: better than every rival, worse than some rival (at the error rate over
    their number), or within the margin of every rival. Each number is by `seeds_to_decide`. For
    several rivals it is an estimate, since the power is that against one rival.

    Parameters
    ----------
    advantages : array_like of float, shape (m, n)
        As in `advantage_p_value`; n is at least 2.
    margin, error_rate : float
        As in `seeds_to_decide`.

    Returns
    -------
    int or None
        None where more than `MOST_SEEDS` are needed.

    Examples
    --------
    >>> seeds_for_a_verdict([[0.0, 2.0, 1.0]], margin=0.1, error_rate=0.05)
    10
    """
    values = np.asarray(advantages, dtype=np.float64)
    means, deviations = values.mean(axis=1), values.std(axis=1, ddof=1)
    moments = list(zip(means.tolist(), deviations.tolist(), strict=True))

    def needed(mean: float, deviation: float, within: float, level: float) -> float:
        return seeds_to_decide(mean, deviation, within, level) or math.inf

    better = worse = equivalent = math.inf
    if means.min() > 0:
        better = max(needed(*moment, _NO_MARGIN, error_rate) for moment in moments)
    if means.min() < 0:
        level = error_rate / len(moments)
        worse = min(needed(*moment, _NO_MARGIN, level) for moment in moments if moment[0] < 0)
    if np.abs(means).max() < margin:
        equivalent = max(needed(*moment, margin, error_rate) for moment in moments)
    fewest = min(better, worse, equivalent)
    return int(fewest) if fewest <= MOST_SEEDS else None


def judge(
    units: Sequence[Unit],
    runs: Mapping[Unit, pd.DataFrame],
    claims: Sequence[SourceClaim] = CLAIMS,
) -> pd.DataFrame:
    """A verdict for each claim and unit.

    Supported: the better baseline is better than every rival. Not supported: it is worse than some
    rival. Both are tested by `advantage_p_value` at 5 %. Equivalent: two one-sided tests show that
    every difference is within the margin. Holm's correction is made over all questions of a family,
    for each of the two tests. There is no verdict before all planned runs of a claim's baselines
    have ended, since stopping early because of the results would raise the error rate.

    Parameters
    ----------
    units : sequence of Unit
        All planned units.
    runs : mapping of Unit to DataFrame
        The units that were begun, with one row per planned training run: ``candidate``,
        ``baseline`` (two baselines can be the same candidate, which is then no rival of itself),
        ``block``, ``ended`` (bool) and the outcomes, NaN where the run failed.
    claims : sequence of SourceClaim

    Returns
    -------
    DataFrame
        One row per question, primary ones first: ``claim``, ``about``, ``data``, ``condition``,
        ``outcome``, ``family``; ``planned`` seeds, ``seeds`` that all baselines have, and
        ``missing`` ones (Int64, NA where the question was not run yet); ``rival``, the strongest;
        ``mean`` of the better baseline and ``rival_mean``; ``effect``, the mean advantage over that
        rival, with ``low`` and ``high`` (`least_advantage_interval`) and ``deviation``; ``p`` and
        ``p_equivalence``, both with ``_holm``; ``verdict``, one of `VERDICTS`; ``within_margin``
        (bool: every difference is shown to be within the margin); ``seeds_to_decide`` (Int64: by
        `seeds_for_a_verdict`, at the strictest level of Holm's correction; NA where the verdict is
        decided, nothing is known, or more than `MOST_SEEDS` are needed).

    Raises
    ------
    InvalidInput
        If a table lacks a column or a baseline, or has a training run twice.

    Examples
    --------
    >>> unit = Unit("images", "digits", "paper")
    >>> table = pd.DataFrame({
    ...     "candidate": ["3-1"] * 4 + ["2-2"] * 4,
    ...     "baseline": ["descending"] * 4 + ["uniform"] * 4,
    ...     "block": [0, 1, 2, 3] * 2,
    ...     "ended": True,
    ...     "test_loss": [0.50, 0.51, 0.52, 0.53, 0.70, 0.72, 0.71, 0.74],
    ... })
    >>> found = judge([unit], {unit: table}, CLAIMS[:1])
    >>> found["verdict"][0], round(float(found["effect"][0]), 4)
    ('supported', 0.2025)
    """
    questions = [(claim, unit) for claim in claims for unit in units if claim.about == unit.about]
    questions.sort(key=lambda question: question[0].family)
    rows = [_answer(claim, unit, runs.get(unit)) for claim, unit in questions]
    table = pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_COUNTS, "Int64"))
    for p in ("p", "p_equivalence"):
        table[p] = table[p].astype(float)
        table[f"{p}_holm"] = table.groupby("family")[p].transform(holm)
    is_different = table["p_holm"] <= ERROR_RATE
    table["within_margin"] = table["p_equivalence_holm"] <= ERROR_RATE
    conditions = [
        table["seeds"].isna(),
        is_different & (table["effect"] > 0),
        is_different,
        table["within_margin"],
    ]
    table["verdict"] = np.select(
        conditions, [NOT_RUN, SUPPORTED, NOT_SUPPORTED, EQUIVALENT], UNDECIDED
    )
    strictest = ERROR_RATE / table.groupby("family")["claim"].transform("size")
    seeds = [
        seeds_for_a_verdict(row.advantages, OUTCOMES[row.outcome].margin, level)
        if row.verdict == UNDECIDED and row.seeds >= 2
        else None
        for row, level in zip(table.itertuples(), strictest, strict=True)
    ]
    table["seeds_to_decide"] = pd.array(seeds, dtype="Int64")
    return table.drop(columns="advantages")


_COUNTS = ("planned", "seeds", "missing")
_COLUMNS = (
    *("claim", "about", "data", "condition", "outcome", "family", *_COUNTS),
    *("rival", "mean", "rival_mean", "effect", "low", "high", "deviation", "p", "p_equivalence"),
    "advantages",
)


def _answer(claim: SourceClaim, unit: Unit, runs: pd.DataFrame | None) -> dict[str, Any]:
    """A question, with the effect and its tests if all its runs have ended."""
    row: dict[str, Any] = {
        "claim": claim.sentence,
        "about": unit.about,
        "data": unit.data,
        "condition": unit.condition,
        "outcome": claim.outcome,
        "family": claim.family,
        "rival": "",
    }
    if runs is None:
        return row
    own = _own_runs(claim, unit, runs)
    ended = own.pivot(index="block", columns="baseline", values="ended")
    row["planned"] = len(ended)
    if not ended.eq(True).all(axis=None):
        return row
    values = own.pivot(index="block", columns="baseline", values=claim.outcome).astype(float)
    complete = values.where(np.isfinite(values)).dropna()
    row |= {"seeds": len(complete), "missing": len(values) - len(complete)}
    if complete.empty:
        return row
    outcome = OUTCOMES[claim.outcome]
    better, rivals = complete[claim.better], complete.drop(columns=claim.better)
    differences = outcome.sign * rivals.rsub(better, axis=0)
    strongest = differences.mean().idxmin()
    advantages = differences.to_numpy().T
    low, high = least_advantage_interval(advantages)
    return row | {
        "rival": strongest,
        "mean": better.mean(),
        "rival_mean": rivals[strongest].mean(),
        "effect": differences[strongest].mean(),
        "low": low,
        "high": high,
        "deviation": differences[strongest].std(),
        "p": float(advantage_p_value(advantages)),
        "p_equivalence": float(equivalence_p_value(advantages, outcome.margin).max()),
        "advantages": advantages,
    }


def _own_runs(claim: SourceClaim, unit: Unit, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the better baseline, and of the rivals that are other candidates."""
    of_unit = f"the training runs of {unit.data}, {unit.condition},"
    for column in ("candidate", "baseline", "block", "ended", claim.outcome):
        if column not in runs:
            raise InvalidInput(f"{of_unit} have no column {column!r}")
    twice = runs[runs.duplicated(["baseline", "block"])]
    if not twice.empty:
        baseline, block = twice.iloc[0][["baseline", "block"]]
        raise InvalidInput(f"{of_unit} have {baseline}, block {block}, twice; keep one")
    candidates = dict(zip(runs["baseline"], runs["candidate"], strict=True))
    for baseline in (claim.better, *claim.rivals):
        if baseline not in candidates:
            raise InvalidInput(f"{of_unit} have no {baseline!r}; found: {', '.join(candidates)}")
    others = [name for name in claim.rivals if candidates[name] != candidates[claim.better]]
    return runs[runs["baseline"].isin([claim.better, *(others or claim.rivals)])]
