"""What goes wrong in a study is recorded, said in a line, and mended by the same command."""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import torch
from dynamoe_search.run.join import join_study
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import run_study

from dynamoe_search.cli.study import run
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.storage import place_of
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.leaderboard import answer
from dynamoe_search.run import worker
from dynamoe_search.run.worker import load_study_data
from tests.conftest import edit
from tests.run.processes import (
    Command,
    another_process,
    assert_accounted_for,
    begin,
    carry_out,
    output_of,
    wait_for_trials,
)

NOBODY = 65534


def use_up_the_memory_of_torch() -> None:
    torch.empty(2**47)


def use_up_the_memory_of_python() -> None:
    bytearray(2**47)


def use_up_the_memory_of_a_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def fail() -> None:
    raise ZeroDivisionError("no experts")


def fail_first(count: int, fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many trainings fail, and the next ones not."""
    train, failures = worker.train, iter([fails] * count)

    def train_or_fail(*arguments: Any, **options: Any) -> Any:
        next(failures, lambda: None)()
        return train(*arguments, **options)

    monkeypatch.setattr(worker, "train", train_or_fail)


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (use_up_the_memory_of_torch, "RuntimeError: .*you tried to allocate"),
        (use_up_the_memory_of_python, "MemoryError: "),
        (use_up_the_memory_of_a_device, "OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_out_of_memory_is_recorded_and_the_search_goes_on(
    small_study: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[], None],
    message: str,
) -> None:
    edit(small_study, ("trials = 14", "trials = 3"))
    begin(small_study, url)
    fail_first(1, fails, monkeypatch)
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["out of memory", "complete", "complete"]
    assert re.match(message, trials["message"][0])


def test_an_error_is_recorded_with_its_message(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(small_study, ("trials = 14", "trials = 3"))
    begin(small_study, url)
    fail_first(1, fail, monkeypatch)
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["error", "complete", "complete"]
    assert trials["message"][0] == "ZeroDivisionError: no experts"


def test_five_errors_in_a_row_end_the_run_and_the_next_tries_anew(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(small_study, ("trials = 14", "trials = 8"))
    begin(small_study, url)
    fail_first(6, fail, monkeypatch)
    with pytest.raises(RunFailed, match=r"the last 5 trials .* ZeroDivisionError: no experts"):
        carry_out(small_study, url, "one run")
    assert load_trials(small_study, url)["state"].tolist() == ["error"] * 5
    carry_out(small_study, url, "another")
    states = load_trials(small_study, url)["state"].tolist()
    assert states == ["error"] * 6 + ["complete"] * 2


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_full_disk(small_study: Path, tmp_path: Path, command: Command, kind: str) -> None:
    records = tmp_path / "records"
    url = f"{kind}:///{records}"
    begin(small_study, url)
    arguments = ("run", small_study, "--storage", url, "--workers", "1")
    output = output_of(command(*arguments, file_size=records.stat().st_size + 40_000), status=1)
    assert output.count("error: ") == 1
    assert re.search(r"error: the records in .* cannot be .*written", output)
    before = load_trials(small_study, url)
    before = before[before["state"] == "complete"]
    assert 0 < len(before) < 14
    output_of(command(*arguments))
    after = assert_accounted_for(small_study, 14, url)
    kept = after.set_index("trial").loc[before["trial"], "validation_loss"]
    assert kept.tolist() == before["validation_loss"].tolist()


def test_a_network_that_cannot_be_kept_ends_the_run_and_loses_nothing(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(
        small_study,
        ("trials = 14", "trials = 2"),
        ("replicates = 2", "replicates = 2\nkeep_models = true"),
    )
    begin(small_study, url)
    (small_study.parent / "models").write_text("in the way")
    with pytest.raises(RunFailed, match=r"the network cannot be kept: .*models"):
        carry_out(small_study, url)
    (small_study.parent / "models").unlink()
    carry_out(small_study, url, "another run")
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["died", "complete", "complete"]
    assert trials["candidate"][0] == trials["candidate"][1]


def is_refused(path: Path) -> None:
    # Whoever is about to become nobody may not be able to read what is installed.
    data = load_study_data(read_study_file(path), None)
    run.load_study_data = lambda *_: data
    if os.getuid() == 0:
        os.seteuid(NOBODY)
    with pytest.raises(RunFailed, match="cannot be written: Permission denied"):
        run_study(path)


def test_a_folder_that_cannot_be_written(small_study: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        study = small_study.rename(Path(folder) / "study.toml")
        Path(folder).chmod(0o555)
        with another_process(is_refused, study) as process:
            process.join()
        assert process.exitcode == 0
        assert list(Path(folder).iterdir()) == [study]
        Path(folder).chmod(0o755)


def test_a_changed_study_file(small_study: Path, url: str, command: Command) -> None:
    edit(small_study, ("trials = 14", "trials = 2"))
    begin(small_study, url)
    carry_out(small_study, url)
    edit(small_study, ("learning_rate = 5e-3", "learning_rate = 4e-3"))
    output = output_of(command("run", small_study, "--storage", url), status=2)
    assert "training.learning_rate: was 0.005, is 0.004" in output
    for way_out in ("--allow-changes", "--name"):
        assert way_out in output
    assert len(load_trials(small_study, url)) == 2

    output = output_of(command("run", small_study, "--storage", url, "--allow-changes"))
    sentence = "training.learning_rate: was 0.005, is 0.004): results from before and after"
    assert sentence in output
    assert sentence in " ".join(answer(load_trials(small_study, url)))
    # From now on, that is the study.
    assert run_study(small_study, storage=url).reason == "finished"

    begin(small_study, url, name="another")
    assert load_trials(small_study, url, "another").empty
    assert len(load_trials(small_study, url)) == 2


def test_what_a_candidate_is_cannot_be_changed(small_study: Path, url: str) -> None:
    begin(small_study, url)
    edit(small_study, ("hidden = 8", "hidden = 16"))
    with pytest.raises(InvalidInput, match=r"model\.hidden: was 8, is 16(.|\n)*another study"):
        run_study(small_study, storage=url, allow_changes=True)


def test_two_runs_of_one_study(small_study: Path, url: str, command: Command) -> None:
    edit(small_study, ("epochs = 2", "epochs = 5000"))
    arguments = ("run", small_study, "--storage", url, "--workers", "1")
    first = command(*arguments)
    wait_for_trials(small_study, 1, "running", url)
    output = output_of(command(*arguments), status=1)
    assert "error: another command is working on this study" in output
    assert "dynamoe-search worker" in output
    assert first.poll() is None


def test_a_worker_where_there_is_no_study(url: str, tmp_path: Path, command: Command) -> None:
    output = output_of(command("worker", "--storage", url), status=2)
    assert "holds no study; begin one with: " in output
    assert list(tmp_path.iterdir()) == []


def test_a_worker_where_there_is_something_else(url: str, tmp_path: Path) -> None:
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE birds (name text)")
    elif url.startswith("sqlite"):
        with sqlite3.connect(tmp_path / "records") as database:
            database.execute("CREATE TABLE birds (name text)")
    else:
        (tmp_path / "records").write_text("birds\n" * 9)
    with pytest.raises(InvalidInput, match=r"holds no study|is not the results of a study"):
        join_study(url)
    with pytest.raises(InvalidInput, match=r"not the results of a study|no results of birds"):
        join_study(url, "birds")


def test_whoever_reads_lets_a_study_begin(small_study: Path, url: str) -> None:
    with another_process(begin, small_study, url) as beginning:
        while beginning.is_alive():
            with suppress(InvalidInput):
                load_trials(small_study, url)
        assert beginning.exitcode == 0
    assert load_trials(small_study, url).empty


def test_killed_while_it_began(small_study: Path, url: str) -> None:
    edit(small_study, ("trials = 14", "trials = 1"))
    begin_study(place_of(small_study.parent, url), ["minimize"])
    with pytest.raises(InvalidInput, match=r"no results of .* begin with: dynamoe-search run"):
        load_trials(small_study, url)
    begin(small_study, url)
    carry_out(small_study, url)
    assert_accounted_for(small_study, 1, url)


def test_a_study_of_another_program(small_study: Path, url: str) -> None:
    study = begin_study(place_of(small_study.parent, url), ["minimize"])
    study.tell(study.ask(), 1.0)
    with pytest.raises(InvalidInput, match=r"another program.* --name"):
        run_study(small_study, storage=url)


def test_a_worker_of_a_study_of_another_name(small_study: Path, url: str) -> None:
    begin(small_study, url)
    with pytest.raises(InvalidInput, match=rf"there are: {small_study.parent.name}"):
        join_study(url, "birds")
