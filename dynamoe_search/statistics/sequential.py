"""Compare candidates with one reference, each until a look at the results decides it.

As in `dynamoe_search.statistics.comparison`, with p values that are valid at every look: paired t
tests with the boundaries of `dynamoe_search.statistics.group_sequential`. The first look at which
Holm's correction over all comparisons decides one ends it; what it had found stays, and its p
values go on to count in the correction for the others. Whatever was decided then stays decided,
since its p values stay and Holm's levels only rise (Maurer and Bretz 2013). So, over all
comparisons and all looks, a difference or an equivalence that is not there is claimed with a
probability of at most 5 % each. The intervals are repeated confidence intervals (Jennison and
Turnbull 2000, chapter 9): with 95 % that of a comparison holds the true difference at every look,
and so where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.statistics.comparison import (
    ERROR_RATE,
    holm,
    seeds_to_decide,
    t_statistics,
    with_verdicts,
)
from dynamoe_search.statistics.group_sequential import (
    critical_value,
    nominal_level,
    sequential_p_value,
)

Findings = dict[str, NDArray[np.float64]]
"""What a look finds, by comparison: these columns."""
COLUMNS = ("p_difference", "p_equivalence", "low", "high")
_NOTHING: Findings = dict.fromkeys(COLUMNS, np.array(np.nan))


@dataclass(frozen=True)
class Looks:
    """When results are looked at.

    Parameters
    ----------
    every : int
        The seeds between two looks, and up to the first.
    planned : int
        The most seeds as planned before the first look; it fixes how the error rate is spent.
    most : int
        The most seeds as of now: raising it later keeps all error rates.
    """

    every: int
    planned: int
    most: int

    @property
    def until_most(self) -> range:
        """The numbers of seeds at all looks."""
        return range(self.every, self.most + 1, self.every)


def find(differences: ArrayLike, margin: float, looks: tuple[int, ...], planned: int) -> Findings:
    """What the last of several looks finds about mean differences.

    Parameters
    ----------
    differences : array_like of float, shape (..., n)
        One difference per pair.
    margin : float
        Of equivalence, above 0.
    looks : tuple of int
        The number of pairs at each look so far, in order, from 2; the last one is n.
    planned : int
        See `Looks`.

    Returns
    -------
    dict of str to ndarray, shape (...)
        ``p_difference``, two-sided; ``p_equivalence``; ``low`` and ``high`` of the 95 % interval.

    Examples
    --------
    >>> found = find([0.02, 0.03, 0.02, 0.03], margin=0.01, looks=(4,), planned=16)
    >>> {name: round(float(value), 3) for name, value in found.items()}
    {'p_difference': 0.011, 'p_equivalence': 1.0, 'low': 0.011, 'high': 0.039}
    """
    values = np.asarray(differences, dtype=np.float64)

    def p_value(center: float, sign: int) -> NDArray[np.float64]:
        return sequential_p_value(sign * t_statistics(values, center), looks, planned)

    error = values.std(axis=-1, ddof=1) / math.sqrt(looks[-1])
    width = critical_value(ERROR_RATE / 2, looks, planned) * error
    return {
        "p_difference": np.minimum(1, 2 * np.fmin(p_value(0, 1), p_value(0, -1))),
        "p_equivalence": np.maximum(p_value(-margin, 1), p_value(margin, -1)),
        "low": values.mean(axis=-1) - width,
        "high": values.mean(axis=-1) + width,
    }


def stop_when_decided(
    look_at: Callable[[int, NDArray[np.bool_]], Findings | None],
    looks: Sequence[int],
    shape: tuple[int, ...],
) -> tuple[Findings, NDArray[np.int64]]:
    """Look again and again, and stop each comparison at the look that decides it.

    Parameters
    ----------
    look_at : callable
        Given a number of seeds and which comparisons are open, what that look finds about these
        (anything about the others); None where the results of an open one are not all there yet.
    looks : sequence of int
        The numbers of seeds, in order.
    shape : tuple of int
        Of a finding: (comparisons,), after any number of axes for repetitions.

    Returns
    -------
    findings : dict of str to ndarray
        Of each comparison at its last look; NaN where there was none.
    seeds : ndarray of int
        At its last look; 0 where there was none.
    """
    state = {name: np.full(shape, np.nan) for name in COLUMNS}
    seeds, is_open = np.zeros(shape, dtype=np.int64), np.ones(shape, dtype=np.bool_)
    for look in looks:
        found = look_at(look, is_open)
        if found is None:
            break
        state = {name: np.where(is_open, found[name], state[name]) for name in COLUMNS}
        seeds = np.where(is_open, look, seeds)
        for question in ("p_difference", "p_equivalence"):
            is_open &= ~(holm(state[question]) <= ERROR_RATE)
        if not is_open.any():
            break
    return state, seeds


def compare_until_decided(
    results: pd.DataFrame,
    reference: str,
    candidates: Sequence[str],
    margin: float,
    looks: Looks,
) -> pd.DataFrame:
    """Compare candidates with the reference, each until a look decides it.

    Parameters
    ----------
    results : DataFrame
        One row per candidate and seed whose training run has ended: ``candidate``, ``place`` (of
        the seed among those planned, from 0) and ``loss`` (NaN or infinite where it diverged).
        What counts is the order of the places: a result that is there before its turn waits.
    reference : str
        The candidate to compare the others with.
    candidates : sequence of str
        All others, also those without results: the error rates are those of all these comparisons.
    margin : float
        The largest difference of losses that does not matter, above 0.
    looks : Looks

    Returns
    -------
    DataFrame
        As `compare_with_reference` gives it, of each comparison at its last look, with the repeated
        confidence interval as ``low`` and ``high``; ``looked_at`` is the number of seeds at that
        look, ``is_open`` whether the comparison goes on. ``seeds_to_decide`` takes the level of the
        last look for those to come, and so is about right.

    Examples
    --------
    >>> losses = [0.50, 0.55, 0.52, 0.53, 0.61, 0.65, 0.63, 0.64]
    >>> results = pd.DataFrame(
    ...     {"candidate": ["2-2"] * 4 + ["3-1"] * 4, "place": [0, 1, 2, 3] * 2, "loss": losses}
    ... )
    >>> table = compare_until_decided(results, "2-2", ["3-1"], 0.01, Looks(4, 16, 16))
    >>> table[["candidate", "seeds", "verdict", "is_open"]].to_dict("records")
    [{'candidate': '3-1', 'seeds': 4, 'verdict': 'worse', 'is_open': False}]
    """
    ended = results.assign(loss=results["loss"].astype(float).fillna(np.inf))
    losses = ended.pivot(index="place", columns="candidate", values="loss")
    losses = losses.reindex(index=range(looks.most), columns=[reference, *candidates])
    in_turn = losses.notna().cumprod().sum()  # the seeds up to the first that has not ended
    reached = np.minimum(in_turn[list(candidates)], in_turn[reference]).to_numpy()
    losses = losses.replace([np.inf, -np.inf], np.nan)
    differences = losses[list(candidates)].sub(losses[reference], axis=0).to_numpy().T

    def look_at(look: int, is_open: NDArray[np.bool_]) -> Findings | None:
        if (reached[is_open] < look).any():
            return None
        found = [
            _find(values[:look], margin, looks) if goes_on else _NOTHING
            for values, goes_on in zip(differences, is_open, strict=True)
        ]
        return {name: np.array([one[name] for one in found]) for name in COLUMNS}

    found, seeds = stop_when_decided(look_at, looks.until_most, (len(candidates),))
    rows = [
        _row(losses.iloc[:look], candidate, reference)
        for candidate, look in zip(candidates, seeds, strict=True)
    ]
    table = with_verdicts(pd.DataFrame(rows).assign(**found))
    table["is_open"] = table["verdict"] == "undecided"
    strictest = ERROR_RATE / len(table)
    more = [
        _seeds_to_decide(
            row,
            pair_counts(differences[row.Index, : row.looked_at], looks.every),
            margin,
            looks,
            strictest,
        )
        if row.is_open
        else None
        for row in table.itertuples()
    ]
    table["seeds_to_decide"] = pd.array(more, dtype="Int64")
    return table.sort_values("difference", kind="stable", ignore_index=True)


def _find(differences: NDArray[np.float64], margin: float, looks: Looks) -> Findings:
    """What a look finds about one comparison, of which pairs may be missing."""
    counts = pair_counts(differences, looks.every)
    if not counts:
        return _NOTHING
    return find(differences[np.isfinite(differences)], margin, counts, looks.planned)


def pair_counts(differences: NDArray[np.float64], every: int) -> tuple[int, ...]:
    """The number of pairs at each look; a look without a new pair is none.

    Parameters
    ----------
    differences : ndarray of float64, shape (n,)
        By the seed's place; NaN where a pair is missing.
    every : int
        The seeds between two looks.

    Examples
    --------
    >>> pair_counts(np.array([0.1, 0.2, 0.1, 0.3, 0.2, np.nan, 0.1, 0.2, 0.4]), every=4)
    (4, 7)
    """
    pairs = np.isfinite(differences).cumsum()[every - 1 :: every]
    return tuple(int(count) for count in np.unique(pairs) if count >= 2)


def _row(losses: pd.DataFrame, candidate: str, reference: str) -> dict[str, Any]:
    pairs = losses[[reference, candidate]].dropna()
    difference = pairs[candidate] - pairs[reference]
    return {
        "candidate": candidate,
        "seeds": len(pairs),
        "missing": len(losses) - len(pairs),
        "looked_at": len(losses),
        "mean": pairs[candidate].mean(),
        "reference_mean": pairs[reference].mean(),
        "difference": difference.mean(),
        "deviation": difference.std(),
    }


def _seeds_to_decide(
    row: Any, counts: tuple[int, ...], margin: float, looks: Looks, strictest: float
) -> int | None:
    """The seeds with which a test at the level of the last look would likely decide."""
    if not counts:
        return None
    level = nominal_level(strictest, counts, looks.planned)
    found = seeds_to_decide(row.difference, row.deviation, margin, level)
    return None if found is None else max(found, row.seeds + looks.every)
