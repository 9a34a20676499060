"""A study that searches how many experts each layer uses, from its first run to its report."""

from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search import Study
from tests.cli.calls import output_of
from tests.conftest import edit

COMPUTE = ("experts = 12", 'experts = 12\nregime = "compute"\nactive = 1.5')


def columns_of(study: Path) -> pd.DataFrame:
    return Study(study).training_runs()


@pytest.mark.slow
def test_a_study_of_active_schedules_runs_resumes_and_ends(small_study: Path) -> None:
    moves = 'family = "none"\nactive_family = "blend"'
    edit(small_study, COMPUTE, ('family = "blend"', moves), ("k = 1", "k = 2"))
    edit(small_study, ('"random"', '"posterior"'), ("runs = 14", "runs = 7"))
    edit(small_study, ("epochs = 2", "epochs = 1"))
    planned = output_of("plan", small_study, "--minutes", 0.05)
    assert "move in the blend family, at an equal sum of 6" in planned
    output_of("run", small_study, "--workers", 1)
    edit(small_study, ("runs = 7", "runs = 9"))
    output_of("run", small_study, "--workers", 1)
    runs = columns_of(small_study)
    assert len(runs) == 9
    assert (runs["state"] == "complete").all()
    assert set(runs["schedule"]) == {"3-3-3-3"}
    assert {sum(map(int, text.split("-"))) for text in runs["active_schedule"]} == {6}
    assert runs["total_parameters"].nunique() == runs["flops_per_token"].nunique() == 1
    for one in runs.itertuples():
        assert "-".join(f"{k:g}" for k in one.mean_active) == one.active_schedule
    board = output_of("leaderboard", small_study)
    assert "active_descending" in board
    assert "3-3-3-3 active=2-2-1-1" in board
    report = small_study.with_name("report.html")
    output_of("report", small_study, "--out", report)
    assert "3-3-3-3 active=2-2-1-1" in report.read_text()


@pytest.mark.slow
def test_a_study_of_placements_runs_and_ends(small_study: Path) -> None:
    edit(small_study, ("experts = 12", "experts = 16\nminimum = 0"), ("k = 1", "k = 2"))
    edit(small_study, ("epochs = 2", "epochs = 1"), ("runs = 14", "runs = 10"))
    assert "a dense block of width 17" in output_of("run", small_study, "--workers", 1)
    runs = columns_of(small_study)
    late = runs[runs["pattern"] == "late"]
    assert late["candidate"].tolist() == ["0-0-6-6"]
    assert runs["total_parameters"].nunique() == runs["flops_per_token"].nunique() == 1
    assert late["mean_active"].tolist() == [[0, 0, 2, 2]]
    assert "late" in output_of("bounds", "--study", small_study)
