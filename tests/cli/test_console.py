"""What the commands share."""

from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.cli.console import open_study, say, write_table
from dynamoe_search.errors import InvalidInput

TABLE = pd.DataFrame({"candidate": ["8-4", "6-6"], "loss": [0.5, 0.25]})


def test_sentences_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"[bold] is no markup; a long line stays one: {'8-6-4-2 ' * 40}.\n"
    say(text)
    assert capsys.readouterr().out == text + "\n"


def test_a_table_is_written_by_its_ending_or_as_told(tmp_path: Path) -> None:
    for name, form, read in (
        ("t.csv", None, pd.read_csv),
        ("t.parquet", None, pd.read_parquet),
        ("table.txt", "csv", pd.read_csv),
        ("table.csv", "parquet", pd.read_parquet),
    ):
        write_table(TABLE, tmp_path / name, form)
        pd.testing.assert_frame_equal(read(tmp_path / name), TABLE, check_dtype=False)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "no" / "t.csv"
    with pytest.raises(InvalidInput, match=rf"{path} cannot be written: "):
        write_table(TABLE, path)


def test_a_study_is_that_of_the_options(small_study: Path, tmp_path: Path) -> None:
    study = open_study(small_study, f"jsonl:///{tmp_path / 'log'}", "two", tmp_path)
    assert study.folder == small_study.parent / "two"
    assert (study.storage.kind, study.storage.name) == ("jsonl", "two")
    assert study.data_directory == tmp_path
