"""Verdicts on claims, from paired training runs that are looked at after every four seeds.

The effect is the least advantage of a claim's better baseline over its rivals: above 0 where the
claim is right. `dynamoe_search.statistics.least_advantage` has the tests. Holm's correction is made
over all questions of a family, also those not run yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dynamoe_search.claims.source import CLAIMS, OUTCOMES, Claim, Unit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.comparison import ERROR_RATE, holm
from dynamoe_search.statistics.group_sequential import nominal_level
from dynamoe_search.statistics.least_advantage import (
    least_advantage_interval,
    least_p_values,
    of_least_advantage,
    seeds_needed,
)
from dynamoe_search.statistics.sequential import Looks, pair_counts

SUPPORTED, NOT_SUPPORTED, EQUIVALENT, UNDECIDED, NOT_RUN = (
    "supported",
    "not supported",
    "equivalent",
    "undecided",
    "not run yet",
)
VERDICTS = (SUPPORTED, NOT_SUPPORTED, EQUIVALENT, UNDECIDED, NOT_RUN)

MOST_SEEDS = 200
LOOKS = Looks(every=4, planned=64, most=MOST_SEEDS)
"""Most should be decided by 64 seeds; what is left of the error rate serves the others."""


def judge(
    units: Sequence[Unit],
    runs: Mapping[Unit, pd.DataFrame],
    claims: Sequence[Claim] = CLAIMS,
) -> pd.DataFrame:
    """A verdict for each claim and unit.

    Supported: the better baseline is better than every rival. Not supported: it is worse than some
    rival. Equivalent: its least advantage is within the margin, on either side of 0. Each has a p
    value that holds at every look, and Holm's correction over all questions of a family: over the
    differences, two-sided, and over the equivalences. So in each family, over all questions and all
    looks, a difference that is not there is claimed with a chance of at most 5 %, and likewise an
    equivalence. A verdict that was made stays as seeds are added.

    Parameters
    ----------
    units : sequence of Unit
        All planned units.
    runs : mapping of Unit to DataFrame
        The units that were begun, with one row per training run that has ended: ``candidate``,
        ``baseline`` (two baselines can be the same candidate, which is then no rival of itself),
        ``place`` (of the seed among all, from 0) and the outcomes, NaN where the run failed.
    claims : sequence of Claim

    Returns
    -------
    DataFrame
        One row per question, by family: ``claim``, ``about``, ``data``, ``condition``,
        ``outcome``, ``family``; ``rival``, the strongest; ``seeds``, the pairs with that rival, and
        ``missing`` ones; ``effect``, the mean advantage over it, with ``low`` and ``high`` (the
        repeated 95 % interval of the least advantage) and ``deviation``; ``p`` and
        ``p_equivalence``, both with ``_holm``; ``verdict``, one of `VERDICTS`; ``within_margin``
        (bool: shown to be so); ``seeds_to_decide`` (Int64, about how many in all, at the strictest
        level of Holm's correction; NA where it is decided, nothing is known, or more than
        `dynamoe_search.statistics.comparison.MOST_SEEDS` are needed); and what a verdict still
        takes: ``contenders``, the baselines but for the rivals that are beaten at the strictest
        level, and what `dynamoe_search.statistics.least_advantage.SeedsNeeded` has, as
        ``to_bound``, ``to_refute`` and ``refuter``.

    Raises
    ------
    InvalidInput
        If a table lacks a column, or has a training run twice.

    Examples
    --------
    >>> unit = Unit("images", "digits", "paper")
    >>> table = pd.DataFrame({
    ...     "candidate": ["3-1"] * 4 + ["2-2"] * 4,
    ...     "baseline": ["descending"] * 4 + ["uniform"] * 4,
    ...     "place": [0, 1, 2, 3] * 2,
    ...     "test_loss": [0.50, 0.51, 0.52, 0.53, 0.70, 0.71, 0.72, 0.732],
    ... })
    >>> found = judge([unit], {unit: table}, CLAIMS[:1])
    >>> found["verdict"][0], round(float(found["effect"][0]), 4)
    ('supported', 0.2005)
    """
    families = ("primary", "others", "secondary")
    questions = [(claim, unit) for claim in claims for unit in units if claim.about == unit.about]
    questions.sort(key=lambda question: families.index(question[0].family))
    sizes = pd.Series([claim.family for claim, _ in questions], dtype=object).value_counts()
    table = pd.DataFrame(
        [
            _answer(claim, unit, runs.get(unit), ERROR_RATE / 2 / sizes[claim.family])
            for claim, unit in questions
        ],
        columns=_COLUMNS,
    )
    for p in ("p", "p_equivalence"):
        table[f"{p}_holm"] = table.groupby("family")[p].transform(holm)
    is_different = table["p_holm"] <= ERROR_RATE
    table["within_margin"] = table["p_equivalence_holm"] <= ERROR_RATE
    conditions = [
        table["seeds"] == 0,
        is_different & table["favors"],
        is_different,
        table["within_margin"],
    ]
    verdicts = [NOT_RUN, SUPPORTED, NOT_SUPPORTED, EQUIVALENT]
    table["verdict"] = np.select(conditions, verdicts, UNDECIDED)
    needed = np.minimum(table["to_refute"], table["to_bound"])
    needed = needed.where((table["verdict"] == UNDECIDED) & np.isfinite(needed))
    table["seeds_to_decide"] = needed.round().astype("Int64")
    return table


_COLUMNS = (
    *("claim", "about", "data", "condition", "outcome", "family", "rival", "seeds", "missing"),
    *("effect", "low", "high", "deviation", "p", "p_equivalence", "favors"),
    *("contenders", "to_refute", "refuter", "to_bound"),
)


def _answer(claim: Claim, unit: Unit, runs: pd.DataFrame | None, level: float) -> dict[str, Any]:
    """A question, with its effect and tests; `level` is Holm's strictest, of a one-sided test."""
    question: dict[str, Any] = {
        "claim": claim.sentence,
        "about": unit.about,
        "data": unit.data,
        "condition": unit.condition,
        "outcome": claim.outcome,
        "family": claim.family,
    }
    outcome = OUTCOMES[claim.outcome]
    rivals, values = _by_place(claim, unit, runs)
    differences = outcome.sign * values[rivals].rsub(values[claim.better], axis=0)
    advantages = [differences[name].to_numpy(dtype=float) for name in rivals]
    above, below = least_p_values(advantages, claim.threshold, LOOKS)
    contenders = [claim.better, *np.array(rivals)[above > level].tolist()]
    least_above, least_below = (float(p) for p in of_least_advantage(above, below))
    p_equivalence = 1.0
    if not claim.allows_margin:
        over, _ = of_least_advantage(*least_p_values(advantages, -outcome.margin, LOOKS))
        _, under = of_least_advantage(*least_p_values(advantages, outcome.margin, LOOKS))
        p_equivalence = float(max(over, under))
    return question | {
        **_effect(claim, rivals, advantages, level),
        "p": min(1.0, 2 * min(least_above, least_below)),
        "favors": least_above <= least_below,
        "p_equivalence": p_equivalence,
        "contenders": tuple(contenders),
    }


def _by_place(
    claim: Claim, unit: Unit, runs: pd.DataFrame | None
) -> tuple[list[str], pd.DataFrame]:
    """The rivals that are other networks, and the outcome: a row per place, a column per baseline.

    NaN is to come, and infinite has failed.
    """
    baselines = [claim.better, *claim.rivals]
    if runs is None:
        return list(claim.rivals), pd.DataFrame(columns=baselines, dtype=float)
    of_unit = f"the training runs of {unit.data}, {unit.condition},"
    for column in ("candidate", "baseline", "place", claim.outcome):
        if column not in runs:
            raise InvalidInput(f"{of_unit} have no column {column!r}")
    twice = runs[runs.duplicated(["baseline", "place"])]
    if not twice.empty:
        baseline, place = twice.iloc[0][["baseline", "place"]]
        raise InvalidInput(f"{of_unit} have {baseline}, place {place}, twice; keep one")
    candidates = dict(zip(runs["baseline"], runs["candidate"], strict=True))
    own = candidates.get(claim.better)
    others = [name for name in claim.rivals if own is None or candidates.get(name) != own]
    ended = runs.assign(value=runs[claim.outcome].astype(float).fillna(np.inf))
    values = ended.pivot(index="place", columns="baseline", values="value")
    places = range(int(runs["place"].max()) + 1)
    return others or list(claim.rivals), values.reindex(index=places, columns=baselines)


def _effect(
    claim: Claim, rivals: Sequence[str], advantages: Sequence[Any], level: float
) -> dict[str, Any]:
    """The effect against the strongest rival at the last look, and what would decide."""
    looked_at = {
        rival: (counts, one[np.isfinite(one)][: counts[-1]])
        for rival, one in zip(rivals, advantages, strict=True)
        if (counts := pair_counts(one, LOOKS.every))
    }
    if not looked_at:
        return {"rival": "", "seeds": 0, "missing": 0, "refuter": ""}
    means = {rival: float(pairs.mean()) for rival, (_, pairs) in looked_at.items()}
    deviations = {rival: float(pairs.std(ddof=1)) for rival, (_, pairs) in looked_at.items()}
    strongest = min(means, key=means.__getitem__)
    counts = looked_at[strongest][0]
    low, high = least_advantage_interval(advantages, LOOKS)
    needed = seeds_needed(
        list(means.values()),
        list(deviations.values()),
        claim.threshold,
        None if claim.allows_margin else OUTCOMES[claim.outcome].margin,
        nominal_level(level, counts, LOOKS.planned),
    )
    refuter = list(means)[needed.rival]
    least = {rival: of_rival[-1] + LOOKS.every for rival, (of_rival, _) in looked_at.items()}
    return {
        "rival": strongest,
        "seeds": counts[-1],
        "missing": int(np.isinf(advantages[list(rivals).index(strongest)]).sum()),
        "effect": means[strongest],
        "low": low,
        "high": high,
        "deviation": deviations[strongest],
        "to_refute": max(needed.to_refute, least[refuter]),
        "refuter": refuter,
        "to_bound": max(needed.to_bound, min(least.values())),
    }
