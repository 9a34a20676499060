"""The command `plan`."""

from pathlib import Path

import pytest

from tests.cli.calls import error_of, output_of
from tests.conftest import edit

SMALL = (("seeds = 1", "seeds = 2"), ("epochs = 2", "epochs = 1"), ('"random"', '"posterior"'))


@pytest.mark.slow
def test_it_says_what_a_study_can_decide_and_records_nothing(small_study: Path) -> None:
    edit(small_study, *SMALL)
    text = " ".join(output_of("plan", small_study, "--minutes", "0.1", "--workers", "2").split())
    assert "named patterns on 2 seeds each. A training run takes" in text
    assert "The smallest difference of two schedules that it can show is" in text
    assert "takes about" in text
    assert "with 2 workers" in text
    assert "0.01 (the study's)" in text
    assert list(small_study.parent.iterdir()) == [small_study]


@pytest.mark.slow
def test_the_regime_paper_is_planned_without_another_proxy(small_study: Path) -> None:
    edit(small_study, *SMALL, ("experts = 12", 'regime = "paper"\nmaximum = 4'))
    text = output_of("plan", small_study.parent, "--minutes", "0.05")
    assert "Pilot: " in text
    assert "A proxy" not in text


def test_a_mistake_in_the_file_is_named(small_study: Path) -> None:
    edit(small_study, ("depth = 4", "depth = 0"))
    assert "model.depth" in error_of("plan", small_study)
    assert "does not exist" in error_of("plan", small_study.parent / "other.toml")


@pytest.mark.slow
def test_where_all_patterns_are_one_there_is_nothing_to_plan(small_study: Path) -> None:
    edit(small_study, ("experts = 12", "experts = 4"))
    assert "all named patterns are 1-1-1-1" in error_of("plan", small_study)
