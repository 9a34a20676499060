"""``claims`` from end to end, on two tiny studies of real digits."""

import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.claims.studies import PAPER, write
from tests.cli.calls import error_of, output_of
from tests.processes import Command, wait_for
from tests.processes import output_of as output_of_process
from tests.report import made_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "digits-compute")
    write(tmp_path, "digits-paper", *PAPER)
    return tmp_path


@pytest.mark.slow
def test_studies_are_run_and_judged_by_their_tables(folder: Path) -> None:
    page = folder / "README.md"
    assert output_of("claims", folder) == f"wrote {page}\n"
    assert "6 not run yet" in page.read_text()
    assert not (folder / "effects.png").exists()

    options = ("--seeds", 2, "--only", "digits-paper", "--workers", 2)
    said = output_of("claims", folder, "--run", *options)
    assert "digits, paper (digits-paper): the named schedules once" in said
    assert "4 not run yet" in page.read_text()
    runs = pd.read_parquet(folder / "digits-paper" / "runs.parquet")
    assert len(runs) == 9 * 2
    assert runs["test_loss"].notna().all()
    assert runs.groupby("block")["seed"].nunique().eq(1).all()

    said = output_of("claims", folder, "--run", "--seeds", 2)
    assert "digits, paper (digits-paper): complete" in said
    assert "gradients with either routing, 0 of 2 seeds" in said
    text = page.read_text()
    assert "not run yet" not in text.split("## How it was judged")[0]
    assert "| digits, paper | 2 | 18 of 18 | 0 | 1,077 |" in text
    assert (folder / "effects.png").read_bytes().startswith(b"\x89PNG")

    # The tables are enough: nothing is trained where they are.
    for database in folder.glob("*/study.db*"):
        database.unlink()
    page.unlink()
    said = output_of("claims", folder, "--run", "--seeds", 2)
    assert said.count(": complete") == 4
    assert not list(folder.glob("*/study.db"))
    assert page.read_text() == text


@pytest.mark.slow
def test_what_was_confirmed_otherwise_is_taken(folder: Path) -> None:
    path = folder / "digits-paper" / "study.toml"
    made_up.search(path)
    made_up.confirm(path)
    output_of("claims", folder)
    assert "| digits, paper | 4 | 36 of 36 |" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_an_interrupted_command_goes_on(folder: Path, command: Command) -> None:
    options = ("--run", "--seeds", 2, "--only", "digits-compute", "--workers", 1)
    process = command("claims", folder, *options)
    wait_for((folder / "digits-compute" / "study.db").exists)
    process.send_signal(signal.SIGINT)
    said = output_of_process(process, status=130)
    assert said.endswith("Interrupted; the same command goes on.\n")
    assert "not run yet" in (folder / "README.md").read_text()


def test_mistakes_are_told(folder: Path) -> None:
    error = error_of("claims", folder, "--run", "--only", "digits")
    assert "--only goes with --run, and is one of digits-compute, digits-paper" in error
    assert "--only goes with --run" in error_of("claims", folder, "--only", "digits-paper")
    assert "has no folder with a study.toml" in error_of("claims", folder / "digits-paper")
    (folder / "digits-paper" / "runs.parquet").write_text("damaged")
    assert "is no parquet file that can be read" in error_of("claims", folder)
