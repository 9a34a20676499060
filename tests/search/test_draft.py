"""Decisions in memory are those that are taken on records like them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from dynamoe_search.log.records import (
    Claim,
    claim_of,
    record_claim,
    record_failure,
    record_pruned,
    record_result,
)
from dynamoe_search.run.run import directions_of
from dynamoe_search.search.agenda import SearchAgenda
from dynamoe_search.search.assignment import Assignment, next_assignment
from dynamoe_search.search.draft import decide_in_memory

from dynamoe_search.cli.console import open_study
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import RunFailed
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.storage import place_of
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import SAMPLERS
from dynamoe_search.schedules import Schedule
from dynamoe_search.search.samplers import KEEPS_STATE, make_pruner, make_sampler
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)
Next = Callable[[optuna.Study, Plan], Assignment | None]


def in_memory(study: optuna.Study, plan: Plan) -> Assignment | None:
    agenda = SearchAgenda(plan.study.search)
    return agenda.next(study, study.get_trials(deepcopy=False), plan, worker="1", run="a")


def on_a_copy(study: optuna.Study, plan: Plan) -> Assignment | None:
    """Decided on records of the same trials, of which only the assignment's is taken over."""
    copy = optuna.create_study(study_name="s", directions=study.directions, pruner=study.pruner)
    copy.add_trials(study.trials)
    assignment = next_assignment(copy, plan, worker="1", run="a")
    if assignment is None:
        return None
    study.add_trial(copy.trials[assignment.trial.number])
    trial = optuna.Trial(study, study.trials[-1]._trial_id)
    return replace(assignment, trial=trial)


def search(plan: Plan, next_of: Next) -> optuna.Study:
    """Two trainings at a time, each ended in one of all ways, with made-up results."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    limits, training = plan.study.search, plan.study.training
    pruner = make_pruner(limits.pruner, training.evaluations)
    study = optuna.create_study(study_name="s", directions=directions_of(plan.study), pruner=pruner)
    under_way: list[Assignment] = []
    while True:
        if (assignment := next_of(study, plan)) is not None:
            under_way.append(assignment)
        if not under_way:
            return study
        if len(under_way) == 2 or assignment is None:
            end(study, under_way.pop(0), plan)


def end(study: optuna.Study, assignment: Assignment, plan: Plan) -> None:
    trial, claim = assignment.trial, assignment.claim
    counts = assignment.candidate.schedule.counts
    loss = sum(layer * count for layer, count in enumerate(counts)) + claim.seed % 7 / 10
    curve = [{"fraction": (i + 1) / 4, "loss": loss + 1 / (i + 1)} for i in range(4)]
    for step, point in enumerate(curve if len(study.directions) == 1 else [], start=1):
        trial.report(point["loss"], step)
        if claim.prunable and trial.should_prune():
            return record_pruned(study, trial, {"training_flops": 1.0})
    if trial.number % 9 == 5:
        kind = "diverged" if trial.number % 2 else "interrupted"
        return record_failure(study, trial, kind, "made up")
    result = {"validation_loss": loss, "flops_per_token": counts[0], "active_experts": counts[1]}
    result |= {"training_flops": 1.0, "curve": curve}
    return record_result(study, trial, claim, result, plan.study.search)


def described(trial: optuna.trial.FrozenTrial) -> dict:
    # Only the moment differs.
    attributes = ("number", "state", "params", "distributions", "values", "intermediate_values")
    of = {name: getattr(trial, name) for name in (*attributes, "user_attrs", "system_attrs")}
    return of | {"ended": trial.datetime_complete is not None}


@pytest.mark.parametrize(
    "changes",
    [
        *([sampler] for sampler in SAMPLERS if sampler not in KEEPS_STATE),
        ["tpe", 'pruner = "hyperband"'],
        ["tpe", 'objectives = ["loss", "active_flops"]', 'constraints = ["active_experts <= 3"]'],
    ],
    ids=" ".join,
)
def test_no_decision_differs(small_study: Path, changes: list[str]) -> None:
    sampler, *more = changes
    edit(
        small_study,
        ('"random"', f'"{sampler}"'),
        ("trials = 14", "trials = 24" if sampler == "gp" else "trials = 60"),
        ("replicates = 2", "\n".join(["replicates = 2", *more])),
    )
    plan = make_plan(read_study_file(small_study), DIGITS)
    found, expected = search(plan, in_memory).trials, search(plan, on_a_copy).trials
    assert len(expected) > 20
    assert [described(trial) for trial in found] == [described(trial) for trial in expected]


def test_no_question_has_the_random_numbers_of_another(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Six schedules, two replicates of each: many questions are in vain, and none is recorded.
    edit(
        small_study,
        ("depth = 4", "depth = 2"),
        ("experts = 12", "experts = 7"),
        ("trials = 14", "trials = 100"),
    )
    drawn: list[float] = []

    def make(*of: Any) -> optuna.samplers.BaseSampler:
        drawn.append(optuna.create_study(sampler=make_sampler(*of)).ask().suggest_float("x", 0, 1))
        return make_sampler(*of)

    monkeypatch.setattr("dynamoe_search.search.assignment.make_sampler", make)
    study, plan = optuna.create_study(), make_plan(read_study_file(small_study), DIGITS)
    while (assignment := in_memory(study, plan)) is not None:
        end(study, assignment, plan)
    assert len(drawn) > 3 * len(study.trials)
    assert len(set(drawn)) == len(drawn)


def test_a_trial_is_written_at_once_and_as_it_was_decided(small_study: Path, url: str) -> None:
    study_file = read_study_file(small_study)
    plan = make_plan(study_file, DIGITS)
    place = place_of(small_study.parent, url)
    study = begin_study(place, directions_of(study_file))
    assignment = in_memory(study, plan)
    assert assignment is not None
    (trial,) = open_study(place).trials
    assert trial.state == optuna.trial.TrialState.RUNNING
    assert trial.user_attrs["claim"]["candidate"] == str(assignment.candidate)
    assert trial.number == assignment.trial.number == 0
    assert trial.params == assignment.trial.params
    # It goes on as any other.
    end(study, assignment, plan)
    assert open_study(place).trials[0].state == optuna.trial.TrialState.COMPLETE


def test_questions_whose_answer_is_known_leave_no_trace() -> None:
    study = optuna.create_study()
    claim = Claim("2-1", replicate=0, seed=0, worker="1", run="a")

    def nothing_is_left(draft: optuna.Study) -> None:
        draft.tell(draft.ask(), 1.0)

    def the_second_is_new(draft: optuna.Study) -> Assignment:
        nothing_is_left(draft)
        trial = draft.ask()
        record_claim(trial, claim)
        return Assignment(trial, Candidate(Schedule((2, 1))), claim)

    assert decide_in_memory(study, study.trials, nothing_is_left) is None
    assert study.trials == []
    assignment = decide_in_memory(study, study.trials, the_second_is_new)
    assert assignment is not None
    assert assignment.trial.number == 0
    assert [claim_of(trial) for trial in study.trials] == [claim]


def test_a_decision_that_fails_leaves_nothing() -> None:
    study = optuna.create_study()

    def fail(draft: optuna.Study) -> None:
        draft.ask()
        raise RunFailed("as made up")

    with pytest.raises(RunFailed):
        decide_in_memory(study, study.trials, fail)
    assert study.trials == []
