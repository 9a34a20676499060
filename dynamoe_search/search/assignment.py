"""What is trained next, decided from the records alone.

In this order: what was cut short is tried again; each named pattern, uniform and each preset that
the study lists is trained once, whether or not the family reaches it;
the sampler explores; and the last quarter of a study trains its leaders again from new seeds, best
first, so that the winner is not merely the luckiest seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import optuna

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.records import (
    Claim,
    Ledger,
    claim_of,
    objective_values,
    read_ledger,
    record_claim,
    record_constraints,
    state_of,
)
from dynamoe_search.plan.candidate import Candidate, DenseBaseline, parse_candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.study_file import SearchSection
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM, enumerate_schedules
from dynamoe_search.search.sampler_state import check_sampler_state
from dynamoe_search.search.samplers import make_sampler
from dynamoe_search.search.space import encode, suggest, suggest_settings
from dynamoe_search.statistics.pareto import OBJECTIVES, pareto_front

REPLICATION_SHARE = 0.25
_FINALISTS = 3
# So many answers in a row that need no training mean that there is nothing left to train.
_REPEATS_BEFORE_EXHAUSTED = 50
_ERRORS_IN_A_ROW = 5


@dataclass(frozen=True)
class Assignment:
    """A trial, and what to train for it."""

    trial: optuna.Trial
    candidate: Candidate | DenseBaseline
    claim: Claim


def fraction_done(ledger: Ledger, limits: SearchSection, count_running: bool = False) -> float:
    """How far a study is towards the first of its limits: 1 or more where it is over."""
    trainings = ledger.trained + (ledger.running if count_running else 0)
    fractions = [
        done / limit
        for done, limit in (
            (trainings, limits.trials),
            (ledger.seconds / 60, limits.minutes),
            (ledger.flops, limits.training_flops),
        )
        if limit is not None
    ]
    return max(fractions)


def next_assignment(study: optuna.Study, plan: Plan, worker: str, run: str) -> Assignment | None:
    """Claim the next training, or None where there is none; the caller holds the claim lock.

    Raises
    ------
    RunFailed
        Where the last trials all ended in an error.
    """
    search = plan.study.search
    # A sampler that asks for what is known is told the mean, which only draws it there again: the
    # question after that is a random one, so that every training is of something new.
    samplers = chain([search.sampler], repeat("random", _REPEATS_BEFORE_EXHAUSTED))
    for in_vain, sampler in enumerate(samplers):
        trials = study.get_trials(deepcopy=False)
        stop_at_repeated_errors(trials, run)
        ledger = read_ledger(trials)
        if not ledger.retries and fraction_done(ledger, search, True) >= 1:
            return None
        wanted = _wanted(trials, ledger, plan)
        if wanted is None and search.sampler == "exhaustive":
            return None
        if sampler == "cmaes":
            check_sampler_state(trials)
        study.sampler = make_sampler(sampler, plan.study.seed, len(trials), in_vain)
        if isinstance(wanted, Candidate):
            trial, candidate = study.ask(), wanted
        else:
            if wanted is not None:
                study.enqueue_trial(dict(wanted))
            trial = study.ask()
            parameters = suggest(trial, plan.family, plan.depth)
            candidate = plan.candidate(parameters, suggest_settings(trial, search.also))
        name = str(candidate)
        replicate = first_free(ledger, name)
        # What was begun is finished, even where fewer replicates are wanted by now.
        if ledger.retries or (replicate < search.replicates and name not in ledger.on_trial):
            claim = Claim(
                name,
                replicate,
                plan.seed(replicate),
                worker,
                run,
                outside=isinstance(wanted, Candidate),
                prunable=search.pruner != "none" and wanted is None and replicate == 0,
            )
            record_claim(trial, claim)
            return Assignment(trial, candidate, claim)
        _answer_from_results(study, trial, ledger, name, search)
    return None


def first_free(ledger: Ledger, candidate: str) -> int:
    """The lowest replicate of a candidate that nobody has taken."""
    taken = ledger.taken.get(candidate, set())
    return next(number for number in range(len(taken) + 1) if number not in taken)


def leaders(ledger: Ledger, search: SearchSection) -> list[str]:
    """The candidates with results, best first; those that meet the constraints before the others.

    With several objectives, those on the front of the means come first. Equals go by name.
    """
    quantities = [OBJECTIVES[name] for name in search.objectives]
    means = ledger.means([quantity.column for quantity in quantities])
    names = sorted(means)
    if not names:
        return []
    values = np.array([[means[name][q.column] for q in quantities] for name in names])
    feasible = np.array([_is_feasible(ledger, name, search) for name in names])
    front = np.zeros(len(names), dtype=bool)
    front[feasible] = pareto_front(values[feasible], [q.minimize for q in quantities])
    first = values[:, 0] if quantities[0].minimize else -values[:, 0]
    return [names[i] for i in np.lexsort((first, ~front, ~feasible))]


def _is_feasible(ledger: Ledger, candidate: str, search: SearchSection) -> bool:
    """Whether most replicates of a candidate meet the constraints."""
    results = ledger.results[candidate].values()
    met = [all(c.violation(result) <= 0 for c in search.constraint_list) for result in results]
    return sum(met) > len(met) / 2


def _wanted(
    trials: list[optuna.trial.FrozenTrial], ledger: Ledger, plan: Plan
) -> Mapping[str, float] | Candidate | None:
    """What shall be trained next, whatever the sampler thinks; None to leave it to the sampler.

    The parameters that Optuna shall choose, or a candidate that the family does not reach.
    """
    if ledger.retries:
        return _as_claimed(ledger.retries[0])
    for name, candidate in plan.baselines.items():
        if str(candidate) not in ledger.taken:
            return _within_family(name, candidate, plan) or candidate
    if plan.study.search.sampler == "exhaustive":
        return _next_of_all(ledger, plan)
    if fraction_done(ledger, plan.study.search, True) >= 1 - REPLICATION_SHARE:
        leader = _leader_to_replicate(ledger, plan)
        for trial in trials:
            if (claim := claim_of(trial)) and claim.candidate == leader:
                return _as_claimed(trial)
    return None


def _as_claimed(trial: optuna.trial.FrozenTrial) -> Mapping[str, float] | Candidate:
    claim = claim_of(trial)
    assert claim is not None
    if not claim.outside:
        return trial.params
    candidate = parse_candidate(claim.candidate)
    assert isinstance(candidate, Candidate)  # a search trains no dense networks
    return candidate


def _within_family(name: str, candidate: Candidate, plan: Plan) -> Mapping[str, float] | None:
    """What Optuna has to choose for a baseline; None where the family does not reach it."""
    if name not in PATTERNS_AND_UNIFORM:
        return None
    location = plan.family.locate(name, plan.depth, plan.study.search.contrast)
    settings = dict(candidate.settings)
    if plan.candidate(location.parameters, settings) != candidate:
        return None
    return encode(location.parameters, plan.family, plan.depth) | settings


def _next_of_all(ledger: Ledger, plan: Plan) -> Candidate | None:
    """Of all schedules of the budget, the first that has been trained least; None when all are."""
    budget, search = plan.study.budget, plan.study.search
    assert plan.solution is not None  # the study file asks for a total
    bounds = (plan.solution.experts, plan.depth, budget.minimum, budget.maximum)
    candidates = [Candidate(schedule) for schedule in enumerate_schedules(*bounds)]
    least = min(candidates, key=lambda c: len(ledger.taken.get(str(c), ())))
    return least if len(ledger.taken.get(str(least), ())) < search.replicates else None


def _leader_to_replicate(ledger: Ledger, plan: Plan) -> str | None:
    """Who is trained once more: the finalists, the best named pattern, then the others by rank."""
    search = plan.study.search
    in_order = leaders(ledger, search)
    patterns = {str(plan.baselines[name]) for name in PATTERNS_AND_UNIFORM}
    best_pattern = [candidate for candidate in in_order if candidate in patterns][:1]
    for candidate in in_order[:_FINALISTS] + best_pattern + in_order[_FINALISTS:]:
        if len(ledger.taken[candidate]) < search.replicates and candidate not in ledger.on_trial:
            return candidate
    return None


def _answer_from_results(
    study: optuna.Study,
    trial: optuna.Trial,
    ledger: Ledger,
    candidate: str,
    search: SearchSection,
) -> None:
    """Give the sampler the mean of a candidate that has had all its replicates."""
    trial.set_user_attr("repeat", {"candidate": candidate})
    results = list(ledger.results.get(candidate, {}).values())
    if not results:
        # Its replicates are still running, were pruned, or have all failed.
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    keys = {OBJECTIVES[name].column for name in search.objectives}
    keys |= {constraint.key for constraint in search.constraint_list}
    mean = {key: float(np.mean([result[key] for result in results])) for key in keys}
    if search.pruner != "none":
        # Pruners compare with the best, which this answer may be.
        for step in range(1, min(len(result["curve"]) for result in results) + 1):
            losses = [result["curve"][step - 1]["loss"] for result in results]
            trial.report(float(np.mean(losses)), step)
    record_constraints(trial, search, mean)
    study.tell(trial, objective_values(search, mean))


def stop_at_repeated_errors(trials: list[optuna.trial.FrozenTrial], run: str) -> None:
    """Raise `RunFailed` where the last trials all ended in an error in this run."""
    finished = [trial for trial in trials if trial.state.is_finished()]
    last = finished[-_ERRORS_IN_A_ROW:]
    if len(last) == _ERRORS_IN_A_ROW and all(_is_error_of(trial, run) for trial in last):
        message = last[-1].user_attrs["failure"]["message"]
        raise RunFailed(
            f"the last {_ERRORS_IN_A_ROW} trials all ended in an error; the last one: {message}"
        )


def _is_error_of(trial: optuna.trial.FrozenTrial, run: str) -> bool:
    claim = claim_of(trial)
    return state_of(trial) == "error" and claim is not None and claim.run == run
