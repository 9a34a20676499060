"""From the training runs of a study to a table and its card."""

from pathlib import Path

import numpy as np
import pytest

from dynamoe_search import bench
from dynamoe_search.bench.tabulation import tabulate
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.baselines import count_candidates
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.report.bench_card import bench_card
from dynamoe_search.schedules import enumerate_schedules
from dynamoe_search.study import Study
from tests.conftest import SMALL_STUDY, edit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "studies"
FOLDERS = {
    "digits-4x12": "schedule-bench",
    "text-4x16": "text-bench",
    "text-4x32-active": "text-active-bench",
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Four schedules of five experts, each trained twice."""
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(
        path,
        ("depth = 4", "depth = 2"),
        ("experts = 12", "experts = 5"),
        ("epochs = 2", "epochs = 1"),
        ('"random"', '"exhaustive"'),
        ("runs = 14", 'runs = 8\nmeasure = ["gradients", "utilization"]'),
    )
    study = Study(path)
    study.run(workers=1, progress=False)
    return study


def test_a_table_holds_what_the_study_recorded(study: Study) -> None:
    runs = study.training_runs()
    table = tabulate(runs, study.file, (), study.title)
    assert table.name == "digits-2x5"
    assert list(table.schedules) == list(enumerate_schedules(total=5, depth=2))
    for run in runs.to_dict("records"):
        row = table.runs[table.runs["run"] == run["run"]].iloc[0]
        for column in set(table.columns) - {"curve"}:
            assert row[column] == run[column], column
        assert [point["loss"] for point in row["curve"]] == [p["loss"] for p in run["curve"]]
        # The noise of the run is that of its points.
        means = {
            name: np.mean([point[name] for point in row["curve"]])
            for name in ("gradient_trace", "gradient_squared_norm")
        }
        assert means["gradient_trace"] == pytest.approx(row["gradient_trace"])
        ratio = means["gradient_trace"] / means["gradient_squared_norm"]
        assert ratio == pytest.approx(row["gradient_noise"])
    assert StudyFile.model_validate_json(table.study) == study.file
    assert table.data == study.data.fingerprint
    assert table.versions["torch"] == runs["version_torch"][0]
    assert (table.runs["group"] == runs.set_index("run")["group"][table.runs["run"]].array).all()


def test_an_unfinished_study_is_told_how_to_go_on(study: Study) -> None:
    runs = study.training_runs()
    with pytest.raises(InvalidInput, match="1 of the budget's 4 schedules have been trained 2 tim"):
        tabulate(runs[runs["run"] < 5], study.file, (), "it")
    with pytest.raises(InvalidInput, match="no training run of this study is complete yet"):
        tabulate(runs[:0], study.file, (), "it")
    failed = runs.assign(state=runs["state"].where(runs["run"] != 3, "diverged"))
    with pytest.raises(InvalidInput, match="3 of the budget's 4 schedules have been trained 2 tim"):
        tabulate(failed, study.file, (), "it")


def test_what_was_not_measured_is_told(study: Study) -> None:
    search = study.file.search.model_copy(update={"measure": ("gradients",)})
    study_file = study.file.model_copy(update={"search": search})
    with pytest.raises(InvalidInput, match=r"it has not measured utilization; .*utilization\"\]"):
        tabulate(study.training_runs(), study_file, (), "it")


def test_gradients_are_there_where_they_were_measured(study: Study, tmp_path: Path) -> None:
    runs = study.training_runs()
    without = runs.drop(columns=["gradient_noise", "gradient_trace", "gradient_squared_norm"])
    table = tabulate(without.assign(gradients=None), study.file, (), "it")
    assert set(tabulate(runs, study.file, (), "it").columns) - set(table.columns) == {
        column for column in bench.OPTIONAL if column.startswith("gradient")
    }
    assert set(table.runs["curve"][0][0]) == {"fraction", "samples", "flops", "loss", "accuracy"}
    assert "gradient" not in bench_card(table, "it").split("## Columns")[0]
    bench.write_bench(table, tmp_path)
    assert bench.load(table.name, tmp_path).columns == table.columns


def test_a_study_that_was_changed_is_refused(study: Study) -> None:
    with pytest.raises(InvalidInput, match="it was changed after it was begun; begin another"):
        tabulate(study.training_runs(), study.file, ("epochs",), "it")


def test_different_versions_are_all_named(study: Study) -> None:
    runs = study.training_runs()
    other = runs.assign(version_torch=["1.0", *runs["version_torch"][1:]])
    table = tabulate(other, study.file, (), "it")
    assert table.versions["torch"] == f"1.0, {runs['version_torch'][0]}"


@pytest.mark.parametrize("name", bench.names())
def test_a_table_that_comes_along_is_of_the_study_beside_its_card(name: str) -> None:
    table, folder = bench.load(name), STUDIES / FOLDERS[name]
    study_file = read_study_file(folder / "study.toml")
    assert StudyFile.model_validate_json(table.study) == study_file
    assert study_file.search.sampler == "exhaustive"
    assert len(table.schedules) == count_candidates(study_file, study_file.budget.experts)
    seeds = study_file.search.blocks * study_file.training.seeds
    assert table.losses.shape == (len(table.schedules), seeds)
    assert not table.losses.isna().any(axis=None)
    assert not table.runs[list(table.columns)].isna().any(axis=None)
    costs = table.means["flops_per_token"].round(6).nunique()
    assert (costs == 1) == study_file.data.is_text
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == bench_card(table, f"dynamoe-search bench studies/{FOLDERS[name]}")
