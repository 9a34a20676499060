"""Candidates from all over a study's family, and the features by which they are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import pandas as pd
from scipy.stats import qmc

from dynamoe_search.plan.baselines import count_candidates, every_candidate
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.search_section import AlsoSection
from dynamoe_search.schedules import NONE, Dimension, Real, Simplex, Whole

_LARGEST_FAMILY = 2**14
_NO_VARIANCE = 1e-20  # far below that of one expert more among the most that there can be
_BATCH = 2**10  # points that are drawn at once


def family_pool(plan: Plan, size: int) -> tuple[Candidate, ...]:
    """The candidates that a study can take: its baselines, and a sample of its family.

    The sample is that of scrambled Sobol points of the family's parameters and of the settings that
    are searched beside the schedule, without repetition, from at most four times as many points.
    Where the family `free` has no more schedules, or active schedules, than asked for, and nothing
    else is searched, it is all of them.

    Parameters
    ----------
    plan : Plan
    size : int
        The most candidates; fewer where the family does not reach as many. All baselines are there
        in any case.

    Returns
    -------
    tuple of Candidate
        The baselines first. It depends on the plan and the size alone.
    """
    pool = dict.fromkeys(plan.baselines.values())
    found = _every(plan) if _is_small(plan, size) else islice(_sample(plan), 4 * size)
    for candidate in found:
        if len(pool) >= size:
            break
        pool[candidate] = None
    return tuple(pool)


def family_size(plan: Plan, pool: Sequence[Candidate], size: int) -> int:
    """The number of candidates that the regret of a decision is against.

    A pool that was not filled is the whole family. Else it is the number of candidates that the
    family `free` has where one kind of schedule moves, or 2^14, which is less; for others 2^14.
    A limit is needed: where candidates differ in what no smooth function shows, more of them always
    hold a better one.

    Parameters
    ----------
    plan : Plan
    pool : sequence of Candidate
        As `family_pool` gives it.
    size : int
        What it was asked for.
    """
    if len(pool) < size or _is_small(plan, size):
        return len(pool)
    schedules = _candidates_of_free(plan)
    return _LARGEST_FAMILY if schedules is None else max(len(pool), min(_LARGEST_FAMILY, schedules))


def candidate_features(candidates: Sequence[Candidate], dense: int = 1) -> pd.DataFrame:
    """What makes candidates alike: the logarithms of their counts per layer, and their settings.

    The logarithms are divided so that those of all layers together have the variance 1, and so are
    those of the active experts; and each setting so that it has. So distances are alike for
    networks of few layers and of many.

    Parameters
    ----------
    candidates : sequence of Candidate
        Of one depth, with the same settings, and all or none with an active schedule.
    dense : int
        The experts that a dense layer counts as.

    Returns
    -------
    DataFrame
        Indexed by the candidates' texts: a column for each layer, one for the active experts of
        each where these are searched, and one for each setting that differs.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> some = [Candidate(Schedule(counts)) for counts in ((4, 1), (2, 2), (1, 4))]
    >>> candidate_features(some).round(2).to_numpy().tolist()
    [[0.87, -0.87], [0.0, 0.0], [-0.87, 0.87]]
    """
    names = [str(candidate) for candidate in candidates]
    layers = _logarithms(
        [[n or dense for n in one.schedule] for one in candidates], names, "layer_"
    )
    active = [one.active.counts for one in candidates if one.active is not None]
    if active:
        layers = layers.join(_logarithms(active, names, "active_layer_"))
    settings = pd.DataFrame([dict(candidate.settings) for candidate in candidates], index=names)
    settings = settings.loc[:, settings.nunique() > 1].astype(float)
    return layers.join((settings - settings.mean()) / settings.std(ddof=0))


def _logarithms(counts: Sequence[Sequence[int]], names: Sequence[str], prefix: str) -> pd.DataFrame:
    """The centered logarithms of counts per layer, divided so that their variances sum to 1."""
    logarithms = np.log(counts)
    layers = pd.DataFrame(logarithms - logarithms.mean(axis=0), index=names).add_prefix(prefix)
    variance = layers.var(ddof=0).sum()
    # Of equal counts the variance can be what rounding leaves.
    return layers / (math.sqrt(variance) if variance > _NO_VARIANCE else 1.0)


def _is_small(plan: Plan, size: int) -> bool:
    """Whether the family has no more candidates than asked for, and they can be listed."""
    also, schedules = plan.study.search.also, _candidates_of_free(plan)
    if schedules is None or also.hidden or also.intervals():
        return False
    return schedules <= size


def _candidates_of_free(plan: Plan) -> int | None:
    """How many schedules, or active schedules, `free` has, where they alone move; else None."""
    search = plan.study.search
    if {search.family, search.active_family} != {NONE, "free"} or plan.solution is None:
        return None
    if plan.active_family is not None and plan.study.budget.minimum == 0:
        return None  # dense layers have the mean K, and the others share the rest
    return count_candidates(plan.study, plan.solution.experts)


def _every(plan: Plan) -> Iterator[Candidate]:
    assert plan.solution is not None  # as it is small
    return every_candidate(plan.study, plan.solution.experts)


def _sample(plan: Plan) -> Iterator[Candidate]:
    """The candidates of Sobol points, without end."""
    space, also = plan.space, plan.study.search.also
    parameters = sum(len(one.names) if isinstance(one, Simplex) else 1 for one in space)
    settings = len(also.intervals()) + (also.hidden is not None)
    points = qmc.Sobol(parameters + settings, rng=plan.study.seed)
    while True:
        batch = []
        for point in points.random(_BATCH):
            values = iter(point.tolist())
            chosen = {name: value for one in space for name, value in _of(one, values)}
            batch.append((chosen, _settings_of(also, values)))
        yield from plan.candidates(batch)


def _of(dimension: Dimension, values: Iterator[float]) -> Iterable[tuple[str, float]]:
    """The parameters of a dimension at the next values of a point of the unit cube."""
    match dimension:
        case Real(name, low, high):
            return [(name, low + next(values) * (high - low))]
        case Whole(name, low, high):
            return [(name, low + int(next(values) * (high - low + 1)))]
        case Simplex(names):
            uniform = [max(next(values), dimension.LEAST) for _ in names]
            return dimension.shares(uniform).items()


def _settings_of(also: AlsoSection, values: Iterator[float]) -> Mapping[str, float]:
    settings: dict[str, float] = {}
    if also.hidden is not None:
        settings["hidden"] = also.hidden[int(next(values) * len(also.hidden))]
    for name, (low, high) in also.intervals().items():
        value = next(values)
        if name == "k":
            settings[name] = low + int(value * (high - low + 1))
        else:
            settings[name] = also.rounded(name, low + value * (high - low))
    return settings
