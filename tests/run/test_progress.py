"""What is told of a study while it runs, against its table of training runs."""

from pathlib import Path

import pytest

from dynamoe_search.log.events import Log
from dynamoe_search.log.storage import open_log
from dynamoe_search.run.progress import Overview, Snapshot
from dynamoe_search.search.policy import ConfirmationPolicy, SearchPolicy
from dynamoe_search.study import Study
from tests.report import made_up
from tests.search.driver import MemoryLog, Process, plan_of, run_alone


def overview_of(log: Log | MemoryLog, policy: SearchPolicy | ConfirmationPolicy) -> Overview:
    return Overview(log, policy, lambda snapshot: None)  # type: ignore[arg-type]


def snapshot_of(overview: Overview, under_way: float = 0.0) -> Snapshot:
    seen: list[Snapshot] = []
    overview.on_progress = seen.append
    overview.report(under_way, workers=2, finishing=True)
    (snapshot,) = seen
    return snapshot


def test_the_best_are_those_of_the_smallest_mean_loss(small_study: Path) -> None:
    made_up.search(small_study)
    study = Study(small_study)
    runs = study.training_runs()
    means = runs.groupby("schedule")["validation_loss"].mean()
    patterns = runs[runs["pattern"] != ""].groupby("pattern")["validation_loss"].mean()
    with open_log(study.storage, create=False) as log:
        overview = overview_of(log, SearchPolicy(study.plan))
        overview.read()
        snapshot = snapshot_of(overview, under_way=0.5)
    assert (snapshot.workers, snapshot.finishing, snapshot.fraction) == (2, True, 1.0)
    assert (snapshot.finished, snapshot.running) == (14, 0)
    for found, expected in ((snapshot.best, means), (snapshot.best_pattern, patterns)):
        assert found is not None
        assert found[0] == expected.idxmin()
        assert found[1] == pytest.approx(expected.min())
    assert snapshot.best is not None
    assert snapshot.best[2] == (runs["schedule"] == snapshot.best[0]).sum()
    assert snapshot.best[2] == 2  # the last quarter has trained the leader again


def test_the_best_of_a_confirmation_are_its_own(small_study: Path) -> None:
    made_up.search(small_study)
    made_up.confirm(small_study, seeds=3)
    study = Study(small_study)
    table, confirmation = study.confirmation()
    means = study.training_runs("confirmation").groupby("candidate")["validation_loss"].mean()
    with open_log(study.storage, create=False) as log:
        overview = overview_of(log, ConfirmationPolicy(study.plan, confirmation))
        overview.read()
        snapshot = snapshot_of(overview)
    assert snapshot.finished == 3 * len(confirmation.contenders) == 3 * (len(table) + 1)
    assert snapshot.fraction == 1.0
    assert overview.is_over()
    assert snapshot.best == (means.idxmin(), pytest.approx(means.min()), 3)


def test_a_confirmation_is_over_when_all_is_decided(small_study: Path) -> None:
    made_up.search(small_study)
    made_up.confirm(small_study, seeds=None, most_seeds=16)
    study = Study(small_study)
    table, confirmation = study.confirmation()
    with open_log(study.storage, create=False) as log:
        overview = overview_of(log, ConfirmationPolicy(study.plan, confirmation))
        overview.read()
        snapshot = snapshot_of(overview)
    assert overview.is_over()
    assert snapshot.fraction == 1.0
    assert snapshot.finished == table["looked_at"].sum() + table["looked_at"].max()
    assert snapshot.finished < 16 * len(confirmation.contenders)


def test_what_is_new_counts_once_it_is_read(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study, ("runs = 14", "runs = 4")))
    overview = overview_of(process.log, SearchPolicy(process.plan))
    nothing = snapshot_of(overview)
    assert (nothing.best, nothing.best_pattern, nothing.fraction) == (None, None, 0.0)
    run_alone(process, most=1)
    assert snapshot_of(overview) == nothing
    overview.read()
    (first,) = process.progress.runs
    loss = first.results[0].value("validation_loss")
    snapshot = snapshot_of(overview)
    assert (snapshot.finished, snapshot.fraction) == (1, 0.25)
    assert snapshot.best == (first.start.candidate, pytest.approx(loss), 1)
    run_alone(process)
    overview.read()
    assert snapshot_of(overview).finished == 4
    assert overview.is_over()


def test_current_runs_count_in_part(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study, ("runs = 14", "runs = 4")))
    overview = overview_of(process.log, SearchPolicy(process.plan))
    run_alone(process, most=1)
    process.start()
    overview.read()
    snapshot = snapshot_of(overview, under_way=0.5)
    assert (snapshot.finished, snapshot.running, snapshot.fraction) == (1, 1, 0.375)


def test_runs_of_dead_workers_are_released(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study, ("runs = 14", "runs = 4")))
    overview = overview_of(process.log, SearchPolicy(process.plan))
    run_alone(process, most=3)
    last = process.start()
    assert last is not None
    overview.release("another".__eq__)
    assert [run.start for run in overview.progress.running.values()] == [last]
    overview.release(last.worker.__eq__)
    assert not overview.progress.running
    assert [run.start for run in overview.progress.retries.values()] == [last]
    assert overview.ended_by_themselves() == 3
    assert not overview.is_over()


def test_a_run_that_was_given_up_has_not_ended_by_itself(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study, ("runs = 14", "runs = 1")))
    for _ in range(2):
        start = process.start()
        assert start is not None
        process.lose(start)
    overview = overview_of(process.log, SearchPolicy(process.plan))
    assert overview.ended_by_themselves() == 0
    assert overview.is_over()
