"""``claims`` from end to end, on two tiny studies of real digits."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.search.test_claims import PAPER, write

COMMAND = [sys.executable, "-m", "dynamoe_search", "claims"]


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "digits-compute")
    write(tmp_path, "digits-paper", *PAPER)
    return tmp_path


def test_studies_are_run_and_judged_by_their_tables(folder: Path) -> None:
    before = run(folder)
    assert before.returncode == 0, before.stderr
    page = folder / "README.md"
    assert "6 not run yet" in page.read_text()
    assert not (folder / "effects.png").exists()

    one = run(folder, "--run", "--seeds", 2, "--only", "digits-paper", "--workers", 2)
    assert one.returncode == 0, one.stderr
    assert "digits, paper (digits-paper): the named schedules once" in one.stdout
    assert "4 not run yet" in page.read_text()
    trainings = pd.read_parquet(folder / "digits-paper" / "trainings.parquet")
    assert len(trainings) == 9 * 2
    assert trainings["test_loss"].notna().all()
    assert trainings.groupby("block")["seed"].nunique().eq(1).all()

    whole = run(folder, "--run", "--seeds", 2)
    assert whole.returncode == 0, whole.stderr
    assert "digits, paper (digits-paper): complete" in whole.stdout
    assert "gradients with either routing, 0 of 2 seeds" in whole.stdout
    text = page.read_text()
    assert "not run yet" not in text.split("## How it was judged")[0]
    assert "| digits, paper | 2 | 18 of 18 | 0 | 1,077 |" in text
    assert (folder / "effects.png").read_bytes().startswith(b"\x89PNG")

    # The tables are enough: nothing is trained where they are.
    for database in folder.glob("*/study.db*"):
        database.unlink()
    page.unlink()
    again = run(folder, "--run", "--seeds", 2)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(": complete") == 4
    assert not list(folder.glob("*/study.db"))
    assert page.read_text() == text


def test_mistakes_are_told_in_a_line(folder: Path) -> None:
    unknown = run(folder, "--run", "--only", "digits")
    assert unknown.returncode == 2
    assert "--only goes with --run, and is one of digits-compute, digits-paper" in unknown.stderr
    empty = run(folder / "digits-paper")
    assert empty.returncode == 2
    assert "has no folder with a study.toml" in empty.stderr
    assert "Traceback" not in unknown.stderr + empty.stderr
