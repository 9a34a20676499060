"""``analyze``, on a study in which all is measured."""

import re
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.log.table import measurement_table
from dynamoe_search.statistics import estimate_means
from dynamoe_search.study import Study
from tests.cli.calls import error_of, output_of
from tests.conftest import SMALL_STUDY, edit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study in which all is measured, with a router whose K varies."""
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(
        path,
        ('"top_k"\nk = 1', '"top_p"'),
        ("runs = 14", "runs = 9"),
        ('"blend"', '"blend"\nmeasure = ["gradients", "utilization", "representation"]'),
    )
    Study(path).run(workers=1, progress=False)
    return path.parent


def test_what_was_measured_is_in_the_rows_and_the_leaderboard(study: Path, tmp_path: Path) -> None:
    runs = Study(study).training_runs()
    for name in ("gradient_noise_router", "gini", "effective_rank_first"):
        assert runs[name].notna().all()
    assert (runs["measuring_seconds"] > 0).all()
    gradients = measurement_table(runs, "gradients")
    assert gradients.groupby("run")["fraction"].nunique().tolist() == [10] * 9
    network = gradients[(gradients["run"] == 0) & (gradients["group"] == "network")]
    assert network["trace"].mean() == pytest.approx(runs["gradient_trace"][0])
    loads = measurement_table(runs, "load")
    assert loads.groupby(["run", "layer"])["share"].sum().tolist() == pytest.approx([1.0] * 36)
    shown = output_of("leaderboard", study, "--csv", tmp_path / "board.csv")
    for text in ("gradients, ± 95 %", "utilization, ± 95 %", "representation, ± 95 %"):
        assert text in shown
    assert re.search(r"Measuring took \d+ s, .+ of the time of training\.", shown)
    board = pd.read_csv(tmp_path / "board.csv")
    expected = estimate_means(runs["gini"], runs["candidate"], runs["seed"])["mean"]
    assert board["gini"][0] == pytest.approx(expected[board["candidate"][0]])
    assert board["gini_high"][0] > board["gini"][0]


def test_a_study_that_asks_for_nothing_pays_nothing(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 1"), ("epochs = 2", "epochs = 1"))
    Study(small_study).run(workers=1, progress=False)
    runs = Study(small_study).training_runs()
    assert runs["gini"].isna().all()
    assert measurement_table(runs, "load").empty
    assert "Measuring" not in output_of("leaderboard", small_study)


def test_one_network_is_analyzed_and_written(study: Path, tmp_path: Path) -> None:
    shown = output_of("analyze", study, "--every", 5, "--out", tmp_path / "out")
    assert re.match(r"Run \d+: [\d-]+, block 0 \(seed \d+\), validation loss", shown)
    # It is the same network again, which is not said.
    assert "similar, not the same" not in shown
    for text in ("effective rank", "nats beyond chance", "Gradient noise scale", "layers"):
        assert text in shown
    assert re.search(r"Following it took \d+\.\d s beside training\.", shown)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"utilization.csv", "gradients.csv", "groups.csv", "load.png", "likeness.csv"} <= written
    for history in ("gradient_history.csv", "utilization_history.csv"):
        table = pd.read_csv(tmp_path / "out" / history)
        assert table["fraction"].unique().tolist() == [0.5, 1.0]


def test_the_network_of_a_run_or_a_schedule_is_taken(study: Path) -> None:
    runs = Study(study).training_runs()
    last = runs["run"].max()
    shown = output_of("analyze", study, "--run", last)
    assert shown.startswith(f"Run {last}: {runs['candidate'][last]}, ")
    # Of a schedule, that of the first block; it is kept, and not trained again.
    first = runs[runs["candidate"] == "3-3-3-3"].iloc[0]
    for _ in range(2):
        shown = output_of("analyze", study, "--schedule", "3-3-3-3")
        assert shown.startswith(f"Run {first['run']}: 3-3-3-3, block 0 (seed {first['seed']})")
    kept = f"search-{first['run']:05d}-{first['seed']}.safetensors"
    assert (study / "models" / kept).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--run", 0, "--schedule", "3-3-3-3"), "--run and --schedule are both given"),
        (("--schedule", "2-2-2-6"), "2-2-2-6 was not trained"),
        (("--schedule", "2-2-2-"), "'2-2-2-' is no"),
        (("--run", 99), "run 99 is missing; choose one that is complete, from 0 to 8"),
        (("--device", "nowhere"), "--device nowhere cannot be used"),
        (("--out", "/dev/null/out"), "/dev/null/out cannot be made"),
    ],
)
def test_mistakes_are_told(study: Path, options: tuple[object], message: str) -> None:
    assert message in error_of("analyze", study, *options)
