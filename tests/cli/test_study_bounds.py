"""``bounds --study``: measured quantities between their bounds."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.study import Study
from tests.cli.calls import error_of, output_of
from tests.conftest import SMALL_STUDY, edit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a router whose K varies."""
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(path, ('"top_k"\nk = 1', '"top_p"'), ("runs = 14", "runs = 3"))
    Study(path).run(workers=1, progress=False)
    return path.parent


def test_bounds_of_a_study_stand_beside_what_was_measured(study: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / f"bounds.{form}" for form in ("json", "csv", "png")}
    shown = output_of(
        *("bounds", "--study", study, "--peak-flops", 1e11, "--bandwidth", 1e10),
        *("--json", files["json"], "--csv", files["csv"], "--plot", files["png"]),
    )
    assert "4 layers of width 8 share 12 experts of hidden width 8" in shown
    assert re.search(r"Measured active experts K: .* of the way from floor to ceiling", shown)
    assert re.search(r"of the peak was reached\.", shown)
    table = pd.read_csv(files["csv"])
    assert set(table["candidate"]) == set(Study(study).leaderboard()["candidate"])
    assert set(table["quantity"]) == {
        *("active_experts", "flops_per_token", "entropy", "training_seconds")
    }
    ceiling = table["ceiling"].fillna(float("inf"))
    assert table["measured"].between(table["floor"], ceiling).all()
    record = json.loads(files["json"].read_text())
    assert [row["quantity"] for row in record] == table["quantity"].tolist()
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_without_a_machine_times_have_no_bound(study: Path, tmp_path: Path) -> None:
    shown = output_of("bounds", "--study", study, "--csv", tmp_path / "b.csv")
    assert "for its bound: dynamoe-search bounds" in shown
    table = pd.read_csv(tmp_path / "b.csv").set_index("quantity")
    assert table.loc["training_seconds", "floor"].isna().all()


def test_mistakes_are_told(study: Path, small_study: Path) -> None:
    error = error_of("bounds", "--study", study, "--layers", 3)
    assert "--layers is decided by the study" in error
    assert "holds no results yet" in error_of("bounds", "--study", small_study)
    assert "cannot be written" in error_of("bounds", "--study", study, "--json", study / "no" / "f")
