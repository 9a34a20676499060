"""Runs and decisions in a local store of MLflow, read back by its own client."""

import os
import shutil
from pathlib import Path

import pytest

from dynamoe_search.study import Study
from dynamoe_search.trackers import MlflowTracker
from dynamoe_search.trackers.happenings import Conclusion
from tests.trackers import told

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow  # its import alone takes a second


@pytest.fixture(scope="module")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: to make its tables takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(_empty_store: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(_empty_store, tmp_path / 'mlflow.db')}"


@pytest.fixture
def study(small_study: Path) -> Study:
    return told.begin(small_study)


def runs_in(uri: str, study: Study) -> dict:
    """All runs of MLflow in the study's experiment, by name."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.title)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    named = {run.info.run_name: run for run in runs}
    assert len(named) + 4 == len(runs)  # runs that failed in three ways have two names
    return named


def test_runs_and_the_decision_are_read_back(study: Study, uri: str) -> None:
    from mlflow import MlflowClient

    told.tell(study, [MlflowTracker(uri)])
    runs, table = runs_in(uri, study), study.training_runs()
    row = table.iloc[0]
    run = runs[f"descending seed {row['seed']}"]
    assert run.info.status == "FINISHED"
    assert run.data.params["schedule"] == "5-4-2-1"
    assert run.data.params["router.k"] == "1"
    assert run.data.metrics["validation_loss"] == row["validation_loss"]
    assert run.data.metrics["training_flops"] == row["training_flops"]
    assert run.data.metrics["training_seconds"] == 1.0
    assert run.data.tags["state"] == "complete"
    assert run.data.tags["stage"] == "search"
    assert run.info.end_time == pytest.approx(row["finished"].timestamp() * 1000, abs=1)
    curve = MlflowClient(uri).get_metric_history(run.info.run_id, "curve/loss")
    assert sorted(point.value for point in curve) == sorted(p["loss"] for p in row["curve"])

    failed = runs["uniform seed 5"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["message"].startswith("why: ")
    assert "validation_loss" not in failed.data.metrics

    decision = runs["search decision"]
    assert decision.data.tags["mlflow.note.content"] == "Take it.\n\nIt is sure."
    assert decision.data.tags["candidate"] == "6-3-2-1"
    assert decision.data.metrics == {"expected_regret": 0.25, "margin": 0.5}


def test_another_session_adds_what_is_missing(
    study: Study, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    class Killed(MlflowClient):
        """Fails after a run was made, as a session that is killed there."""

        left = 3

        def log_batch(self, *arguments: object, **options: object) -> None:
            self.left -= 1
            if not self.left:
                raise SystemError("killed")
            super().log_batch(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("mlflow.MlflowClient", Killed)
    told.tell(study, [MlflowTracker(uri)])
    assert "mlflow failed (SystemError: killed)" in caplog.text
    monkeypatch.undo()
    told.tell(study, [MlflowTracker(uri)])
    once = runs_in(uri, study)
    assert {run.info.status for run in once.values()} == {"FINISHED", "FAILED"}

    told.add(study, "complete")
    later = Conclusion("3-3-3-3", ("Take another.",), {"expected_regret": 0.125})
    told.tell(study, [MlflowTracker(uri)], later)
    told.tell(study, [MlflowTracker(uri)], later)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.title)
    assert experiment is not None
    ids = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    assert ids >= {run.info.run_id for run in once.values()}  # which stayed as they were
    assert len(ids) == len(once) + 4 + 2
    decision = client.get_run(once["search decision"].info.run_id)
    assert decision.data.tags["mlflow.note.content"] == "Take another."
    regret = client.get_metric_history(decision.info.run_id, "expected_regret")
    assert [(point.step, point.value) for point in regret] == [(5, 0.25), (6, 0.125)]


def test_two_studies_of_one_name_are_two(study: Study, uri: str, tmp_path: Path) -> None:
    told.tell(study, [MlflowTracker(uri)])
    before = runs_in(uri, study)
    (tmp_path / "study.db").unlink()
    path = tmp_path / "study.toml"
    path.write_text(path.read_text().replace("seeds = 2", "seeds = 1"))
    told.tell(told.begin(path), [MlflowTracker(uri)])
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.title)
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 2 * (len(before) + 4)


def test_a_store_that_cannot_be_had_stops_nothing(
    study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    told.tell(study, [MlflowTracker("unknown://store")])
    warnings = [one for one in caplog.records if one.name.startswith("dynamoe_search")]
    assert ["mlflow failed" in one.message for one in warnings] == [True]
