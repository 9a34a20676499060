"""``bench``, on a study of every schedule whose results are made up."""

from dataclasses import replace
from pathlib import Path

import pytest

from dynamoe_search import bench
from dynamoe_search.bench.tabulation import tabulate
from dynamoe_search.log.runs import RunResult
from dynamoe_search.report.bench_card import bench_card
from dynamoe_search.study import Study
from tests.bench.exhaustive import DIGITS, keep_study, write_study
from tests.cli.calls import error_of, output_of
from tests.report.made_up import made_up_result

MEASURED = ("blocks = 3", 'blocks = 3\nmeasure = ["gradients", "utilization"]')


def result_of(candidate: str, seed: int) -> RunResult:
    result = made_up_result(candidate, seed, DIGITS.fingerprint, measured=True)
    return replace(result, versions={"dynamoe_search": "0.2.0"})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    keep_study(write_study(tmp_path, MEASURED), result_of=result_of)
    return tmp_path


def test_a_table_and_its_card_are_written(study: Path) -> None:
    tables = study / "tables"
    said = output_of("bench", study, "--folder", tables)
    assert f"wrote {tables / 'digits-3x8.parquet'}" in said
    table = bench.load("digits-3x8", tables)
    opened = Study(study)
    expected = tabulate(opened.training_runs(), opened.file, (), "it")
    assert (table.losses.to_numpy() == expected.losses.to_numpy()).all()
    assert table.losses.shape == (21, 3)
    card = (study / "README.md").read_text()
    assert card == bench_card(table, f"dynamoe-search bench {study}")
    assert "All 21 schedules, each trained from the same 3 seeds: 63 training runs" in card


def test_mistakes_are_told(finished: Path, tmp_path: Path) -> None:
    assert f"{finished / 'study.db'} has not measured utilization" in error_of("bench", finished)
    few = write_study(tmp_path, MEASURED)
    assert "holds no results yet" in error_of("bench", few)
    keep_study(few, most=62, result_of=result_of)
    assert "20 of the budget's 21 schedules have been trained 3 times" in error_of("bench", few)
