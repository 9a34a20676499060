import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.alive import folder, is_alive
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.heartbeat import FailureDetector, heartbeat, new_worker
from dynamoe_search.log.storage import Storage, open_log
from tests.processes import wait_for


def live(storage: Storage, worker: str, ready: Any) -> None:
    with open_log(storage, create=True) as log, heartbeat(log, worker, FailureDetector(grace=0.6)):
        ready.set()
        time.sleep(60)


@pytest.fixture
def other(storage: Storage, log: Log) -> Iterator[tuple[Any, str, Log]]:
    """A worker in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ready, worker = context.Event(), new_worker()
    process = context.Process(target=live, args=(storage, worker, ready))
    process.start()
    assert ready.wait(60)
    yield process, worker, log
    process.kill()
    process.join()


def test_names_are_never_the_same() -> None:
    assert len({new_worker() for _ in range(1000)}) == 1000


@pytest.mark.slow
def test_on_this_machine_death_is_known_at_once(other: tuple[Any, str, Log]) -> None:
    process, worker, _ = other
    detector = FailureDetector(grace=1e9)
    assert not detector.is_dead(worker)
    os.kill(process.pid, signal.SIGSTOP)
    assert not detector.is_dead(worker)
    process.kill()
    process.join()
    assert detector.is_dead(worker)


@pytest.mark.slow
def test_elsewhere_a_heartbeat_that_stands_still_counts_as_dead(
    other: tuple[Any, str, Log], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    process, worker, log = other
    # As from another machine: its file cannot be seen.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    detector = FailureDetector(grace=1.0)

    def dies_within(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            detector.look(log.heartbeats())
            if detector.is_dead(worker):
                return True
            time.sleep(0.05)
        return False

    assert not dies_within(2.5)
    process.kill()
    process.join()
    assert dies_within(5.0)


@pytest.mark.slow
def test_on_this_machine_one_that_is_stopped_counts_as_dead_after_the_grace(
    other: tuple[Any, str, Log],
) -> None:
    process, worker, log = other
    detector = FailureDetector(grace=1.0)

    def look() -> bool:
        detector.look(log.heartbeats())
        return detector.is_dead(worker)

    wait_for(lambda: worker in log.heartbeats())
    assert not look()
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(look)
    assert is_alive(worker)
    assert detector.stands_still(worker)
    os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: not look())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    now = time.monotonic()

    def pass_by(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return pass_by


def test_a_worker_that_was_never_seen_is_given_the_grace(clock: Callable[[float], None]) -> None:
    detector = FailureDetector(grace=60)
    assert not detector.is_dead("elsewhere-1-00")
    for seconds in range(0, 60, 10):
        assert not detector.is_dead("elsewhere-1-00"), seconds
        clock(10)
        detector.look({})
    clock(1)
    detector.look({})
    assert detector.is_dead("elsewhere-1-00")


def test_a_watcher_that_was_frozen_itself_gives_nobody_up(clock: Callable[[float], None]) -> None:
    detector = FailureDetector(grace=60)
    detector.look({"elsewhere-1-00": 41})
    clock(1000)
    # Before it has looked again, after it has, and where the other was frozen just as long.
    assert not detector.is_dead("elsewhere-1-00")
    detector.look({"elsewhere-1-00": 41})
    assert not detector.is_dead("elsewhere-1-00")
    for _ in range(7):
        clock(10)
        detector.look({"elsewhere-1-00": 41})
    assert detector.is_dead("elsewhere-1-00")


def test_a_heartbeat_that_goes_on_is_not_dead(clock: Callable[[float], None]) -> None:
    detector = FailureDetector(grace=60)
    for count in range(20):
        detector.look({"elsewhere-1-00": count})
        assert not detector.is_dead("elsewhere-1-00")
        clock(25)


def test_clocks_need_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = FailureDetector(grace=10)
    detector.look({"elsewhere-1-00": 41})
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert not detector.is_dead("elsewhere-1-00")


def test_a_worker_that_ends_well_leaves_nothing(log: Log) -> None:
    worker, detector = new_worker(), FailureDetector(grace=0.06)
    with heartbeat(log, worker, detector):
        assert is_alive(worker)
        assert not FailureDetector(grace=0).is_dead(worker)
        deadline = time.monotonic() + 60
        while log.heartbeats().get(worker, 0) < 3:
            assert time.monotonic() < deadline
            log.append(Event("started", {}))
    assert not (folder() / worker).exists()
    assert log.heartbeats() == {}


def test_a_worker_that_ends_badly_is_known_to_be_dead(log: Log) -> None:
    worker = new_worker()
    with pytest.raises(RunFailed), heartbeat(log, worker, FailureDetector()):
        raise RunFailed("the server is gone")
    assert FailureDetector(grace=1e9).is_dead(worker)


def test_a_heartbeat_survives_a_storage_that_fails() -> None:
    calls = []

    class Broken:
        def beat(self, worker: str, count: int) -> None:
            calls.append(count)
            raise OSError("disk full")

        def heartbeats(self) -> dict[str, int]:
            raise AssertionError

        def forget(self, worker: str) -> None:
            raise OSError("disk full")

    with heartbeat(Broken(), new_worker(), FailureDetector(grace=0.06)):
        deadline = time.monotonic() + 60
        while len(calls) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert calls[:3] == [0, 1, 2]
