"""``ladder``, whose training runs are made up."""

from pathlib import Path

import pandas as pd
import pytest

from tests.cli.calls import dynamoe_search, error_of, output_of
from tests.conftest import edit
from tests.report import made_up


@pytest.fixture
def searched(small_study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study that was searched."""
    edit(small_study, ("runs = 14", "runs = 8"))
    made_up.search(small_study)
    monkeypatch.setattr("dynamoe_search.run.session._carry_on", made_up.carry_on)
    return small_study.parent


@pytest.mark.slow
def test_a_ladder_in_words_tables_and_a_plot(searched: Path) -> None:
    plot, csv = searched / "ladder.png", searched / "seeds.csv"
    options = ("--seeds", 2, "--baseline", "ascending", "--finalists", 1, "--at", 1e21)
    said = output_of("ladder", searched, *options, "--plot", plot, "--csv", csv)
    assert "Scale 1: 4 layers of width 8, 12 experts of hidden width 8, 2,322 parameters" in said
    assert "Scale 3: 8 layers of width 16, 24 experts of hidden width 16" in said
    assert "passes over the same data; 3 candidates from 2 seeds." in said
    assert "In the mean, descending is better than uniform at every scale" in said
    assert "In the mean, ascending is worse than uniform at every scale" in said
    assert "Extrapolated to 1e+21 training FLOPs" in said
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(csv)) == 3 * 3 * 2
    table = pd.read_csv(searched / "ladder.csv")
    assert len(table) == 3 * 3
    assert {"difference", "low", "high", "multiplier", "training_flops"} <= set(table)
    # The same command goes on, and finds nothing left to do.
    assert output_of("ladder", searched, *options).endswith(f"{searched / 'ladder.csv'}\n")


@pytest.mark.slow
def test_mistakes_are_told(searched: Path) -> None:
    assert "no baseline 'spiral'" in error_of("ladder", searched, "--baseline", "spiral")
    assert "growth is 1" in error_of("ladder", searched, "--growth", 1)
    output_of("ladder", searched, "--seeds", 2, "--baseline", "wave", "--finalists", 0)
    error = error_of("ladder", searched, "--reference", "pyramid", status=1)
    assert "no results of 'pyramid' to compare with; it has uniform, wave" in error


def test_an_interrupted_ladder_says_so(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamoe_search.run.session._carry_on", lambda *arguments: "interrupted")
    ended = dynamoe_search("ladder", searched, "--seeds", 2)
    assert ended.status == 130
    assert "Interrupted; the same command goes on." in ended.output
