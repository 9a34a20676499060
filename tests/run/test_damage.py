"""A log that is damaged, or holds what no study writes, is read as far as it goes, and named."""

import math
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event
from dynamoe_search.log.runs import RunResult, Start, finished, started
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.run.local import _LONGEST_COMPLAINT, _reason_to_end
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.run.processes import assert_accounted_for, begin, carry_out, job_of

ODD = {
    "out of range": {"tilt": 1e9, "gain": 0.5},
    "not a number": {"tilt": math.nan, "gain": math.inf},
    "other names": {"birds": 2.0},
    "none": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "qmc"])
def test_odd_parameters_of_a_run_harm_nobody(
    small_study: Path, odd: str, sampler: str, capfd: pytest.CaptureFixture[str]
) -> None:
    edit(small_study, ('"random"', f'"{sampler}"'), ("runs = 14", "runs = 12"))
    study = begin(small_study)
    parameters = ODD[odd]
    start = Start("search", "3-3-3-3", 1, 0, (5,), "w", "s", 0, parameters, seen=1, passed_over=3)
    with open_log(study.storage, create=False) as log:
        log.append(started(start))
        log.append(finished(start, "complete", [RunResult()]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        carry_out(small_study)
    assert_accounted_for(study, 12)
    assert capfd.readouterr() == ("", "")


def change_result(storage: Storage) -> None:
    """Change a digit of the second result, as a flipped bit would."""
    assert storage.file is not None
    if storage.kind == "jsonl":
        lines = storage.file.read_bytes().splitlines(keepends=True)
        at = lines[4].index(b'"validation_loss": ') + 22
        lines[4] = lines[4][:at] + bytes([lines[4][at] ^ 1]) + lines[4][at + 1 :]
        storage.file.write_bytes(b"".join(lines))
        return
    with sqlite3.connect(storage.file) as database:
        select = "SELECT number, content FROM dynamoe_events WHERE kind = 'finished'"
        number, content = database.execute(select).fetchall()[1]
        at = content.index('"validation_loss": ') + 22
        changed = content[:at] + chr(ord(content[at]) ^ 1) + content[at + 1 :]
        update = "UPDATE dynamoe_events SET content = ? WHERE number = ?"
        database.execute(update, (changed, number))


def destroy_result(storage: Storage) -> None:
    """Put zeros in the place of the second result."""
    assert storage.file is not None
    if storage.kind == "jsonl":
        lines = storage.file.read_bytes().splitlines(keepends=True)
        lines[4] = b"\0" * (len(lines[4]) - 1) + b"\n"
        storage.file.write_bytes(b"".join(lines))
        return
    with sqlite3.connect(storage.file) as database:
        update = "UPDATE dynamoe_events SET content = x'FF00FF' WHERE number = 5"
        database.execute(update)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [change_result, destroy_result])
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_damaged_result_is_named_and_the_others_are_read(
    small_study: Path, tmp_path: Path, kind: str, damage: Callable[[Storage], None]
) -> None:
    edit(small_study, ("runs = 14", "runs = 4"))
    study = begin(small_study, f"{kind}:///{tmp_path / 'log'}")
    carry_out(small_study, f"{kind}:///{tmp_path / 'log'}")
    before = study.training_runs()
    damage(study.storage)
    again = Study(small_study, f"{kind}:///{tmp_path / 'log'}")
    after = again.training_runs()
    assert after["state"].tolist() == ["complete", "running", "complete", "complete"]
    others = [0, 2, 3]
    losses = [table["validation_loss"][others].tolist() for table in (before, after)]
    assert losses[0] == losses[1]
    name = {"sqlite": "event 5", "jsonl": "line 5"}[kind]
    (sentence,) = again.changes
    assert sentence.startswith(f"{name} (")
    assert f"of {tmp_path / 'log'} is damaged" in sentence
    assert sentence in again.decision().sentences
    for act in (again.run, again.confirm, again.work):
        with pytest.raises(InvalidInput, match=rf"{tmp_path / 'log'}: {name} \(.*cannot be read"):
            act(progress=False)
    if kind == "jsonl":
        # As the message says: its line can be removed, and then it is trained again.
        lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
        (tmp_path / "log").write_bytes(b"".join([*lines[:4], *lines[5:]]))
    else:
        with sqlite3.connect(tmp_path / "log") as database:
            database.execute("DELETE FROM dynamoe_events WHERE number = 5")
    third = Study(small_study, f"{kind}:///{tmp_path / 'log'}")
    assert third.run(workers=1, progress=False) == "finished"
    runs = assert_accounted_for(third, 4)
    assert runs["state"].tolist()[:2] == ["complete", "died"]
    assert third.changes == []


def test_a_study_whose_beginning_is_damaged_is_named(small_study: Path, tmp_path: Path) -> None:
    study = begin(small_study, f"jsonl:///{tmp_path / 'log'}")
    whole = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(whole.replace(b"digits", b"digitz"))
    for act in (study.run, Study(study.path, f"jsonl:///{tmp_path / 'log'}").leaderboard):
        with pytest.raises(InvalidInput, match=r"log: line 1 \(unreadable\) cannot be read"):
            act()


def test_an_unforeseen_error_of_a_worker_is_one_sentence(small_study: Path) -> None:
    begin(small_study)
    text = _reason_to_end(job_of(small_study), KeyError("attributes"))
    assert text == "a worker failed: KeyError: 'attributes'. Nothing recorded is lost"
    assert len(text) < _LONGEST_COMPLAINT


def test_an_event_of_a_later_version_is_named(small_study: Path) -> None:
    study = begin(small_study)
    with open_log(study.storage, create=False) as log:
        log.append(Event("renamed", {"from": "a"}))
    assert study.training_runs().empty
    with pytest.raises(InvalidInput, match=r"event 2 \(renamed\) cannot be read: damaged, or wri"):
        study.run(progress=False)
