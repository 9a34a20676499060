"""The decisions of a search, with made-up losses in place of trainings."""

from collections import Counter
from pathlib import Path

import optuna
import pytest
from dynamoe_search.log.records import (
    Ledger,
    read_ledger,
    record_failure,
    record_result,
    settle,
    state_of,
)
from dynamoe_search.search.assignment import Assignment, next_assignment

from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import RunFailed
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import SearchSection
from dynamoe_search.search.policy import fraction_done
from tests.conftest import edit

FLOPS = 1e6
LOSS = SearchSection(trials=1)
DIGITS = embedded_digits(seed=0)


@pytest.fixture
def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="minimize")


def plan_of(path: Path, *changes: tuple[str, str]) -> Plan:
    edit(path, *changes)
    return make_plan(read_study_file(path), DIGITS)


def made_up_loss(assignment: Assignment) -> float:
    """A landscape with some noise: layers near the input should hold the experts."""
    counts = assignment.candidate.schedule.counts
    center = sum(layer * count for layer, count in enumerate(counts)) / sum(counts)
    return center + 0.01 * (assignment.claim.seed % 7)


def finish(study: optuna.Study, assignment: Assignment, search: SearchSection = LOSS) -> None:
    loss = made_up_loss(assignment)
    result = {"validation_loss": loss, "training_flops": FLOPS}
    record_result(study, assignment.trial, assignment.claim, result, search)


def mean_losses(ledger: Ledger) -> dict[str, float]:
    means = ledger.means(["validation_loss"])
    return {candidate: mean["validation_loss"] for candidate, mean in means.items()}


def run_alone(study: optuna.Study, plan: Plan, most: int = 1000) -> list[Assignment]:
    done: list[Assignment] = []
    while len(done) < most:
        assignment = next_assignment(study, plan, worker="1", run="a")
        if assignment is None:
            break
        finish(study, assignment)
        done.append(assignment)
    return done


def names(assignments: list[Assignment]) -> list[tuple[str, int]]:
    return [(str(a.candidate), a.claim.replicate) for a in assignments]


def test_patterns_and_uniform_come_first_once_each(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    done = run_alone(study, plan)
    distinct = list(dict.fromkeys(str(s) for s in plan.baselines.values()))
    assert [str(a.candidate) for a in done[: len(distinct)]] == distinct
    assert all(a.claim.replicate == 0 for a in done[: len(distinct)])
    assert len(done) == 14


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "gp"])
@pytest.mark.parametrize("family", ["blend", "mixture", "spline", "free"])
def test_every_sampler_and_family(study, small_study: Path, sampler: str, family: str) -> None:
    plan = plan_of(small_study, ('"random"', f'"{sampler}"'), ('"blend"', f'"{family}"'))
    done = run_alone(study, plan)
    assert len(done) == 14
    # The patterns come first even where the family does not reach them.
    assert {a.candidate for a in done} >= set(plan.baselines.values())
    assert {a.candidate.schedule.total for a in done} == {12}
    assert max(Counter(names(done)).values()) == 1
    assert max(a.claim.replicate for a in done) <= 1


def test_replicates_are_numbered_limited_and_then_answered_by_the_mean(
    study, small_study: Path
) -> None:
    # Six schedules exist; two replicates of each are all there is to train.
    plan = plan_of(
        small_study,
        ("depth = 4", "depth = 2"),
        ("experts = 12", "experts = 7"),
        ("trials = 14", "trials = 100"),
    )
    done = run_alone(study, plan)
    assert sorted(names(done)) == sorted(
        (f"{first}-{7 - first}", replicate) for first in range(1, 7) for replicate in (0, 1)
    )
    seeds = {
        a.claim.replicate: {b.claim.seed for b in done if b.claim.replicate == a.claim.replicate}
        for a in done
    }
    assert all(len(of_replicate) == 1 for of_replicate in seeds.values())
    assert seeds[0] != seeds[1]
    means = mean_losses(read_ledger(study.get_trials()))
    repeats = [t for t in study.trials if state_of(t) == "repeat"]
    assert repeats
    for trial in repeats:
        if trial.value is not None and trial.number > max(a.trial.number for a in done):
            assert trial.value == pytest.approx(means[trial.user_attrs["repeat"]["candidate"]])


def test_the_last_quarter_trains_the_leaders_again(study, small_study: Path) -> None:
    plan = plan_of(small_study, ("trials = 14", "trials = 40"))
    done = run_alone(study, plan)
    assert len(done) == 40
    ledger = read_ledger(study.get_trials())
    means = mean_losses(ledger)
    for schedule in sorted(means, key=means.__getitem__)[:3]:
        assert len(ledger.results[schedule]) == 2
    best_pattern = min((str(s) for s in plan.baselines.values()), key=means.__getitem__)
    assert len(ledger.results[best_pattern]) == 2


def test_several_workers_never_share_a_replicate(study, small_study: Path) -> None:
    plan = plan_of(small_study, ("trials = 14", "trials = 30"))
    running: list[Assignment] = []
    claimed: list[Assignment] = []
    while True:
        while len(running) < 4:
            assignment = next_assignment(study, plan, worker=str(len(running)), run="a")
            if assignment is None:
                break
            running.append(assignment)
            claimed.append(assignment)
        if not running:
            break
        finish(study, running.pop(0))
    assert len(claimed) == 30
    assert max(Counter(names(claimed)).values()) == 1


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes"])
def test_an_interrupted_study_goes_on_as_it_would_have(
    tmp_path: Path, small_study: Path, sampler: str
) -> None:
    plan = plan_of(small_study, ('"random"', f'"{sampler}"'))

    def run(database: str, pieces: list[int]) -> list[tuple[str, int]]:
        url = f"sqlite:///{tmp_path / database}"
        done: list[Assignment] = []
        for piece in pieces:
            study = optuna.create_study(storage=url, study_name="s", load_if_exists=True)
            done += run_alone(study, plan, most=piece)
        return names(done)

    assert run("once.db", [100]) == run("pieces.db", [3, 1, 6, 100])


def test_a_dead_workers_training_is_tried_once_more_with_the_same_seed(
    study, small_study: Path
) -> None:
    plan = plan_of(small_study)
    first = next_assignment(study, plan, worker="11", run="a")
    assert first is not None
    settle(study, LOSS, "12".__eq__)
    assert state_of(study.trials[0]) == "running"
    settle(study, LOSS, "11".__eq__)
    assert state_of(study.trials[0]) == "died"
    second = next_assignment(study, plan, worker="12", run="a")
    assert second is not None
    assert (second.candidate, second.claim.seed) == (first.candidate, first.claim.seed)
    settle(study, LOSS, lambda worker: True)
    # It killed two workers: it is not tried again, and counts as done.
    third = next_assignment(study, plan, worker="13", run="a")
    assert third is not None
    assert third.candidate != first.candidate
    assert read_ledger(study.trials).trained == 1


def test_a_training_is_not_blamed_for_the_death_of_its_run(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    for run in ("a", "b", "c"):
        assignment = next_assignment(study, plan, worker="11", run=run)
        assert assignment is not None
        assert assignment.candidate == plan.baselines["descending"]
        settle(study, LOSS, lambda worker: True)
    assert len(run_alone(study, plan)) == 14


def test_a_result_that_was_written_but_not_told_is_kept(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    assignment = next_assignment(study, plan, worker="11", run="a")
    assert assignment is not None
    assignment.trial.set_user_attr("result", {"validation_loss": 0.5, "training_flops": 1.0})
    settle(study, LOSS, lambda worker: True)
    assert study.trials[0].value == 0.5
    assert read_ledger(study.trials).trained == 1


def test_an_unclaimed_trial_of_a_dead_worker_is_ended(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    study.ask()
    settle(study, LOSS, lambda worker: True)
    assert len(run_alone(study, plan)) == 14


def test_interrupted_trainings_are_tried_until_they_are_done(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    for _ in range(4):
        assignment = next_assignment(study, plan, worker="1", run="a")
        assert assignment is not None
        assert assignment.candidate == plan.baselines["descending"]
        record_failure(study, assignment.trial, "interrupted", "stopped")
    done = run_alone(study, plan)
    assert len(done) == 14
    assert done[0].candidate == plan.baselines["descending"]


def test_diverged_trainings_count_and_are_not_repeated(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    assignment = next_assignment(study, plan, worker="1", run="a")
    assert assignment is not None
    record_failure(study, assignment.trial, "diverged", "loss is nan")
    done = run_alone(study, plan)
    assert len(done) == 13
    assert (str(assignment.candidate), 0) not in names(done)


def test_errors_one_after_another_end_the_search(study, small_study: Path) -> None:
    plan = plan_of(small_study)
    for _ in range(5):
        assignment = next_assignment(study, plan, worker="1", run="a")
        assert assignment is not None
        record_failure(study, assignment.trial, "error", "ValueError: broken")
    with pytest.raises(RunFailed, match=r"all ended in an error.*ValueError: broken"):
        next_assignment(study, plan, worker="1", run="a")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("training_flops = 1e7", 10), ("training_flops = 1e9\ntrials = 9", 9)],
)
def test_stops_at_the_first_limit(study, small_study: Path, limit: str, expected: int) -> None:
    plan = plan_of(small_study, ("trials = 14", limit))
    assert len(run_alone(study, plan)) == expected


def test_time_is_the_union_of_the_trials_intervals(study, small_study: Path) -> None:
    plan = plan_of(small_study, ("trials = 14", "minutes = 1"))
    assert len(run_alone(study, plan, most=8)) == 8
    ledger = read_ledger(study.trials)
    summed = sum(t.duration.total_seconds() for t in study.trials if t.duration)
    assert 0 < ledger.seconds <= summed + 1e-5
    assert fraction_done(ledger, plan.study.search) == ledger.seconds / 60


PRESETS = ("replicates = 2", 'replicates = 2\npresets = ["mola", "variable_width"]')


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp"])
def test_presets_are_trained_and_do_not_disturb_the_sampler(
    study, small_study: Path, sampler: str
) -> None:
    plan = plan_of(small_study, PRESETS, ('"random"', f'"{sampler}"'), ("= 14", "= 24"))
    done = run_alone(study, plan)
    assert len(done) == 24
    assert {a.candidate for a in done} >= set(plan.baselines.values())
    claims = {t.number: t.user_attrs.get("claim") for t in study.get_trials()}
    outside = [t for t in study.get_trials() if (claims[t.number] or {}).get("outside")]
    assert outside
    for trial in outside:
        assert trial.params == {}
        # What a sampler passes over, and still a result for us.
        assert trial.state == optuna.trial.TrialState.FAIL
        assert state_of(trial) == "complete"
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert all(len(trial.params) == 6 for trial in complete)
    ledger = read_ledger(study.get_trials())
    assert ledger.trained == 24
    assert set(ledger.results) == {str(a.candidate) for a in done}


def test_a_preset_whose_worker_died_is_tried_again(study, small_study: Path) -> None:
    plan = plan_of(small_study, PRESETS)
    run_alone(study, plan, most=6)
    preset = next_assignment(study, plan, worker="11", run="a")
    assert preset is not None
    while not preset.claim.outside:
        finish(study, preset)
        preset = next_assignment(study, plan, worker="11", run="a")
        assert preset is not None
    settle(study, LOSS, "11".__eq__)
    again = next_assignment(study, plan, worker="12", run="a")
    assert again is not None
    assert again.claim.outside
    assert (again.candidate, again.claim.seed) == (preset.candidate, preset.claim.seed)
    again.trial.set_user_attr("result", {"validation_loss": 0.1, "training_flops": 1.0})
    settle(study, LOSS, "12".__eq__)
    assert state_of(study.trials[-1]) == "complete"
    # Its loss leads, so it is replicated too, without parameters.
    rest = run_alone(study, plan)
    assert [a.claim.replicate for a in rest if a.candidate == preset.candidate] == [1]
    assert read_ledger(study.get_trials()).trained == 14


def test_what_was_begun_is_finished_though_fewer_replicates_are_wanted(
    study, small_study: Path
) -> None:
    plan = plan_of(small_study, ("trials = 14", "trials = 40"))
    run_alone(study, plan, most=9)
    while True:
        assignment = next_assignment(study, plan, worker="1", run="a")
        assert assignment is not None
        if assignment.claim.replicate == 1:
            break
        finish(study, assignment)
    record_failure(study, assignment.trial, "interrupted", "stopped")
    again = next_assignment(
        study, plan_of(small_study, ("replicates = 2", "replicates = 1")), worker="1", run="a"
    )
    assert again is not None
    assert (again.candidate, again.claim.replicate) == (assignment.candidate, 1)
