"""Where the scales of a ladder are, and their training runs as one tidy table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from dynamoe_search.log.storage import DATABASE, Storage, storage_of
from dynamoe_search.plan.confirmation import Confirmation

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


def ladder_rows(scale: int, runs: pd.DataFrame, confirmation: Confirmation) -> pd.DataFrame:
    """The complete training runs of one scale: a row for each label and seed.

    Parameters
    ----------
    scale : int
    runs : DataFrame
        As `Study.training_runs` gives those of a confirmation.
    confirmation : Confirmation
        Its contenders have what each is called over all scales as their `baselines`.
    """
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
