"""A study as Optuna has it: one trial per candidate, for its plots and its dashboard."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from statistics import fmean, median_high

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from dynamoe_search.log.runs import Run, are_feasible
from dynamoe_search.log.state import Progress
from dynamoe_search.log.table import baselines_of
from dynamoe_search.plan.baselines import groups_of, names_of
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.search.quiet import quiet
from dynamoe_search.statistics.pareto import OBJECTIVES

_STATES = {"running": TrialState.RUNNING, "pruned": TrialState.PRUNED}


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
        over the candidate's seeds (for each objective), and so are its intermediate values, the
        points of the learning curve. Its parameters are the experts per layer (``experts_1`` is
        that of the first layer), the active ones (``active_1``) where they are searched, and what
        is searched next to the schedule. A constraint has the middle of its values, so that it is
        met where most seeds meet it. The user attributes give the ``candidate``, its ``schedule``,
        ``pattern`` and ``group``, its complete ``seeds``, whether it is ``feasible``, and what
        Optuna proposed, ``parameter_...``.
    """
    objectives = [OBJECTIVES[objective] for objective in study_file.search.objectives]
    by_candidate: dict[str, list[Run]] = {}
    for run in progress.runs:
        by_candidate.setdefault(run.start.candidate, []).append(run)
    parsed = {text: parse_candidate(text) for text in by_candidate}
    candidates = {text: one for text, one in parsed.items() if isinstance(one, Candidate)}
    distributions = _distributions(candidates.values(), study_file)
    baselines = baselines_of(candidates.values(), study_file)
    names, groups = names_of(baselines), groups_of(baselines)
    with quiet():
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=["minimize" if one.minimize else "maximize" for one in objectives],
        )
        study.set_metric_names(list(study_file.search.objectives))
    for text, candidate in candidates.items():
        trial = _trial(by_candidate[text], candidate, distributions, study_file)
        trial.set_user_attr("pattern", names.get(text, ""))
        trial.set_user_attr("group", groups.get(text, "searched"))
        study.add_trial(trial)
    return study


def _parameters(candidate: Candidate) -> dict[str, float]:
    layers = {f"experts_{layer}": n for layer, n in enumerate(candidate.schedule.counts, start=1)}
    if candidate.active is not None:
        layers |= {f"active_{layer}": k for layer, k in enumerate(candidate.active, start=1)}
    return layers | dict(candidate.settings)


def _distributions(
    candidates: Iterable[Candidate], study_file: StudyFile
) -> dict[str, BaseDistribution]:
    """From the fewest to the most of each parameter that the study has trained."""
    rows = [_parameters(candidate) for candidate in candidates]
    intervals = study_file.search.also.intervals()
    found: dict[str, BaseDistribution] = {}
    for name in rows[0] if rows else ():
        if name in intervals and name != "k":
            found[name] = FloatDistribution(*intervals[name])
        else:
            values = [int(row[name]) for row in rows]
            found[name] = IntDistribution(min(values), max(values))
    return found


def _trial(
    runs: list[Run],
    candidate: Candidate,
    distributions: dict[str, BaseDistribution],
    study_file: StudyFile,
) -> FrozenTrial:
    """The trial of a candidate, from all its runs."""
    search = study_file.search
    last = next((run for run in reversed(runs) if run.state in _STATES), runs[-1])
    complete = [run for run in runs if run.state == "complete"]
    results = [result for run in complete for result in run.results]
    columns = [OBJECTIVES[name].column for name in search.objectives]
    values, constraints = list[float](), dict[str, float]()
    if results:
        values = [fmean(result.value(column) for result in results) for column in columns]
        constraints = {
            str(c): median_high(c.violation(result.value(c.key)) for result in results)
            for c in search.constraint_list
        }
    is_known = bool(results) and not any(map(math.isnan, [*values, *constraints.values()]))
    state = TrialState.COMPLETE if is_known else _STATES.get(last.state, TrialState.FAIL)
    curves = [result.curve for result in results or last.results]
    trial = create_trial(
        state=state,
        values=values if is_known else None,
        params={
            name: int(value) if isinstance(distributions[name], IntDistribution) else value
            for name, value in _parameters(candidate).items()
        },
        distributions=distributions,
        user_attrs={
            "candidate": str(candidate),
            "schedule": str(candidate.schedule),
            "seeds": len(results),
            "feasible": are_feasible(results, search.constraint_list),
            **{f"parameter_{name}": at for name, at in (runs[0].start.parameters or {}).items()},
        },
        intermediate_values={
            step: fmean(point.loss for point in points)
            for step, points in enumerate(zip(*curves, strict=False), start=1)
        },
        constraints=constraints if is_known else {},
    )
    trial.datetime_start = datetime.fromtimestamp(runs[0].started)
    ends = [run.finished for run in complete or runs if run.finished is not None]
    if state.is_finished() and ends:
        # Of the first block, as others follow late in the search.
        trial.datetime_complete = datetime.fromtimestamp(min(ends))
    return trial
