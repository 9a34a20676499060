"""Workers that are stopped, and never continued, do not stop a study; nor does a file that is gone.

Nothing of this depends on the moment: a process that is stopped may hold any lock.
"""

import os
import signal
import tempfile
from functools import partial
from pathlib import Path

import pytest

from dynamoe_search.log import jsonlines
from dynamoe_search.log.alive import folder
from dynamoe_search.run.session import Resources
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.processes import Command, another_process, is_frozen, output_of, replace, wait_for
from tests.run.processes import (
    assert_accounted_for,
    begin,
    call,
    carry_out,
    live_elsewhere,
    stop_before,
    training,
    wait_for_runs,
    wait_for_training,
)

pytestmark = pytest.mark.slow

GRACE = 3.0
LONG = [pytest.param(kind, marks=pytest.mark.long) for kind in ("jsonl", "postgresql")]
STOPS = {
    "deciding": "dynamoe_search.search.policy.SearchPolicy.ask",
    "training": "dynamoe_search.run.worker.train",
    "recording": "dynamoe_search.run.worker.finished",
}


def runs_are(path: Path, number: int) -> None:
    edit(path, ("runs = 14", f"runs = {number}"))


@pytest.mark.parametrize("moment", STOPS)
def test_another_on_this_machine_is_stopped(small_study: Path, url: str, moment: str) -> None:
    runs_are(small_study, 3)
    study = begin(small_study, url)
    prepare = partial(stop_before, STOPS[moment])
    with another_process(carry_out, small_study, url, prepare=prepare) as stopped:
        wait_for(lambda: is_frozen(stopped.pid))
        patience = partial(replace, "dynamoe_search.run.worker.SECONDS_TO_DECIDE", 0.5)
        with another_process(carry_out, small_study, url, prepare=patience, grace=GRACE) as other:
            other.join(60)
            assert other.exitcode == 0
        runs = assert_accounted_for(study, 3)
        assert (runs["state"] == "died").sum() == (moment != "deciding")


def stop_in_append(number: int) -> None:
    """Stop before a file of lines is written, or PostgreSQL's transaction ends."""
    live_elsewhere(Path(tempfile.mkdtemp()))
    write, left = os.write, number

    def stopping(file: int, text: bytes) -> int:
        nonlocal left
        if text.startswith(b'{"study'):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)
        return write(file, text)

    replace("os.write", stopping)


@pytest.mark.parametrize("number", [1, 2])
def test_another_is_stopped_in_the_middle_of_an_append(
    small_study: Path, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_are(small_study, 3)
    url = f"jsonl:///{tmp_path / 'log'}"
    study = begin(small_study, url)
    prepare = partial(stop_in_append, number)
    with another_process(carry_out, small_study, url, prepare=prepare) as stopped:
        wait_for(lambda: is_frozen(stopped.pid))
        monkeypatch.setattr(jsonlines, "SECONDS_TO_WAIT_FOR_A_TURN", 0.2)
        monkeypatch.setattr("dynamoe_search.run.worker.SECONDS_TO_DECIDE", 0.2)
        carry_out(small_study, url, grace=GRACE)
        before = assert_accounted_for(study, 3)
        os.kill(stopped.pid, signal.SIGCONT)
        stopped.join(60)
        assert stopped.exitcode == 0
    assert assert_accounted_for(study, 3).equals(before)


@pytest.mark.parametrize("url", ["sqlite", *LONG], indirect=True)
def test_a_worker_of_this_command_is_stopped_and_the_command_ends(
    small_study: Path, url: str
) -> None:
    runs_are(small_study, 6)
    edit(small_study, ("epochs = 2", "epochs = 20"))
    study = begin(small_study, url)
    with call(small_study, url, resources=Resources(2, grace=GRACE)) as run:
        wait_for_training(study)
        worker, process = next(iter(training(study).items()))
        os.kill(process, signal.SIGSTOP)
        assert run.ending() == "finished"
    runs = assert_accounted_for(study, 6)
    assert (runs["state"] == "died").sum() <= 1
    # The other worker may have done the rest before a new one took a run.
    assert runs["worker"].nunique() in (2, 3)
    assert worker in set(runs["worker"])


@pytest.mark.parametrize("url", ["sqlite", *LONG], indirect=True)
def test_a_whole_command_is_stopped(small_study: Path, url: str) -> None:
    runs_are(small_study, 4)
    edit(small_study, ("epochs = 2", "epochs = 20"))
    study = begin(small_study, url)
    with call(small_study, url, "work") as stopped:
        wait_for_training(study)
        os.killpg(stopped.pid, signal.SIGSTOP)
        with call(small_study, url, resources=Resources(1, grace=GRACE)) as run:
            assert run.ending() == "finished"
    runs = assert_accounted_for(study, 4)
    assert (runs["state"] == "died").sum() <= 1


@pytest.mark.long
def test_a_command_that_is_killed_leaves_nothing_for_ever(
    small_study: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        monkeypatch.setenv("TMPDIR", temporary)
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        runs_are(small_study, 3)
        edit(small_study, ("epochs = 2", "epochs = 500"))
        first = command("run", small_study, "--workers", "2")
        study = Study(small_study)
        wait_for_runs(study, 2, "running")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        left = sorted(path.name for path in folder().iterdir())
        assert len([name for name in left if name.startswith("pymp-")]) == 1
        assert len(left) >= 4  # and the workers' files, and the lock
        again = command("run", small_study, "--workers", "1")
        old = {*left} - {"turns.lock"}
        wait_for(lambda: not old & {path.name for path in folder().iterdir()})
        wait_for(lambda: (study.training_runs()["state"] == "died").any())
        again.send_signal(signal.SIGTERM)
        output_of(again, 130)
        assert [path.name for path in folder().iterdir()] == ["turns.lock"]
        assert list(Path(temporary).iterdir()) == [folder()]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("jsonl", marks=pytest.mark.long)])
def test_a_log_that_is_deleted_while_a_search_runs(
    small_study: Path, tmp_path: Path, command: Command, kind: str
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    storage = f"{kind}:///{folder / 'log'}"
    edit(small_study, ("epochs = 2", "epochs = 10"))
    run = command("run", small_study, "--workers", "2", "--storage", storage)
    study = Study(small_study, storage)
    wait_for_runs(study, 3)
    kept = study.training_runs()
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    output = output_of(run, 1)
    assert "log was deleted, moved or replaced while it was in use" in output
    assert "All" not in output
    (rescued,) = folder.glob("*.rescued-*")
    rescued.rename(folder / "log")
    output_of(command("run", small_study, "--workers", "2", "--storage", storage))
    runs = assert_accounted_for(study, 14)
    # Nothing that was trained is lost.
    before = kept[kept["state"] == "complete"].set_index("run")["validation_loss"]
    assert runs.set_index("run")["validation_loss"][before.index].tolist() == before.tolist()
