"""Verdicts on the source's claims, from paired trainings and nothing else.

The effect is the arm's advantage over its rivals, above 0 where the source is right. Holm's
correction goes over all questions of a folder together, those that were not run yet included.
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

_NO_MARGIN = 1e-12  # within which nothing is ever shown to be


def advantage_p_value(advantages: ArrayLike) -> NDArray[np.float64]:
    """The test of an arm against all its rivals, two-sided.

    Twice the smaller of two p values, each of paired t tests. That the arm is not better than every
    rival: the largest of the one-sided ones (intersection-union, Berger 1982). That it is worse
    than none: the smallest of those the other way, times their number (Bonferroni). Which of the
    two a small value stands for, the sign of the least mean says. Against one rival it is the
    paired t test.

    Parameters
    ----------
    advantages : array_like of float, shape (..., m, n)
        Over each of m rivals, of n paired seeds; above 0 where the arm is better.

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
    """The 95 % interval of an arm's least true advantage over its rivals.

    Against one rival the studentized bootstrap. Against several it is Student's: from the least of
    their lower ends at 2.5 %, to the least of the upper ends at 2.5 % over their number. So it
    allows for the strongest having been picked for being strongest, and lies above 0, or below it,
    just where `advantage_p_value` is below 5 %.

    Parameters
    ----------
    advantages : array_like of float, shape (m, n)
        As in `advantage_p_value`.

    Returns
    -------
    tuple of two floats
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
    """The paired seeds at which an arm would likely be found better, worse or equivalent.

    Whichever needs the fewest, were the means and deviations those observed: better than every
    rival, worse than some (at the error rate over their number), or within the margin of every one.
    Each by `seeds_to_decide`; for several rivals an estimate, as the chances are of one rival each.

    Parameters
    ----------
    advantages : array_like of float, shape (m, n)
        As in `advantage_p_value`, n at least 2.
    margin, error_rate : float
        As in `seeds_to_decide`.

    Returns
    -------
    int or None
        None where it would be more than `MOST_SEEDS`.

    Examples
    --------
    >>> seeds_for_a_verdict([[0.0, 2.0, 1.0]], margin=0.1, error_rate=0.05)
    10
    """
    values = np.asarray(advantages, dtype=np.float64)
    means, deviations = values.mean(axis=1), values.std(axis=1, ddof=1)
    moments = list(zip(means.tolist(), deviations.tolist(), strict=True))

    def wanted(mean: float, deviation: float, within: float, level: float) -> float:
        return seeds_to_decide(mean, deviation, within, level) or math.inf

    better = worse = equivalent = math.inf
    if means.min() > 0:
        better = max(wanted(*moment, _NO_MARGIN, error_rate) for moment in moments)
    if means.min() < 0:
        level = error_rate / len(moments)
        worse = min(wanted(*moment, _NO_MARGIN, level) for moment in moments if moment[0] < 0)
    if np.abs(means).max() < margin:
        equivalent = max(wanted(*moment, margin, error_rate) for moment in moments)
    fewest = min(better, worse, equivalent)
    return int(fewest) if fewest <= MOST_SEEDS else None


def judge(
    units: Sequence[Unit],
    trainings: Mapping[Unit, pd.DataFrame],
    claims: Sequence[SourceClaim] = CLAIMS,
) -> pd.DataFrame:
    """A verdict for each claim and unit.

    Supported: the arm is better than every rival; not supported: it is worse than some, both at 5 %
    by `advantage_p_value`. Equivalent: two one-sided tests put every difference within the margin.
    Holm's correction goes over all questions of a family, for either test. A verdict waits until
    all trainings that were planned for its arms have ended, since who stops at a number of seeds
    for what is seen errs more often.

    Parameters
    ----------
    units : sequence of Unit
        All that were planned.
    trainings : mapping of Unit to DataFrame
        Of those that were begun, a row a planned training: ``arm``, ``candidate`` (two arms can be
        the same network; an arm is not its own rival), ``block``, ``ended`` (bool) and the
        outcomes, NaN where the training failed.
    claims : sequence of SourceClaim

    Returns
    -------
    DataFrame
        A row a question, primary ones first: ``claim``, ``about``, ``data``, ``condition``,
        ``outcome``, ``family``; ``planned`` seeds, ``seeds`` that all arms have, and ``missing``
        ones (Int64, NA where the question was not run yet); ``rival``, the strongest; ``mean`` of
        the arm and ``rival_mean``; ``effect``, the mean advantage over that rival, with ``low`` and
        ``high`` (`least_advantage_interval`) and ``deviation``; ``p`` and ``p_equivalence``, either
        with ``_holm``; ``verdict``, one of `VERDICTS`; ``within_margin`` (bool: every difference is
        shown to be within the margin); ``seeds_to_decide`` (Int64: where it is undecided, see
        `seeds_for_a_verdict`, at the strictest level that Holm's correction may ask for; NA where
        nothing is known, or it would take more than `MOST_SEEDS`).

    Raises
    ------
    InvalidInput
        Where a table lacks a column or an arm, or has a training twice.

    Examples
    --------
    >>> unit = Unit("images", "digits", "paper")
    >>> table = pd.DataFrame({
    ...     "arm": ["descending"] * 4 + ["uniform"] * 4,
    ...     "candidate": ["3-1"] * 4 + ["2-2"] * 4,
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
    rows = [_asked(claim, unit, trainings.get(unit)) for claim, unit in questions]
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
    wanted = [
        seeds_for_a_verdict(row.advantages, OUTCOMES[row.outcome].margin, level)
        if row.verdict == UNDECIDED and row.seeds >= 2
        else None
        for row, level in zip(table.itertuples(), strictest, strict=True)
    ]
    table["seeds_to_decide"] = pd.array(wanted, dtype="Int64")
    return table.drop(columns="advantages")


_COUNTS = ("planned", "seeds", "missing")
_COLUMNS = (
    *("claim", "about", "data", "condition", "outcome", "family", *_COUNTS),
    *("rival", "mean", "rival_mean", "effect", "low", "high", "deviation", "p", "p_equivalence"),
    "advantages",
)


def _asked(claim: SourceClaim, unit: Unit, trainings: pd.DataFrame | None) -> dict[str, Any]:
    """One question, and what the trainings say to it: nothing where they have not all ended."""
    row: dict[str, Any] = {
        "claim": claim.sentence,
        "about": unit.about,
        "data": unit.data,
        "condition": unit.condition,
        "outcome": claim.outcome,
        "family": claim.family,
        "rival": "",
    }
    if trainings is None:
        return row
    arms = _arms(claim, unit, trainings)
    ended = arms.pivot(index="block", columns="arm", values="ended")
    row["planned"] = len(ended)
    if not ended.eq(True).all(axis=None):
        return row
    values = arms.pivot(index="block", columns="arm", values=claim.outcome).astype(float)
    complete = values.where(np.isfinite(values)).dropna()
    row |= {"seeds": len(complete), "missing": len(values) - len(complete)}
    if complete.empty:
        return row
    outcome = OUTCOMES[claim.outcome]
    arm, rivals = complete[claim.arm], complete.drop(columns=claim.arm)
    differences = outcome.sign * rivals.rsub(arm, axis=0)
    strongest = differences.mean().idxmin()
    advantages = differences.to_numpy().T
    low, high = least_advantage_interval(advantages)
    return row | {
        "rival": strongest,
        "mean": arm.mean(),
        "rival_mean": rivals[strongest].mean(),
        "effect": differences[strongest].mean(),
        "low": low,
        "high": high,
        "deviation": differences[strongest].std(),
        "p": float(advantage_p_value(advantages)),
        "p_equivalence": float(equivalence_p_value(advantages, outcome.margin).max()),
        "advantages": advantages,
    }


def _arms(claim: SourceClaim, unit: Unit, trainings: pd.DataFrame) -> pd.DataFrame:
    """The rows of the arm and of the rivals that are other networks, each training once."""
    of_unit = f"the trainings of {unit.data}, {unit.condition},"
    for column in ("arm", "candidate", "block", "ended", claim.outcome):
        if column not in trainings:
            raise InvalidInput(f"{of_unit} have no column {column!r}")
    twice = trainings[trainings.duplicated(["arm", "block"])]
    if not twice.empty:
        arm, block = twice.iloc[0][["arm", "block"]]
        raise InvalidInput(f"{of_unit} have {arm}, block {block}, twice; keep one")
    candidates = dict(zip(trainings["arm"], trainings["candidate"], strict=True))
    for arm in (claim.arm, *claim.rivals):
        if arm not in candidates:
            raise InvalidInput(f"{of_unit} have no {arm!r}; found: {', '.join(candidates)}")
    others = [name for name in claim.rivals if candidates[name] != candidates[claim.arm]]
    return trainings[trainings["arm"].isin([claim.arm, *(others or claim.rivals)])]
