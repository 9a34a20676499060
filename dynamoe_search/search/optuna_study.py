"""A study as Optuna has it: one trial per candidate, for its plots and its dashboard."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from dynamoe_search.log.runs import Run
from dynamoe_search.log.state import Progress
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.statistics.pareto import OBJECTIVES



def optuna_study(
    progress: Progress, study_file: StudyFile, name: str, storage: BaseStorage | None = None
) -> optuna.Study:
    """A complete in-memory study of Optuna.

    Parameters
    ----------
    progress : Progress
        Of the search.
    study_file : StudyFile
    name : str
    storage : BaseStorage, optional
        Of Optuna, where the study is to be; one in memory where it is None.

    Returns
    -------
    Study
        A trial per candidate, in the order in which they were first trained. Its value is the mean
        over the candidate's blocks (for each objective), its parameters are the experts per layer
        (``experts_1`` is that of the first layer) and what is searched next to the schedule. The
        user attributes give the candidate, its blocks, and the parameters of the family.
    """
    search = study_file.search
    objectives = [OBJECTIVES[objective] for objective in search.objectives]
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=["minimize" if one.minimize else "maximize" for one in objectives],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(search.objectives))
    by_candidate: dict[str, list[Run]] = {}
    for run in progress.runs:
        by_candidate.setdefault(run.start.candidate, []).append(run)
    candidates = {text: parse_candidate(text) for text in by_candidate}
    schedules = [one for one in candidates.values() if isinstance(one, Candidate)]
    distributions = _distributions(schedules, study_file)
    study.add_trials(
        [
            _trial(runs, candidate, distributions, study_file)
            for text, runs in by_candidate.items()
            if isinstance(candidate := candidates[text], Candidate)
        ]
    )
    return study


def _parameters(candidate: Candidate) -> dict[str, Any]:
    layers = {f"experts_{layer}": n for layer, n in enumerate(candidate.schedule.counts, start=1)}
    return layers | dict(candidate.settings)


def _distributions(
    candidates: Iterable[Candidate], study_file: StudyFile
) -> dict[str, BaseDistribution]:
    """From the fewest to the most of each parameter that the study has trained."""
    rows = [_parameters(candidate) for candidate in candidates]
    found: dict[str, BaseDistribution] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        low, high = min(values), max(values)
        whole = all(float(value).is_integer() for value in values)
        interval = study_file.search.also.intervals().get(name)
        if whole and name not in ("p", "tau", "target"):
            found[name] = IntDistribution(int(low), int(high))
        else:
            found[name] = FloatDistribution(*(interval or (low, high)))
    return found


def _trial(
    runs: list[Run],
    candidate: Candidate,
    distributions: dict[str, BaseDistribution],
    study_file: StudyFile,
) -> FrozenTrial:
    search = study_file.search
    complete = [run.result for run in runs if run.state == "complete"]
    columns = [OBJECTIVES[objective].column for objective in search.objectives]
    values = [_mean([r.value(column) for r in complete]) for column in columns]
    state = _state(runs, values)
    curves = [run.result.curve for run in runs if run.state == "pruned"]
    trial = create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params={
            name: int(value) if isinstance(distributions[name], IntDistribution) else value
            for name, value in _parameters(candidate).items()
        },
        distributions=distributions,
        user_attrs={
            "candidate": str(candidate),
            "blocks": len(complete),
            "family": dict(runs[0].start.parameters or {}),
        },
        intermediate_values={
            step: point.loss for curve in curves for step, point in enumerate(curve, start=1)
        },
        constraints={
            str(c): _mean([c.violation(r.value(c.key)) for r in complete])
            for c in search.constraint_list
            if complete
        },
    )
    trial.datetime_start = datetime.fromtimestamp(runs[0].started)
    ends = [run.finished for run in runs if run.finished is not None]
    if state.is_finished() and ends:
        trial.datetime_complete = datetime.fromtimestamp(max(ends))
    return trial


def _state(runs: Sequence[Run], values: Sequence[float]) -> TrialState:
    """Complete where there are values; else what its runs have come to."""
    states = {run.state for run in runs}
    if not any(math.isnan(value) for value in values):
        return TrialState.COMPLETE
    if "running" in states:
        return TrialState.RUNNING
    return TrialState.PRUNED if "pruned" in states else TrialState.FAIL


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
