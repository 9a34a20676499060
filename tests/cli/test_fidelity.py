from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.statistics import rank_correlations
from dynamoe_search.study import Study
from tests.cli.calls import error_of, output_of


@pytest.mark.slow
def test_early_looks_are_judged(finished: Path, tmp_path: Path) -> None:
    csv, plot = tmp_path / "f.csv", tmp_path / "f.png"
    shown = output_of("fidelity", finished, "--csv", csv, "--plot", plot)
    assert "None of the 14 training runs was pruned" in shown
    assert "At 25 % of the training the order of candidates agrees" in shown
    table = pd.read_csv(csv)
    expected = rank_correlations(Study(finished).training_runs())
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    # Made-up curves are parallel, so that every look shows the final order.
    assert table["tau"].tolist() == pytest.approx([1.0] * len(table))
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_told(finished: Path, small_study: Path) -> None:
    assert "holds no results yet" in error_of("fidelity", small_study)
    nowhere = finished / "no" / "f.csv"
    assert "cannot be written" in error_of("fidelity", finished, "--csv", nowhere)
