"""Where the scales of a ladder are, and their training runs as one tidy table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import DATABASE, Storage, open_log, storage_of
from dynamoe_search.log.table import runs_table
from dynamoe_search.plan.confirmation import Confirmation, loss_alone

COLUMNS = (
    *("scale", "label", "group", "candidate", "seed", "loss", "training_flops"),
    *("total_parameters", "active_parameters", "samples"),
)


def scale_folder(study_folder: Path, scale: int) -> Path:
    """The folder of one scale: a study like any other."""
    return study_folder / "ladder" / f"scale-{scale}"


def scale_storage(storage: Storage, study_folder: Path, scale: int) -> Storage:
    """Where the log of one scale is.

    In its folder, as that of the study is in its own; where the study's log is elsewhere, there,
    under the study's name with the scale after it.
    """
    folder = scale_folder(study_folder, scale)
    homes = study_folder.absolute(), study_folder.absolute().parent  # of a study with a name, above
    if storage.kind == "sqlite" and storage.file in [home / DATABASE for home in homes]:
        return storage_of(folder)
    return replace(storage, name=f"{storage.name}-scale-{scale}")


def ladder_table(storage: Storage, study_folder: Path) -> pd.DataFrame:
    """The complete training runs of all scales; `Study.ladder` has the columns."""
    found: list[pd.DataFrame] = []
    while (rows := _rows_of_scale(len(found) + 1, storage, study_folder)) is not None:
        found.append(rows)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*COLUMNS])


def _rows_of_scale(scale: int, storage: Storage, study_folder: Path) -> pd.DataFrame | None:
    """Those of one scale; None where it has not begun, or no training run of it is complete."""
    if not scale_folder(study_folder, scale).is_dir():
        return None
    state = State()
    try:
        with open_log(scale_storage(storage, study_folder, scale), create=False) as log:
            catch_up(log, state)
    except InvalidInput:  # it has not begun
        return None
    if state.study_file is None or state.confirmation is None:
        return None
    runs = runs_table(state.stages["confirmation"].runs, loss_alone(state.study_file))
    complete = (runs["state"] == "complete").any()
    return _rows(scale, runs, state.confirmation) if complete else None


def _rows(scale: int, runs: pd.DataFrame, confirmation: Confirmation) -> pd.DataFrame:
    """A row for each label and seed; contenders have their labels as their `baselines`."""
    complete = runs[runs["state"] == "complete"].rename(columns={"test_loss": "loss"})
    complete = complete.drop_duplicates(["candidate", "seed"], keep="last").drop(columns="group")
    labels = pd.DataFrame(
        [
            {"scale": scale, "label": label, "group": one.group, "candidate": one.candidate}
            for one in confirmation.contenders
            for label in one.baselines
        ]
    )
    return labels.merge(complete, on="candidate")[list(COLUMNS)]
