"""Workers that are really killed or stopped, on a log of each kind."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.events import Event, Refused
from dynamoe_search.log.runs import RunResult, Start, finished, started
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.run.session import Resources
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.fixtures import Server
from tests.processes import (
    SECONDS_TO_WAIT,
    another_process,
    context,
    die,
    is_frozen,
    replace,
    wait_for,
)
from tests.run.processes import (
    KEY,
    acting,
    assert_accounted_for,
    begin,
    call,
    carry_out,
    die_at_append,
    dies,
    hang_elsewhere,
    kill_in_training,
    parent_of,
    stop_before,
    stop_elsewhere,
    training,
    wait_for_runs,
    wait_for_training,
)

pytestmark = pytest.mark.slow

SLOWER = ("epochs = 2", "epochs = 30")
SHORT = ("epochs = 2", "epochs = 1\nevaluations = 2")
PROPOSE = "dynamoe_search.search.proposer.Proposer.propose"
STARTED = "dynamoe_search.run.worker.started"
FINISHED = "dynamoe_search.run.worker.finished"
TRAIN = "dynamoe_search.run.worker.train"
MAKE_RESULT = "dynamoe_search.run.worker.make_result"
PATIENCE = "dynamoe_search.run.worker.SECONDS_TO_DECIDE"
GRACE = 1.0


def runs_are(path: Path, number: int) -> None:
    edit(path, ("runs = 14", f"runs = {number}"))


def undisturbed(path: Path, folder: Path) -> pd.DataFrame:
    """The runs of the same study, where nothing happens to its worker."""
    folder.mkdir()
    copy = folder / path.name
    copy.write_text(path.read_text())
    study = begin(copy)
    carry_out(copy)
    return study.training_runs()


# Killed.


def test_a_worker_may_die_before_or_after_any_append(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    limits = 'blocks = 2\npruner = "median"\nconstraints = ["active_experts <= 2"]'
    edit(small_study, SHORT, ("seeds = 1", "seeds = 2"), ("blocks = 2", limits))
    runs_are(small_study, 10)
    of_seed = [*KEY, "seed"]
    study, moments, deaths = begin(small_study, url), tmp_path / "moments", 0
    kept: dict[tuple[str, int, int], float] = {}

    def dies_at(number: int) -> bool:
        before = number % 2 == 0
        prepare = partial(die_at_append, max(1, number // 2), before, moments)
        return dies(small_study, url, f"session {number}", prepare)

    # Each comes one append further than the two before it, until one comes to the end.
    while dies_at(deaths):
        deaths += 1
        runs = study.training_runs()
        found = (
            runs.dropna(subset="validation_loss").set_index(of_seed)["validation_loss"].to_dict()
        )
        # What a worker has recorded outlives it.
        assert kept.items() <= found.items()
        kept = found
    kinds = ("started", "reported", "finished", "lost")
    assert set(moments.read_text().splitlines()) == {
        f"{moment} {kind}" for moment in ("before", "after") for kind in kinds
    }
    runs = study.training_runs()
    trained = runs[runs["state"].isin(["complete", "pruned"])]
    assert len(trained) == 20
    assert not trained.duplicated(of_seed).any()
    assert (trained.groupby("run").size() == 2).all()
    assert set(runs["state"]) <= {"complete", "pruned", "died"}
    # What died was tried again, and what was recorded was not.
    last = runs.drop_duplicates(of_seed, keep="last")
    assert last["run"].tolist() == trained["run"].tolist()


def test_killed_between_a_result_and_its_return(small_study: Path, url: str) -> None:
    runs_are(small_study, 3)
    study = begin(small_study, url)
    # It is started, and finished.
    assert dies(small_study, url, prepare=partial(die_at_append, 2, False, Path(os.devnull)))
    (before,) = study.training_runs().to_dict("records")
    assert before["state"] == "complete"
    carry_out(small_study, url)
    runs = assert_accounted_for(study, 3)
    assert len(runs) == 3
    assert runs.loc[0, "validation_loss"] == before["validation_loss"]
    assert runs.loc[0, "worker"] == before["worker"]


def die_with_a_proposal() -> None:
    def start(start: Start) -> Event:
        return started(start) if start.seen is None else die()

    replace(STARTED, start)


@pytest.mark.parametrize("prepare", [partial(replace, PROPOSE, die), die_with_a_proposal])
def test_killed_while_it_decides(
    small_study: Path, url: str, tmp_path: Path, prepare: Callable[[], None]
) -> None:
    edit(small_study, SHORT, ('"random"', '"qmc"'))  # which has a state of its own
    runs_are(small_study, 12)
    study = begin(small_study, url)
    assert dies(small_study, url, prepare=prepare)
    before = study.training_runs()
    assert before["candidate"].nunique() == len(before) == len(PATTERNS_AND_UNIFORM)
    carry_out(small_study, url)
    runs, expected = assert_accounted_for(study, 12), undisturbed(small_study, tmp_path / "alone")
    columns = [*KEY, "validation_loss"]
    pd.testing.assert_frame_equal(runs[columns], expected[columns])


def test_a_run_that_kills_twice_in_a_session_is_given_up(small_study: Path, url: str) -> None:
    runs_are(small_study, 3)
    study = begin(small_study, url)
    for _ in range(2):
        assert dies(small_study, url, "one session", partial(replace, TRAIN, die))
    for session in ("one session", "another"):
        carry_out(small_study, url, session)
    # It counts as one of the runs that were asked for.
    runs = assert_accounted_for(study, 2)
    assert runs["state"].tolist() == ["died", "died", "complete", "complete"]
    assert runs["candidate"].tolist()[0] == runs["candidate"].tolist()[1]
    assert runs["candidate"].nunique() == 3


def test_a_run_may_be_lost_with_many_sessions(small_study: Path, url: str) -> None:
    runs_are(small_study, 2)
    study = begin(small_study, url)
    for number in range(4):
        assert dies(small_study, url, f"session {number}", partial(replace, TRAIN, die))
    carry_out(small_study, url, "the last")
    runs = assert_accounted_for(study, 2)
    assert runs["state"].tolist() == ["died"] * 4 + ["complete"] * 2
    assert runs["candidate"].nunique() == 2


def test_killed_elsewhere_and_tried_again_by_one_that_waits(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    runs_are(small_study, 1)
    study = begin(small_study, url)
    prepare = partial(hang_elsewhere, tmp_path / "elsewhere")
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for_runs(study, 1, "running")
        process.kill()
    carry_out(small_study, url, grace=GRACE)
    runs = assert_accounted_for(study, 1)
    assert runs["state"].tolist() == ["died", "complete"]
    assert runs[KEY].drop_duplicates().shape == (1, 2)


# Stopped, and continued later.


def go_on(process: Any) -> None:
    """Continue a process that is stopped, and wait for it to end well."""
    os.kill(process.pid, signal.SIGCONT)
    process.join(SECONDS_TO_WAIT)
    assert process.exitcode == 0


def test_a_late_result_is_refused_where_another_has_come_first(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    runs_are(small_study, 1)
    study = begin(small_study, url)
    prepare = partial(stop_elsewhere, tmp_path / "elsewhere", MAKE_RESULT)
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for(lambda: is_frozen(process.pid))
        carry_out(small_study, url, grace=GRACE)
        before = assert_accounted_for(study, 1)
        assert before["state"].tolist() == ["died", "complete"]
        go_on(process)
    pd.testing.assert_frame_equal(study.training_runs(), before)


def test_a_late_result_that_comes_first_counts_once(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    runs_are(small_study, 1)
    study = begin(small_study, url)
    prepare = partial(stop_elsewhere, tmp_path / "elsewhere", MAKE_RESULT)
    with another_process(carry_out, small_study, url, prepare=prepare) as first:
        wait_for(lambda: is_frozen(first.pid))
        prepare = partial(stop_before, MAKE_RESULT)
        with another_process(carry_out, small_study, url, prepare=prepare, grace=GRACE) as second:
            wait_for(lambda: is_frozen(second.pid))
            assert study.training_runs()["state"].tolist() == ["died", "running"]
            go_on(first)
            before = assert_accounted_for(study, 1)
            assert before["state"].tolist() == ["complete", "superseded"]
            go_on(second)
    pd.testing.assert_frame_equal(study.training_runs(), before)
    assert before["worker"].nunique() == 2


def test_a_late_result_that_comes_before_the_run_is_started_again(
    small_study: Path, url: str, tmp_path: Path
) -> None:
    runs_are(small_study, 2)
    study = begin(small_study, url)
    prepare = partial(stop_elsewhere, tmp_path / "elsewhere", FINISHED)
    with another_process(carry_out, small_study, url, prepare=prepare) as first:
        wait_for(lambda: is_frozen(first.pid))
        prepare = partial(stop_before, STARTED, is_another_attempt)
        with another_process(carry_out, small_study, url, prepare=prepare, grace=GRACE) as second:
            wait_for(lambda: is_frozen(second.pid))
            assert study.training_runs()["state"].tolist() == ["died", "complete"]
            go_on(first)
            go_on(second)
    runs = assert_accounted_for(study, 2)
    assert runs["state"].tolist() == ["complete", "complete", "superseded"]
    # What is superseded is no sign that its worker is gone: it is not tried again.
    carry_out(small_study, url)
    pd.testing.assert_frame_equal(study.training_runs(), runs)


def is_another_attempt(start: Start) -> bool:
    return start.attempt > 0


def test_one_that_is_stopped_while_it_decides_does_not_stop_others(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_are(small_study, 3)
    study = begin(small_study, url)
    monkeypatch.setattr(PATIENCE, 0.2)
    prepare = partial(stop_before, STARTED)
    with another_process(carry_out, small_study, url, prepare=prepare) as process:
        wait_for(lambda: is_frozen(process.pid))
        with open_log(study.storage, create=True) as log, log.exclusive("decide", 0.0) as free:
            assert not free
        carry_out(small_study, url)
        before = assert_accounted_for(study, 3)
        assert before["state"].tolist() == ["complete"] * 3
        assert before["worker"].nunique() == 1
        # Its start is refused: it decides again, and finds nothing left.
        go_on(process)
    pd.testing.assert_frame_equal(study.training_runs(), before)


# Two at once.


def decide_without_waiting() -> None:
    def exclusive(log: object, section: str, seconds: float) -> Any:
        assert section == "decide"
        return nullcontext(False)

    replace("dynamoe_search.log.sql.SqlLog.exclusive", exclusive)
    replace("dynamoe_search.log.jsonlines.JsonLinesLog.exclusive", exclusive)


def test_two_that_decide_at_once_train_nothing_twice(small_study: Path, url: str) -> None:
    edit(small_study, SHORT)
    study = begin(small_study, url)
    with (
        another_process(carry_out, small_study, url, prepare=decide_without_waiting) as one,
        another_process(carry_out, small_study, url, prepare=decide_without_waiting) as other,
    ):
        for process in (one, other):
            process.join(SECONDS_TO_WAIT)
            assert process.exitcode == 0
    runs = study.training_runs()
    assert set(runs["state"]) == {"complete"}
    assert not runs.duplicated(KEY).any()
    assert len(runs) == 14
    assert runs["worker"].nunique() == 2


ROUNDS = 60


def race(storage: Storage, name: str, rounds: Any, refused: Any) -> None:
    """Start each run, and record its result, at the same moment as another process does."""
    with open_log(storage, create=True) as log:
        for block in range(ROUNDS):
            start = Start("search", "5-4-2-1", block, 0, (block,), name, name, number=block)
            for event in (started(start), finished(start, "complete", [RunResult(samples=block)])):
                rounds.wait()
                try:
                    log.append(event)
                except Refused:
                    refused.value += 1


def test_of_two_writers_of_one_result_one_wins(small_study: Path, url: str) -> None:
    study, rounds = begin(small_study, url), context.Barrier(2)
    refused = [context.RawValue("i"), context.RawValue("i")]
    with (
        another_process(race, study.storage, "one", rounds, refused[0]) as one,
        another_process(race, study.storage, "other", rounds, refused[1]) as other,
    ):
        for process in (one, other):
            process.join(SECONDS_TO_WAIT)
            assert process.exitcode == 0
    assert sum(count.value for count in refused) == 2 * ROUNDS
    with open_log(study.storage, create=False) as log:
        kinds = Counter(event.kind for _, event in log.read())
    assert kinds == {"begun": 1, "started": ROUNDS, "finished": ROUNDS}
    runs = study.training_runs()
    assert runs["block"].tolist() == list(range(ROUNDS))
    assert runs["samples"].tolist() == list(range(ROUNDS))
    assert set(runs["state"]) == {"complete"}


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_two_workers_find_what_one_finds(small_study: Path, tmp_path: Path, kind: str) -> None:
    losses = []
    for name, workers in (("alone", 1), ("together", 2)):
        study = Study(small_study, f"{kind}:///{tmp_path / name}")
        study.run(workers=workers, progress=False)
        runs = assert_accounted_for(study, 14)
        losses.append(runs[runs["state"] == "complete"].set_index(KEY)["validation_loss"])
    alone, together = losses
    both = alone.index.intersection(together.index)
    assert len(both) >= len(PATTERNS_AND_UNIFORM)
    assert alone[both].tolist() == together[both].tolist()


# Several calls.


def test_a_killed_worker_and_a_killed_call(small_study: Path, url: str) -> None:
    edit(small_study, SLOWER)
    runs_are(small_study, 3)
    study = begin(small_study, url)
    with call(small_study, url) as run:
        wait_for_training(study, run.pid)
        acts = acting(lambda: kill_in_training(study, os.getpid()), run.kill)
        assert Study.at(url).work(workers=1, progress=acts) == "finished"
    runs = assert_accounted_for(study, 3)
    assert 1 <= (runs["state"] == "died").sum() <= 2
    assert runs["worker"].nunique() == 3


def test_a_killed_helper(small_study: Path, tmp_path: Path) -> None:
    url = f"jsonl:///{tmp_path / 'log'}"
    edit(small_study, SLOWER)
    runs_are(small_study, 3)
    study = begin(small_study, url)
    with call(small_study, url, "work") as helper:
        wait_for_training(study, helper.pid)
        assert study.run(workers=1, progress=acting(helper.kill)) == "finished"
    runs = assert_accounted_for(study, 3)
    assert (runs["state"] == "died").sum() <= 1
    assert runs["worker"].nunique() == 2


def test_a_killed_fork_server_leaves_no_worker_behind(small_study: Path) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    study = begin(small_study)
    with call(small_study) as run:
        wait_for_training(study, run.pid)
        ((worker, process),) = training(study, run.pid).items()
        os.kill(parent_of(process), signal.SIGKILL)
        # The call cannot know of it any more, and lets another try again: two would train the same.
        wait_for(lambda: not Path(f"/proc/{process}").exists())
        wait_for(lambda: training(study, run.pid).keys() - {worker})
        runs = study.training_runs()
        assert runs["state"].tolist() == ["died", "running"]
        assert runs["candidate"].nunique() == 1


def test_a_server_that_crashes(small_study: Path, server: Server) -> None:
    url = server.new_database()
    edit(small_study, SLOWER)
    runs_are(small_study, 2)
    study = begin(small_study, url)

    def stop() -> None:
        wait_for_training(study)
        server.stop()

    with pytest.raises(RunFailed, match=r"Nothing recorded is lost; .* run the same command"):
        study.run(workers=1, progress=acting(stop))
    assert multiprocessing.active_children() == []
    server.start()
    assert study.run(workers=1, progress=False) == "finished"
    runs = assert_accounted_for(study, 2)
    assert runs["state"].value_counts()["died"] == 1


def test_grace_is_given_by_resources(small_study: Path, tmp_path: Path) -> None:
    runs_are(small_study, 2)
    study = begin(small_study)
    prepare = partial(hang_elsewhere, tmp_path / "elsewhere")
    with another_process(carry_out, small_study, prepare=prepare) as process:
        wait_for_runs(study, 1, "running")
        process.kill()
    assert study.run(resources=Resources(workers=1, grace=GRACE), progress=False) == "finished"
    assert assert_accounted_for(study, 2)["state"].tolist() == ["died", "complete", "complete"]
