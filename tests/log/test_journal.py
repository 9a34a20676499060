import json
import os
from pathlib import Path

import optuna
import pytest

from dynamoe_search.log.journal import open_journal


def begin(path: Path) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_journal(path), load_if_exists=True)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_line_that_a_killed_writer_left_unfinished_does_no_harm(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "records"
    study = begin(path)
    study.tell(study.ask(), 1.0)
    study.set_user_attr("lost", "x" * 50)
    path.write_bytes(path.read_bytes()[:-cut])
    again = begin(path)
    assert again.user_attrs == {}
    again.tell(again.ask(), 2.0)
    assert [trial.value for trial in begin(path).trials] == [1.0, 2.0]
    for line in path.read_text().splitlines():
        json.loads(line)


def test_an_unfinished_line_longer_than_a_piece(tmp_path: Path) -> None:
    path = tmp_path / "records"
    begin(path).set_user_attr("lost", "x" * 200_000)
    path.write_bytes(path.read_bytes()[:-1])
    begin(path).set_user_attr("kept", 1)
    assert begin(path).user_attrs == {"kept": 1}


def test_a_first_line_that_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_text('{"op_code": 0')
    assert begin(path).study_name == "s"


def test_the_end_of_a_trial_reaches_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "records"
    on_disk = ""

    def sync(file: int) -> None:
        nonlocal on_disk
        on_disk = path.read_text()

    monkeypatch.setattr(os, "fsync", sync)
    study = begin(path)
    for value in (1.0, 2.0):
        trial = study.ask()
        trial.set_user_attr("result", value)
        study.tell(trial, value)
        assert on_disk == path.read_text()
        study.set_user_attr("beat", value)
        assert on_disk != path.read_text()
