"""Runs and decisions as event files, read back by TensorBoard itself."""

from pathlib import Path
from typing import Any

import pytest

from dynamoe_search.trackers import TensorBoardTracker
from dynamoe_search.trackers.happenings import Conclusion
from tests.trackers import told

pytest.importorskip("tensorboard")
pytestmark = pytest.mark.slow  # its import alone takes a second


def read(folder: Path) -> Any:
    """What TensorBoard finds in a folder."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    return EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()


def text_of(found: Any, run: str, tag: str) -> str:
    (event,) = found.Tensors(run, f"{tag}/text_summary")
    return str(event.tensor_proto.string_val[0].decode())


def test_runs_and_the_decision_are_read_back(small_study: Path, tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    study, folder = told.begin(small_study), tmp_path / "tensorboard"
    told.tell(study, [TensorBoardTracker(folder)])
    (own,) = folder.iterdir()
    found = read(own)
    row = study.training_runs().iloc[0]
    name = f"search/run 0000 descending/seed {row['seed']}"
    assert len(found.Runs()) == 11
    curve = found.Scalars(name, "curve/loss")
    assert [point.value for point in curve] == pytest.approx([p["loss"] for p in row["curve"]])
    assert curve[-1].wall_time == pytest.approx(row["finished"].timestamp())
    (loss,) = found.Scalars(name, "result/validation_loss")
    assert (loss.value, loss.step) == (pytest.approx(row["validation_loss"]), row["samples"])
    assert "state: complete" in text_of(found, name, "about")
    metadata = found.SummaryMetadata(name, "_hparams_/session_start_info")
    session = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
    assert session.hparams["schedule"].string_value == "5-4-2-1"
    assert session.hparams["router.k"].number_value == 1

    failed = "search/run 0002 uniform/seed 5"
    assert "message: why: diverged" in text_of(found, failed, "about")
    assert "curve/loss" not in found.Runs()[failed]["scalars"]

    (regret,) = found.Scalars("search/decision", "decision/expected_regret")
    assert (regret.value, regret.step) == (0.25, 5)
    assert "Take it.\n\nIt is sure." in text_of(found, "search/decision", "decision")


def test_another_session_adds_what_is_missing(small_study: Path, tmp_path: Path) -> None:
    study, folder = told.begin(small_study), tmp_path / "tensorboard"

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    told.tell(study, [TensorBoardTracker(folder)])
    first = files()
    next(iter(first)).unlink()  # a session that was killed before it wrote this one
    told.tell(study, [TensorBoardTracker(folder)])
    assert files().keys() == first.keys()
    told.add(study, "complete")
    told.tell(study, [TensorBoardTracker(folder)], Conclusion("3-3-3-3", (), {"margin": 1.0}))
    second = files()
    assert len(second) == len(first) + 3
    assert all(second[path] == first[path] for path in list(first)[1:])
    (own,) = folder.iterdir()
    steps = [point.step for point in read(own).Scalars("search/decision", "decision/margin")]
    assert steps == [5, 6]


def test_a_folder_that_cannot_be_written_stops_nothing(
    small_study: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    told.tell(told.begin(small_study), [TensorBoardTracker(tmp_path / "file")])
    (record,) = caplog.records
    assert "tensorboard failed (NotADirectoryError" in record.message
