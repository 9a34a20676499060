"""``analyze``, ``bounds --study`` and what a study had measured, as a user runs them."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from dynamoe_search.run.run import run_study
from typer.testing import CliRunner

from dynamoe_search.claims.units import load_runs
from dynamoe_search.cli.app import app
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.table import measurement_table
from dynamoe_search.run.session import Resources
from tests.conftest import edit


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in which all is measured, with a router whose K varies."""
    from tests.conftest import SMALL_STUDY

    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(
        path,
        ('"top_k"\nk = 1', '"top_p"'),
        ("runs = 14", "runs = 9"),
        ('"blend"', '"blend"\nmeasure = ["gradients", "utilization", "representation"]'),
    )
    run_study(path, Resources(workers=1))
    return path


def test_what_was_measured_is_in_the_rows_and_the_leaderboard(study: Path) -> None:
    runs = load_runs(study)
    for name in ("gradient_noise_router", "gini", "effective_rank_first"):
        assert runs[name].notna().all()
    assert (runs["measuring_seconds"] > 0).all()
    gradients = measurement_table(runs, "gradients")
    assert gradients.groupby("run")["fraction"].nunique().tolist() == [10] * 9
    network = gradients[(gradients["run"] == 0) & (gradients["group"] == "network")]
    assert network["trace"].mean() == pytest.approx(runs["gradient_trace"][0])
    loads = measurement_table(runs, "load")
    assert loads.groupby(["run", "layer"])["share"].sum().tolist() == pytest.approx([1.0] * 36)
    shown = run("leaderboard", study.parent, "--csv", study.with_name("board.csv"))
    for text in ("gradients, ± 95 %", "utilization, ± 95 %", "representation, ± 95 %"):
        assert text in shown
    assert re.search(r"Measuring took \d+ s, \d+% of the time of training", shown)
    board = pd.read_csv(study.with_name("board.csv"))
    best = runs[runs["candidate"] == board["schedule"][0]]
    assert board["gini"][0] == pytest.approx(best["gini"].mean())
    assert board["gini_high"][0] > board["gini"][0]


def test_a_study_that_asks_for_nothing_pays_nothing(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 1"), ("epochs = 2", "epochs = 1"))
    run_study(small_study, Resources(workers=1))
    runs = load_runs(small_study)
    assert runs["gini"].isna().all()
    assert measurement_table(runs, "load").empty
    assert "Measuring" not in run("leaderboard", small_study)
    with pytest.raises(InvalidInput, match="no measurements 'loads'; choose from gradients"):
        measurement_table(runs, "loads")


def test_one_network_is_analyzed_and_written(study: Path, tmp_path: Path) -> None:
    shown = run("analyze", study, "--every", 5, "--out", tmp_path / "out")
    assert re.match(r"Trial \d+: [\d-]+, block 0 \(seed \d+\), validation loss", shown)
    assert "like network" not in shown
    for text in ("effective rank", "nats beyond chance", "Gradient noise scale", "layers"):
        assert text in shown
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"utilization.csv", "gradients.csv", "groups.csv", "load.png", "likeness.csv"} <= written
    history = pd.read_csv(tmp_path / "out" / "gradient_history.csv")
    assert history["fraction"].unique().tolist() == [0.5, 1.0]
    history = pd.read_csv(tmp_path / "out" / "utilization_history.csv")
    assert history["fraction"].unique().tolist() == [0.5, 1.0]
    runs = load_runs(study)
    last = runs["run"].max()
    shown = run("analyze", study, "--run", last)
    assert shown.startswith(f"Trial {last}: {runs['candidate'][last]}, ")


def test_mistakes_of_analyze(study: Path) -> None:
    with pytest.raises(InvalidInput, match="--run and --schedule are both given"):
        run("analyze", study, "--run", 0, "--schedule", "3-3-3-3")
    with pytest.raises(InvalidInput, match="2-2-2-6 was not trained"):
        run("analyze", study, "--schedule", "2-2-2-6")


def test_bounds_of_a_study_stand_beside_what_was_measured(study: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / f"bounds.{form}" for form in ("json", "csv", "png")}
    shown = run(
        *("bounds", "--study", study, "--peak-flops", 1e11, "--bandwidth", 1e10),
        *("--json", files["json"], "--csv", files["csv"], "--plot", files["png"]),
    )
    assert "4 layers of width 8 share 12 experts of hidden width 8" in shown
    assert re.search(r"Measured active experts K: .* of the way from floor to ceiling", shown)
    assert re.search(r"of the peak was reached\.", shown)
    table = pd.read_csv(files["csv"])
    assert set(table["quantity"]) == {
        *("active_experts", "flops_per_token", "entropy", "training_seconds")
    }
    ceiling = table["ceiling"].fillna(float("inf"))
    assert table["measured"].between(table["floor"], ceiling).all()
    assert json.loads(files["json"].read_text())[0]["quantity"] == "active_experts"
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    assert "for its bound: dynamoe-search bounds" in run("bounds", "--study", study)
    with pytest.raises(InvalidInput, match="--layers is decided by the study"):
        run("bounds", "--study", study, "--layers", 3)
