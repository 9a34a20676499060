"""``compare-samplers`` from end to end, on made-up results."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.search.test_comparison import keep_study, write_study

COMMAND = [sys.executable, "-m", "dynamoe_search", "compare-samplers"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = write_study(tmp_path)
    keep_study(path)
    return path


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_samplers_are_compared_and_nothing_is_trained(study: Path) -> None:
    folder = study.parent
    before = (folder / "study.db").read_bytes()
    options = ("--family", "free", "--samplers", "tpe, qmc", "--repetitions", 3, "--runs", 12)
    found = run(folder, *options, "--csv", folder / "s.csv", "--plot", folder / "s.png")
    assert found.returncode == 0, found.stderr
    assert "3 searches of 12 trainings by each of 3 samplers" in found.stdout
    assert "random search at the end" in found.stdout
    table = pd.read_csv(folder / "s.csv")
    assert table["sampler"].unique().tolist() == ["random", "tpe", "qmc"]
    assert len(table) == 3 * 3 * 12
    assert (table["regret"] >= 0).all()
    assert (folder / "s.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "study.db").read_bytes() == before


def test_mistakes_are_told_in_a_line(study: Path, tmp_path: Path) -> None:
    wrong = run(study, "--samplers", "tpee")
    assert wrong.returncode == 2
    assert "sampler 'tpee' cannot be compared; choose from random, tpe" in wrong.stderr
    folder = tmp_path / "few"
    folder.mkdir()
    keep_study(write_study(folder), most=12)
    few = run(folder)
    assert few.returncode == 2
    assert "has recorded 12 of the budget's 21 schedules" in few.stderr
    assert "Traceback" not in few.stderr + wrong.stderr


def test_an_interrupt_ends_it_at_once(study: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(study), "--repetitions", "2000", "--samplers", "gp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not _children_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    # As a terminal does it: to every process, here while the workers are starting.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted" in out
    assert "Traceback" not in err


def _children_of(parent: int) -> str:
    return Path(f"/proc/{parent}/task/{parent}/children").read_text().strip()
