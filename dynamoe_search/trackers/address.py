"""Trackers by their address, as ``--track`` takes it."""

from __future__ import annotations

from dynamoe_search.errors import InvalidInput
from dynamoe_search.trackers.happenings import Callback


def tracker_at(address: str) -> Callback:
    """The tracker at an address.

    Parameters
    ----------
    address : str
        ``mlflow:URI``, or ``mlflow`` for the URI that MLflow itself is set to; or
        ``tensorboard:FOLDER``.

    Raises
    ------
    InvalidInput
        For another address, or where the package of the tracker is not installed.
    """
    kind, _, place = address.partition(":")
    if kind == "mlflow":
        from dynamoe_search.trackers.mlflow_runs import MlflowTracker

        return MlflowTracker(place or None)
    if kind == "tensorboard" and place:
        from dynamoe_search.trackers.tensorboard_files import TensorBoardTracker

        return TensorBoardTracker(place)
    # An address may hold a password, so it is not shown.
    raise InvalidInput("a tracker is mlflow:URI, mlflow, or tensorboard:FOLDER; give one of these")
