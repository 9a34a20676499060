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

import optuna

from dynamoe_search.errors import RunFailed
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM, Schedule
from dynamoe_search.search.plan import Plan
from dynamoe_search.search.records import (
    Claim,
    Ledger,
    claim_of,
    read_ledger,
    record_claim,
    state_of,
)
from dynamoe_search.search.space import encode, suggest
from dynamoe_search.search.storage import set_sampler
from dynamoe_search.search.study_file import SearchSection

REPLICATION_SHARE = 0.25
_FINALISTS = 3
# So many answers in a row that need no training mean that there is nothing left to train.
_REPEATS_BEFORE_EXHAUSTED = 50
_ERRORS_IN_A_ROW = 5


@dataclass(frozen=True)
class Assignment:
    """A trial, and what to train for it."""

    trial: optuna.Trial
    schedule: Schedule
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


def next_assignment(study: optuna.Study, plan: Plan, process: int, run: str) -> Assignment | None:
    """Claim the next training, or None where there is none; the caller holds the claim lock.

    Raises
    ------
    RunFailed
        Where the last trials all ended in an error.
    """
    # A sampler that asks for what is known is told the mean, which only draws it there again: the
    # question after that is a random one, so that every training is of something new.
    samplers = chain([plan.study.search.sampler], repeat("random", _REPEATS_BEFORE_EXHAUSTED))
    for sampler in samplers:
        trials = study.get_trials(deepcopy=False)
        _stop_at_repeated_errors(trials)
        ledger = read_ledger(trials)
        if not ledger.retries and fraction_done(ledger, plan.study.search, True) >= 1:
            return None
        wanted = _wanted(trials, ledger, plan)
        set_sampler(study, sampler, plan.study.seed, len(trials))
        if isinstance(wanted, Schedule):
            trial, schedule = study.ask(), wanted
        else:
            if wanted is not None:
                study.enqueue_trial(dict(wanted))
            trial = study.ask()
            schedule = plan.schedule(suggest(trial, plan.family, plan.depth))
        taken = ledger.taken.get(str(schedule), set())
        replicate = next(number for number in range(len(taken) + 1) if number not in taken)
        # What was begun is finished, even where fewer replicates are wanted by now.
        if ledger.retries or replicate < plan.study.search.replicates:
            outside = isinstance(wanted, Schedule)
            claim = Claim(str(schedule), replicate, plan.seed(replicate), process, run, outside)
            record_claim(trial, claim)
            return Assignment(trial, schedule, claim)
        _answer_from_results(study, trial, ledger, str(schedule))
    return None


def _wanted(
    trials: list[optuna.trial.FrozenTrial], ledger: Ledger, plan: Plan
) -> Mapping[str, float] | Schedule | None:
    """What shall be trained next, whatever the sampler thinks; None to leave it to the sampler.

    The parameters that Optuna shall choose, or a schedule that the family does not reach.
    """
    if ledger.retries:
        return _as_claimed(ledger.retries[0])
    for name, schedule in plan.baselines.items():
        if str(schedule) not in ledger.taken:
            return _within_family(name, schedule, plan) or schedule
    if fraction_done(ledger, plan.study.search, True) >= 1 - REPLICATION_SHARE:
        leader = _leader_to_replicate(ledger, plan)
        for trial in trials:
            if (claim := claim_of(trial)) and claim.schedule == leader:
                return _as_claimed(trial)
    return None


def _as_claimed(trial: optuna.trial.FrozenTrial) -> Mapping[str, float] | Schedule:
    claim = claim_of(trial)
    assert claim is not None
    return Schedule.parse(claim.schedule) if claim.outside else trial.params


def _within_family(name: str, schedule: Schedule, plan: Plan) -> Mapping[str, float] | None:
    """What Optuna has to choose for a baseline; None where the family does not reach it."""
    if name not in PATTERNS_AND_UNIFORM:
        return None
    location = plan.family.locate(name, plan.depth, plan.study.search.contrast)
    if plan.schedule(location.parameters) != schedule:
        return None
    return encode(location.parameters, plan.family, plan.depth)


def _leader_to_replicate(ledger: Ledger, plan: Plan) -> str | None:
    """Who is trained once more: the finalists, the best named pattern, then the others by rank."""
    ranked = sorted((loss, schedule) for schedule, loss in ledger.mean_losses().items())
    patterns = {str(plan.baselines[name]) for name in PATTERNS_AND_UNIFORM}
    in_order = [schedule for _, schedule in ranked]
    best_pattern = [schedule for schedule in in_order if schedule in patterns][:1]
    for schedule in in_order[:_FINALISTS] + best_pattern + in_order[_FINALISTS:]:
        if len(ledger.taken[schedule]) < plan.study.search.replicates:
            return schedule
    return None


def _answer_from_results(
    study: optuna.Study, trial: optuna.Trial, ledger: Ledger, schedule: str
) -> None:
    """Give the sampler the mean of a schedule that has had all its replicates."""
    trial.set_user_attr("repeat", {"schedule": schedule})
    mean = ledger.mean_losses().get(schedule)
    if mean is None:
        # Its replicates are still running, or have all failed.
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, mean)


def _stop_at_repeated_errors(trials: list[optuna.trial.FrozenTrial]) -> None:
    finished = [trial for trial in trials if trial.state.is_finished()]
    last = finished[-_ERRORS_IN_A_ROW:]
    if len(last) == _ERRORS_IN_A_ROW and all(state_of(trial) == "error" for trial in last):
        message = last[-1].user_attrs["failure"]["message"]
        raise RunFailed(
            f"the last {_ERRORS_IN_A_ROW} trials all ended in an error; the last one: {message}"
        )
