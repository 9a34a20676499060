"""From the records of a study to a table, its card, and searches replayed on it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dynamoe_search.bench.recording import bench_recording
from dynamoe_search.run.run import run_study

from dynamoe_search import bench
from dynamoe_search.bench.tabulation import tabulate
from dynamoe_search.claims.units import load_runs
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.report.bench_card import bench_card
from dynamoe_search.run.session import Resources
from dynamoe_search.schedules import enumerate_schedules
from tests.conftest import SMALL_STUDY, edit

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "schedule-bench"
CHANGES = (
    ("depth = 4", "depth = 2"),
    ("experts = 12", "experts = 5"),
    ('"random"', '"exhaustive"'),
    ("runs = 14", 'runs = 8\nmeasure = ["gradients", "utilization"]'),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four schedules of five experts, each trained twice."""
    folder = tmp_path_factory.mktemp("study")
    path = folder / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(path, *CHANGES)
    run_study(path, Resources(workers=1))
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "dynamoe_search", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_a_table_holds_what_the_study_recorded(study: Path) -> None:
    table = tabulate(study)
    runs = load_runs(study)
    assert table.name == "digits-2x5"
    assert list(table.schedules) == list(enumerate_schedules(total=5, depth=2))
    for run in runs.to_dict("records"):
        row = table.runs[table.runs["run"] == run["run"]].iloc[0]
        for column in set(bench.COLUMNS) - {"curve"}:
            assert row[column] == run[column], column
        assert [point["loss"] for point in row["curve"]] == [p["loss"] for p in run["curve"]]
        # The noise of the training is that of its points.
        means = {
            name: np.mean([point[name] for point in row["curve"]])
            for name in ("gradient_trace", "gradient_squared_norm")
        }
        assert means["gradient_trace"] == pytest.approx(row["gradient_trace"])
        ratio = means["gradient_trace"] / means["gradient_squared_norm"]
        assert ratio == pytest.approx(row["gradient_noise"])
    assert StudyFile.model_validate_json(table.study) == read_study_file(study / "study.toml")
    assert table.versions["torch"] == runs["version_torch"][0]


def test_the_command_writes_a_table_and_its_card(study: Path, tmp_path: Path) -> None:
    found = run("bench", study, "--folder", tmp_path)
    assert found.returncode == 0, found.stderr
    table = bench.load("digits-2x5", tmp_path)
    assert table.ask("3-2").losses == tabulate(study).ask("3-2").losses
    card = (study / "README.md").read_text()
    assert card == bench_card(table, f"dynamoe-search bench {study}")
    assert "All 4 schedules, each trained 2 times" in card
    assert "6 pairs" in card


def test_an_unfinished_study_is_told_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(path, *CHANGES, ("runs = 8", "runs = 5"))
    run_study(path, Resources(workers=1))
    with pytest.raises(InvalidInput, match="1 of the budget's 4 schedules have been trained 2 tim"):
        tabulate(path)


def test_what_was_not_measured_is_told(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(path, *CHANGES, ('measure = ["gradients", "utilization"]', 'measure = ["utilization"]'))
    edit(path, ("runs = 8", "runs = 1"))
    run_study(path, Resources(workers=1))
    with pytest.raises(InvalidInput, match=r"has not measured gradients; .*\[\"gradients\", "):
        tabulate(path)


def test_the_table_that_comes_along_is_of_the_study_beside_its_card() -> None:
    table = bench.load("digits-4x12")
    study_file = read_study_file(STUDY / "study.toml")
    assert StudyFile.model_validate_json(table.study) == study_file
    assert study_file.search.sampler == "exhaustive"
    assert study_file.search.blocks == 5
    card = (STUDY / "README.md").read_text(encoding="utf-8")
    assert card == bench_card(table, "dynamoe-search bench studies/schedule-bench")


def test_searches_are_replayed_on_it(tmp_path: Path) -> None:
    table = bench.load("digits-4x12")
    recording = bench_recording(table, "free")
    assert recording.coverage == 1
    assert recording.blocks == 5
    assert recording.plan.family.name == "free"
    assert all(table.ask(name).losses == losses for name, losses in recording.losses.items())
    with pytest.raises(InvalidInput, match="unknown family 'blond'"):
        bench_recording(table, "blond")


def test_the_command_takes_its_name() -> None:
    options = ("--samplers", "tpe", "--repetitions", 2, "--runs", 12, "--workers", 1)
    found = run("compare-samplers", "digits-4x12", *options)
    assert found.returncode == 0, found.stderr
    assert "Replayed on 165 recorded schedules" in found.stdout
    missing = run("compare-samplers", "digits-4x21")
    assert missing.returncode == 2
    assert "digits-4x21 does not exist" in missing.stderr
