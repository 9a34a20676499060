import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log import heartbeat as liveness
from dynamoe_search.log.heartbeat import Watch, living, new_worker


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def live(url: str, worker: str, ready) -> None:
    study = optuna.load_study(study_name="s", storage=url)
    with living(study, worker, Watch(grace=0.6)):
        ready.set()
        time.sleep(60)


@pytest.fixture
def other(tmp_path: Path):
    """A worker in a process of its own."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="s", storage=url)
    context = multiprocessing.get_context("spawn")
    ready, worker = context.Event(), new_worker()
    process = context.Process(target=live, args=(url, worker, ready))
    process.start()
    assert ready.wait(60)
    yield process, worker, study
    process.kill()


def test_names_are_never_the_same() -> None:
    assert len({new_worker() for _ in range(1000)}) == 1000


def test_on_this_machine_death_is_known_at_once(other) -> None:
    process, worker, _ = other
    watch = Watch(grace=1e9)
    assert not watch.is_dead(worker)
    process.kill()
    process.join()
    assert watch.is_dead(worker)


def test_elsewhere_a_heart_that_stands_still_counts_as_dead(
    other, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    process, worker, study = other
    # As from another machine: its lock is not to be seen.
    monkeypatch.setattr(liveness, "_life_lock", lambda name: tmp_path / "elsewhere" / name)
    watch = Watch(grace=1.0)

    def watch_for(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            watch.look(study.user_attrs)
            if watch.is_dead(worker):
                return True
            time.sleep(0.05)
        return False

    assert not watch_for(2.5)
    process.kill()
    process.join()
    assert watch_for(5.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    now = time.monotonic()

    def pass_by(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return pass_by


def test_who_never_gave_a_sign_of_life_is_given_the_grace(clock: Callable[[float], None]) -> None:
    watch = Watch(grace=60)
    assert not watch.is_dead("elsewhere-1-00")
    for seconds in range(0, 60, 10):
        assert not watch.is_dead("elsewhere-1-00"), seconds
        clock(10)
        watch.look({})
    clock(1)
    watch.look({})
    assert watch.is_dead("elsewhere-1-00")


def test_who_was_frozen_himself_gives_nobody_up(clock: Callable[[float], None]) -> None:
    watch = Watch(grace=60)
    watch.look({"beat elsewhere-1-00": 41})
    clock(1000)
    # Before it has looked again, after it has, and where the other was frozen just as long.
    assert not watch.is_dead("elsewhere-1-00")
    watch.look({"beat elsewhere-1-00": 41})
    assert not watch.is_dead("elsewhere-1-00")
    for _ in range(7):
        clock(10)
        watch.look({"beat elsewhere-1-00": 41})
    assert watch.is_dead("elsewhere-1-00")


def test_clocks_need_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(grace=10)
    watch.look({"beat elsewhere-1-00": 41, "other": "x"})
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert not watch.is_dead("elsewhere-1-00")


def test_whoever_ends_well_leaves_nothing(study: optuna.Study) -> None:
    worker, watch = new_worker(), Watch(grace=5)
    with living(study, worker, watch):
        path = liveness._life_lock(worker)
        assert path.exists()
        assert not Watch(grace=0).is_dead(worker)
    assert not path.exists()
    assert study.user_attrs == {f"beat {worker}": 0}


def test_whoever_ends_badly_is_known_to_be_dead(study: optuna.Study) -> None:
    worker = new_worker()
    with pytest.raises(RunFailed), living(study, worker, Watch()):
        raise RunFailed("the server is gone")
    assert Watch(grace=1e9).is_dead(worker)


def test_a_heart_survives_a_storage_that_fails(study: optuna.Study) -> None:
    class Broken:
        def set_user_attr(self, name: str, value: object) -> None:
            raise OSError("disk full")

    with living(Broken(), new_worker(), Watch(grace=0.06)):  # type: ignore[arg-type]
        time.sleep(0.1)
