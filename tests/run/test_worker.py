"""How a worker starts runs, in one process: beside others, and after its decisions came to nothing.

Nothing is trained here; see `test_workers` for whole workers in processes of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.runs import RunResult, Start, finished, lost, started
from dynamoe_search.log.state import State
from dynamoe_search.log.storage import Storage, open_log, storage_of
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run.worker import Job, Worker, check_data
from dynamoe_search.search.policy import SearchPolicy
from tests.conftest import edit
from tests.search.driver import DIGITS, described, made_up

FEW_SCHEDULES = (
    ("depth = 4", "depth = 2"),
    ("experts = 12", "experts = 7"),
    ("runs = 14", "runs = 100"),
)


@pytest.fixture
def storage(small_study: Path) -> Storage:
    return storage_of(small_study.parent)


@contextmanager
def workers(path: Path, storage: Storage, *changes: tuple[str, str]) -> Iterator[list[Worker]]:
    """Two workers of a study, who count as alive."""
    edit(path, *changes)
    with open_log(storage, create=True) as log:
        begin_study(log, State(), read_study_file(path), DIGITS.fingerprint, storage)
    job = Job("session", storage, "search", path.parent, None, "cpu")
    made = [Worker(job, name) for name in ("one", "other")]
    for worker in made:
        worker.detector.is_dead = lambda name: False  # type: ignore[method-assign]
    yield made
    for worker in made:
        worker.log.close()


def finish(worker: Worker, start: Start) -> None:
    worker.log.append(finished(start, "complete", made_up(start, worker.plan)))


def before_its_next_append(worker: Worker, act: Callable[[], object]) -> None:
    """Let something happen after the worker's decision, and before it is in the log."""
    log, append = worker.log, worker.log.append

    def acting(*events: Event) -> None:
        log.append = append  # type: ignore[method-assign]
        act()
        append(*events)

    log.append = acting  # type: ignore[method-assign]


def assert_joined_late(worker: Worker) -> None:
    """It starts what one would that joins now, and has the same in memory."""
    late = Worker(worker.job, worker.name)
    late.release_the_dead()
    expected = late.policy.ask(late.state, worker.name, worker.job.session)
    assert worker.start_next() == expected
    late.catch_up()
    assert isinstance(late.policy, SearchPolicy)
    assert isinstance(worker.policy, SearchPolicy)
    assert described(worker.policy.proposer.study) == described(late.policy.proposer.study)
    late.log.close()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "cmaes", "nsga2"])
def test_two_that_decide_at_once_start_two_runs(
    small_study: Path, storage: Storage, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The section in which one decides alone is not waited for.
    monkeypatch.setattr("dynamoe_search.run.worker.SECONDS_TO_DECIDE", 0.0)
    changes = ('"random"', f'"{sampler}"'), ("runs = 14", "runs = 30")
    with workers(small_study, storage, *changes) as (one, other):
        found: list[Start] = []
        for _ in range(10):
            # The other decides on the same log, and is in it first.
            before_its_next_append(one, lambda: found.append(start_of(other)))
            found.append(start_of(one))
            for start in found[-2:]:
                finish(other, start)
        assert [start.number for start in found] == list(range(20))
        assert len({start.key for start in found}) == 20
        assert_joined_late(one)


def start_of(worker: Worker) -> Start:
    start = worker.start_next()
    assert start is not None
    return start


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2", "qmc"])
def test_a_result_may_come_between_a_decision_and_its_start(
    small_study: Path, storage: Storage, sampler: str
) -> None:
    changes = ('"random"', f'"{sampler}"'), ("runs = 14", "runs = 24")
    with workers(small_study, storage, *changes) as (one, other):
        under_way = start_of(other)
        for _ in range(15):
            before_its_next_append(one, partial(finish, other, under_way))
            under_way = start_of(one)
            one, other = other, one
        assert_joined_late(one)


def test_after_nothing_was_found_what_was_lost_is_tried_again(
    small_study: Path, storage: Storage
) -> None:
    changes = *FEW_SCHEDULES, ('"random"', '"cmaes"')
    with workers(small_study, storage, *changes) as (one, other):
        last = start_of(other)
        while (start := one.start_next()) is not None:
            finish(one, start)
        # It has asked its sampler again and again, in vain; nobody else knows of it.
        assert one.state.search.finished == 11
        one.log.append(lost(last, "died"))
        again = start_of(one)
        assert (again.key, again.attempt) == (last.key, 1)
        assert isinstance(one.policy, SearchPolicy)
        late = Worker(one.job, one.name)
        assert isinstance(late.policy, SearchPolicy)
        assert described(one.policy.proposer.study) == described(late.policy.proposer.study)
        late.log.close()
        finish(one, again)
        assert one.start_next() is None
        assert one.state.search.finished == 12


def test_a_run_that_another_has_just_finished_is_not_trained(
    small_study: Path, storage: Storage
) -> None:
    with workers(small_study, storage) as (one, other):
        first = start_of(other)
        one.log.append(lost(first, "died"))
        # Its worker was not dead, and ends the run while this one starts it again.
        before_its_next_append(one, lambda: finish(other, first))
        start = start_of(one)
        assert start.key != first.key
        states = [run.state for run in one.state.search.runs]
        assert states == ["complete", "superseded", "running"]


def test_a_start_that_could_not_be_written_is_decided_again(
    small_study: Path, storage: Storage
) -> None:
    def fail() -> None:
        raise OSError("no space left on device")

    with workers(small_study, storage, ('"random"', '"cmaes"')) as (one, other):
        for _ in range(9):
            finish(one, start_of(one))
        before_its_next_append(one, fail)
        with pytest.raises(OSError, match="no space left"):
            one.start_next()
        assert_joined_late(other)
        assert_joined_late(one)


def test_a_damaged_event_is_named(small_study: Path, storage: Storage) -> None:
    with workers(small_study, storage) as (one, _):
        one.log.append(Event("reported", {"candidate": "3-3-3-3"}))
        assert one.start_next() is not None  # nothing is lost by it
        one.log.append(Event("finished", {"candidate": "3-3-3-3"}))
        with pytest.raises(InvalidInput, match=r": (event|line) 4 \(finished\) cannot be read"):
            one.start_next()


def test_other_data_are_refused(small_study: Path, storage: Storage) -> None:
    with workers(small_study, storage) as (one, _):
        check_data(one.state, DIGITS, storage)
        one.state.data = "another fingerprint"
        message = r"digits here is not the data .* \(fingerprint .*, was another .* --data-dir"
        with pytest.raises(InvalidInput, match=message):
            check_data(one.state, DIGITS, storage)


def test_a_policy_that_follows_a_log_is_that_of_its_stage(
    small_study: Path, storage: Storage
) -> None:
    with workers(small_study, storage) as (one, _):
        assert isinstance(one.policy, SearchPolicy)
        log: Log = one.log
        start = Start("confirmation", "3-3-3-3", 0, 0, (7,), "w", "s")
        log.append(started(start), finished(start, "complete", [RunResult()]))
        one.catch_up()
        assert one.state.search.runs == []
        assert one.policy.proposer.study.trials == []
