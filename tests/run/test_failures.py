"""What goes wrong in a study is recorded, said in a line, and mended by the same call."""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
import sqlalchemy.dialects.sqlite  # noqa: F401 - a user whom a test becomes may not read it
import torch

from dynamoe_search.data import prepare_text
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.heartbeat import new_worker
from dynamoe_search.log.storage import open_log
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run import session, worker
from dynamoe_search.run.worker import Worker, load_study_data
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.processes import another_process
from tests.run.processes import (
    acting,
    assert_accounted_for,
    begin,
    call,
    carry_out,
    job_of,
    training,
    wait_for_runs,
    wait_for_training,
)

NOBODY = 65534
ENDLESS = ("epochs = 2", "epochs = 5000")


def runs_are(path: Path, number: int) -> None:
    edit(path, ("runs = 14", f"runs = {number}"))


# A training run that fails.


def use_up_the_memory_of_torch() -> None:
    torch.empty(2**47)


def use_up_the_memory_of_python() -> None:
    bytearray(2**47)


def use_up_the_memory_of_a_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def fail() -> None:
    raise ZeroDivisionError("no experts")


def fail_first(count: int, fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many runs fail, and the next ones not."""
    train, failures = worker.train, iter([fails] * count)

    def train_or_fail(*arguments: Any, **options: Any) -> Any:
        next(failures, lambda: None)()
        return train(*arguments, **options)

    monkeypatch.setattr(worker, "train", train_or_fail)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails", "state", "message"),
    [
        (use_up_the_memory_of_torch, "out of memory", "RuntimeError: .*you tried to allocate"),
        (use_up_the_memory_of_python, "out of memory", "MemoryError: "),
        (use_up_the_memory_of_a_device, "out of memory", "OutOfMemoryError: CUDA out of memory"),
        (fail, "error", "ZeroDivisionError: no experts$"),
    ],
)
def test_a_failure_is_recorded_and_the_search_goes_on(
    small_study: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[], None],
    state: str,
    message: str,
) -> None:
    runs_are(small_study, 3)
    study = begin(small_study, url)
    fail_first(1, fails, monkeypatch)
    carry_out(small_study, url)
    runs = assert_accounted_for(study, 2)
    assert runs["state"].tolist() == [state, "complete", "complete"]
    assert re.match(message, runs["message"][0])
    assert runs["candidate"].nunique() == 3


@pytest.mark.slow
def test_five_errors_in_a_row_end_the_session_and_the_next_tries_anew(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_are(small_study, 8)
    study = begin(small_study, url)
    fail_first(6, fail, monkeypatch)
    with pytest.raises(RunFailed, match=r"the last 5 runs .* ZeroDivisionError: no experts"):
        carry_out(small_study, url, "one session")
    assert study.training_runs()["state"].tolist() == ["error"] * 5
    carry_out(small_study, url, "another")
    assert study.training_runs()["state"].tolist() == ["error"] * 6 + ["complete"] * 2


@pytest.mark.slow
def test_runs_that_diverge_are_recorded_with_what_they_cost(small_study: Path) -> None:
    edit(small_study, ("learning_rate = 5e-3", "learning_rate = 1e30"))
    runs_are(small_study, 3)
    study = Study(small_study)
    assert study.run(workers=1, progress=False) == "finished"
    runs = study.training_runs()
    assert runs["state"].tolist() == ["diverged"] * 3
    assert runs["message"].str.contains(r"validation loss of seed \d+ is").all()
    assert runs["validation_loss"].isna().all()
    with open_log(study.storage, create=False) as log:
        ends = [event.content["results"] for _, event in log.read() if event.kind == "finished"]
    assert [result["training_flops"] > 0 for end in ends for result in end] == [True] * 3
    with pytest.raises(InvalidInput, match="no training run of this study is complete yet"):
        study.leaderboard()


# A log that fails.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_full_disk(small_study: Path, tmp_path: Path, kind: str) -> None:
    url = f"{kind}:///{tmp_path / 'log'}"
    study = begin(small_study, url)
    size = (tmp_path / "log").stat().st_size + 20_000
    full = pytest.raises(
        RunFailed, match=r"the log .*log cannot be .*written: .*(I/O error|too large)"
    )
    with call(small_study, url, file_size=size) as run, full:
        run.ending()
    before = study.training_runs()
    before = before[before["state"] == "complete"]
    assert 0 < len(before) < 14
    assert study.run(workers=1, progress=False) == "finished"
    after = assert_accounted_for(study, 14).set_index("run")
    kept = after.loc[before["run"], "validation_loss"]
    assert kept.tolist() == before["validation_loss"].tolist()


@pytest.mark.slow
def test_a_log_that_is_gone(small_study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    edit(small_study, ("epochs = 2", "epochs = 10"))
    runs_are(small_study, 4)
    study = begin(small_study, f"jsonl:///{folder / 'log'}")

    def unmount() -> None:
        wait_for_runs(study, 1)
        folder.rename(tmp_path / "away")

    with pytest.raises(RunFailed, match=r"the log .*cannot be .*No such file"):
        study.run(workers=1, progress=acting(unmount))
    assert not folder.exists()
    (tmp_path / "away").rename(folder)
    assert study.run(workers=1, progress=False) == "finished"
    assert_accounted_for(study, 4)


@pytest.mark.slow
def test_a_writer_that_is_stopped_is_no_fault_of_a_run(
    small_study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"jsonl:///{tmp_path / 'log'}"
    edit(small_study, ("blocks = 2", 'blocks = 2\npruner = "median"'))
    runs_are(small_study, 2)
    study = begin(small_study, url)

    def refuse(*event: Any) -> Any:
        monkeypatch.undo()
        raise RunFailed("another process has held the lock for 60 s")

    monkeypatch.setattr(worker, "reported", refuse)
    with pytest.raises(RunFailed, match="has held the lock"):
        carry_out(small_study, url)
    assert study.training_runs()["state"].tolist() == ["running"]
    carry_out(small_study, url, "another")
    runs = assert_accounted_for(study, 2)
    assert runs["state"].tolist() == ["died", "complete", "complete"]


@pytest.mark.slow
def test_a_network_that_cannot_be_kept_ends_the_session_and_loses_nothing(
    small_study: Path, url: str
) -> None:
    edit(small_study, ("blocks = 2", "blocks = 2\nkeep_models = true"))
    runs_are(small_study, 2)
    study = begin(small_study, url)
    (small_study.parent / "models").write_text("in the way")
    with pytest.raises(RunFailed, match=r"the network cannot be kept: .*models"):
        study.run(workers=1, progress=False)
    (small_study.parent / "models").unlink()
    carry_out(small_study, url, "another")
    runs = assert_accounted_for(study, 2)
    assert runs["state"].tolist() == ["died", "complete", "complete"]
    assert runs["candidate"][0] == runs["candidate"][1]


def become_nobody() -> None:
    if os.getuid() == 0:
        os.setresuid(NOBODY, NOBODY, 0)


def is_refused_there(path: Path) -> None:
    # Nobody may not be able to read what is installed.
    data = load_study_data(read_study_file(path), None)
    session.load_study_data = lambda *_: data
    become_nobody()
    with pytest.raises(InvalidInput, match=r"study\.db .*cannot be .*written: .*Permission denied"):
        Study(path).run(progress=False)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(small_study: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        study = small_study.rename(Path(folder) / "study.toml")
        Path(folder).chmod(0o555)
        with another_process(is_refused_there, study) as process:
            process.join()
        assert process.exitcode == 0
        assert list(Path(folder).iterdir()) == [study]
        Path(folder).chmod(0o755)


def is_read(path: Path, runs: pd.DataFrame) -> None:
    Study(path).decision()  # imports what nobody may not be able to read
    become_nobody()
    study = Study(path)
    pd.testing.assert_frame_equal(study.training_runs(), runs)
    assert study.decision().candidate == study.leaderboard()["candidate"][0]


@pytest.mark.slow
def test_a_study_in_a_folder_that_cannot_be_written_can_be_read(small_study: Path) -> None:
    runs_are(small_study, 2)
    begin(small_study)
    carry_out(small_study)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for name in ("study.toml", "study.db"):
            small_study.with_name(name).rename(Path(folder) / name)
        Path(folder).chmod(0o555)
        here = Path(folder) / "study.toml"
        with another_process(is_read, here, Study(here).training_runs()) as process:
            process.join()
        assert process.exitcode == 0
        Path(folder).chmod(0o755)


# What the user changes.


@pytest.mark.slow
def test_a_changed_study_file(small_study: Path, url: str) -> None:
    runs_are(small_study, 2)
    study = begin(small_study, url)
    carry_out(small_study, url)
    edit(small_study, ("learning_rate = 5e-3", "learning_rate = 4e-3"))
    with pytest.raises(InvalidInput) as refused:
        study.run(progress=False)
    assert "training.learning_rate: was 0.005, is 0.004" in str(refused.value)
    for way_out in ("--allow-changes", "--name"):
        assert way_out in str(refused.value)
    assert len(study.training_runs()) == 2
    assert study.file.training.learning_rate == 0.005
    assert study.changes == []

    assert study.run(progress=False, allow_changes=True) == "finished"
    (sentence,) = study.changes
    assert "after 2 training runs" in sentence
    assert "training.learning_rate: was 0.005, is 0.004): results from before and after" in sentence
    assert sentence in study.decision().sentences
    # From now on, that is the study.
    assert study.file.training.learning_rate == 0.004
    assert study.run(progress=False) == "finished"

    another = begin(small_study, url, name="another")
    assert another.training_runs().empty
    assert len(study.training_runs()) == 2


def test_what_a_candidate_is_cannot_be_changed(small_study: Path, url: str) -> None:
    study = begin(small_study, url)
    edit(small_study, ("hidden = 8", "hidden = 16"))
    with pytest.raises(InvalidInput, match=r"model\.hidden: was 8, is 16(.|\n)*another study"):
        study.run(progress=False, allow_changes=True)
    assert study.file.model.hidden == 8


@pytest.mark.slow
def test_other_data_are_refused(small_study: Path, tmp_path: Path) -> None:
    edit(
        small_study,
        ('"digits"', '"corpus.tokens"'),
        ("hidden = 8", "hidden = 8\nheads = 0\ncontext = 16"),
        ("epochs = 2", "epochs = 1"),
    )
    runs_are(small_study, 1)
    for place in ("here", "there"):
        text = "\n\n".join(f"{number} experts {place}. " * 300 for number in range(60))
        (tmp_path / place).mkdir()
        (tmp_path / place / "corpus.txt").write_text(text)
        prepare_text(tmp_path / place / "corpus.txt", tmp_path / place / "corpus.tokens")
    here, there = (Study(small_study, data_directory=tmp_path / at) for at in ("here", "there"))
    assert here.run(workers=1, progress=False) == "finished"
    elsewhere = Study.at(f"sqlite:///{here.storage.file}", data_directory=tmp_path / "there")
    nowhere = Study.at(f"sqlite:///{here.storage.file}", data_directory=tmp_path)
    message = r"corpus here is not the data .*; check --data-dir"
    for act in (there.run, there.confirm, elsewhere.work):
        with pytest.raises(InvalidInput, match=message):
            act(progress=False)
    with pytest.raises(InvalidInput, match=message):
        there.network()
    with pytest.raises(InvalidInput, match=r"corpus\.tokens"):
        nowhere.work(progress=False)
    job = replace(job_of(small_study), data_directory=tmp_path / "there")
    with pytest.raises(InvalidInput, match=message):
        Worker(job, new_worker())
    # What needs no data can be read.
    assert there.leaderboard()["seeds"].tolist() == [1]
    assert here.network(run=0).run == 0


# Several calls.


@pytest.mark.slow
def test_two_runs_of_one_study(small_study: Path) -> None:
    edit(small_study, ENDLESS)
    study = begin(small_study)
    with call(small_study) as first:
        wait_for_training(study)
        is_refused_as_another_runs(study)
        assert not first.is_over()
        assert len(training(study)) == 1


def test_one_runs_a_study_wherever_its_log_is(small_study: Path, url: str) -> None:
    study = begin(small_study, url)
    with open_log(study.storage, create=False) as log, log.exclusive("run", 0.0) as alone:
        assert alone
        is_refused_as_another_runs(study)
    assert study.training_runs().empty


def is_refused_as_another_runs(study: Study) -> None:
    for act in (study.run, study.confirm):
        with pytest.raises(RunFailed, match="another command is working on this study") as told:
            act(progress=False)
        assert "dynamoe-search worker" in str(told.value)


def test_help_where_there_is_no_study(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no study; begin one with: "):
        Study.at(url)
    assert list(tmp_path.iterdir()) == []


def test_help_where_there_is_something_else(url: str, tmp_path: Path) -> None:
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE birds (name text)")
    elif url.startswith("sqlite"):
        with sqlite3.connect(tmp_path / "log") as database:
            database.execute("CREATE TABLE birds (name text)")
    else:
        (tmp_path / "log").write_text("birds\n" * 9)
    with pytest.raises(InvalidInput, match=r"holds no study|is not the log of a study"):
        Study.at(url)
    with pytest.raises(InvalidInput, match=r"is not the log of a study|no results of birds"):
        Study.at(url, "birds")


def test_help_with_a_study_of_another_name(small_study: Path, url: str) -> None:
    begin(small_study, url)
    with pytest.raises(InvalidInput, match=rf"there are: {small_study.parent.name}"):
        Study.at(url, "birds")
    begin(small_study, url, name="another")
    with pytest.raises(InvalidInput, match=rf"{small_study.parent.name}, another; choose one with"):
        Study.at(url)


def test_a_reader_lets_a_study_begin(small_study: Path, url: str) -> None:
    study = Study(small_study, url)
    with another_process(begin, small_study, url) as beginning:
        while beginning.is_alive():
            with suppress(InvalidInput):
                study.training_runs()
        assert beginning.exitcode == 0
    assert study.training_runs().empty


def test_killed_while_it_began(small_study: Path, url: str) -> None:
    runs_are(small_study, 1)
    study = Study(small_study, url)
    with open_log(study.storage, create=True) as log:
        assert log.read() == []
    with pytest.raises(InvalidInput, match=r"no results of .* begin with: dynamoe-search run"):
        study.training_runs()
    assert study.file.search.runs == 1
    begin(small_study, url)
    carry_out(small_study, url)
    assert_accounted_for(study, 1)
