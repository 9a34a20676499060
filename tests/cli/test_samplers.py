"""``compare-samplers``, on made-up results."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search import bench
from tests.bench.exhaustive import keep_study, write_study
from tests.cli.calls import error_of, output_of
from tests.processes import Command, wait_for
from tests.processes import output_of as output_of_process


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    keep_study(write_study(folder))
    return folder


@pytest.mark.slow
def test_samplers_are_compared_and_nothing_is_trained(study: Path, tmp_path: Path) -> None:
    before = (study / "study.db").read_bytes()
    options = ("--family", "free", "--samplers", "tpe, qmc", "--repetitions", 3, "--runs", 12)
    files = ("--csv", tmp_path / "s.csv", "--plot", tmp_path / "s.png")
    said = output_of("compare-samplers", study, *options, *files)
    assert "3 searches of 12 training runs by each of 3 samplers" in said
    assert "random search at the end" in said
    table = pd.read_csv(tmp_path / "s.csv")
    assert table["sampler"].unique().tolist() == ["random", "tpe", "qmc"]
    assert len(table) == 3 * 3 * 12
    assert (table["regret"] >= 0).all()
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert (study / "study.db").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("name", bench.names())
def test_a_table_is_taken_by_its_name(name: str) -> None:
    options = ("--samplers", "posterior", "--repetitions", 2, "--runs", 10, "--workers", 1)
    said = output_of("compare-samplers", name, "--family", "free", *options)
    assert f"{len(bench.load(name).schedules)} schedules of known loss, in the free family" in said


@pytest.mark.slow
def test_mistakes_are_told(study: Path, tmp_path: Path) -> None:
    error = error_of("compare-samplers", study, "--samplers", "tpee")
    assert "sampler 'tpee' cannot be compared; choose from random, posterior" in error
    assert "'blond'" in error_of("compare-samplers", study, "--family", "blond")
    assert "digits-4x21 does not exist" in error_of("compare-samplers", "digits-4x21")
    keep_study(write_study(tmp_path), most=12)
    error = error_of("compare-samplers", tmp_path)
    assert f"{tmp_path / 'study.db'} has results of 12 of the budget's 21 schedules" in error


@pytest.mark.slow
def test_an_interrupt_ends_it_at_once(study: Path, command: Command) -> None:
    process = command("compare-samplers", study, "--repetitions", 2000, "--samplers", "gp")
    wait_for(lambda: children_of(process.pid))
    # As a terminal does it: to every process, here while the workers are starting.
    os.killpg(process.pid, signal.SIGINT)
    assert "Interrupted; nothing is kept." in output_of_process(process, status=130)


def children_of(parent: int) -> str:
    return Path(f"/proc/{parent}/task/{parent}/children").read_text().strip()
