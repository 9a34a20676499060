"""Trackers by their address."""

import sys
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.trackers import MlflowTracker, TensorBoardTracker, tracker_at


@pytest.mark.slow
def test_an_address_names_its_tracker(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")
    assert isinstance(tracker_at(f"mlflow:sqlite:///{tmp_path}/mlflow.db"), MlflowTracker)
    assert isinstance(tracker_at("mlflow"), MlflowTracker)
    assert isinstance(tracker_at(f"tensorboard:{tmp_path}"), TensorBoardTracker)


@pytest.mark.parametrize(
    "address", ["", "wandb:project", "tensorboard", "tensorboard:", "a:s3cret"]
)
def test_other_addresses_are_refused_and_not_shown(address: str) -> None:
    with pytest.raises(InvalidInput, match="give one of these") as error:
        tracker_at(address)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [
        ("mlflow", "mlflow", "mlflow"),
        ("tensorboard:x", "torch.utils.tensorboard", "tensorboard"),
    ],
)
def test_what_is_not_installed_is_named(
    address: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidInput, match=rf"pip install 'dynamoe-search\[{extra}\]'"):
        tracker_at(address)
