"""The training runs of a study of every schedule, as a tabular benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dynamoe_search.bench import Bench
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.allotment import experts_spent
from dynamoe_search.plan.baselines import count_candidates
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import NONE, Schedule

_OF_GRADIENTS = {"trace": "gradient_trace", "squared_norm": "gradient_squared_norm"}


def tabulate(
    runs: pd.DataFrame, study_file: StudyFile, changes: Sequence[str], where: str
) -> Bench:
    """Make a bench of a study; it is named after its data, layers and experts.

    It holds the noise of the gradients, too, where the study has measured it.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.
    study_file : StudyFile
    changes : sequence of str
        How the study file was changed after the study had begun.
    where : str
        What the study is called in messages.

    Raises
    ------
    InvalidInput
        Where not every schedule has been trained from the same seeds, under one study file, or
        something was not measured.
    """
    if "utilization" not in study_file.search.measure:
        raise InvalidInput(
            f"{where} has not measured utilization; a bench needs a study with search.measure ="
            ' ["utilization"]'
        )
    if changes:
        raise InvalidInput(f"{where} was changed after it was begun; begin another study (--name)")
    complete = runs[runs["state"] == "complete"].sort_values(["candidate", "block", "seed"])
    _check_that_all_are_there(complete, study_file)
    versions = {
        column.removeprefix("version_"): _all_of(complete, column)
        for column in complete.columns
        if column.startswith("version_")
    } | {"commit": _all_of(complete, "commit")}
    complete = complete.assign(curve=[_curve(row) for row in complete.to_dict("records")])
    return Bench.of(
        _name(complete, study_file),
        complete.reset_index(drop=True),
        study_file.model_dump_json(exclude_unset=True),
        _all_of(complete, "data"),
        versions,
    )


def _check_that_all_are_there(complete: pd.DataFrame, study_file: StudyFile) -> None:
    if complete.empty:
        raise InvalidInput("no training run of this study is complete yet")
    count = count_candidates(study_file, _total(complete, study_file))
    trained = complete.groupby("candidate")["block"].nunique()
    wanted = study_file.search.blocks
    done = int((trained == wanted).sum())
    if done < count:
        raise InvalidInput(
            f"{done:,} of the budget's {count:,} schedules have been trained {wanted} times; with"
            f' search.sampler "exhaustive" and runs = {count * wanted:,}, `dynamoe-search run`'
            " trains them all, and goes on where it was"
        )


def _total(complete: pd.DataFrame, study_file: StudyFile) -> int:
    """The experts of all layers together."""
    return experts_spent(Schedule.parse(complete["schedule"].iloc[0]), study_file)


def _name(complete: pd.DataFrame, study_file: StudyFile) -> str:
    data = "text" if study_file.data.is_text else study_file.data.name
    active = "" if study_file.search.active_family == NONE else "-active"
    return f"{data}-{study_file.model.depth}x{_total(complete, study_file)}{active}"


def _all_of(complete: pd.DataFrame, column: str) -> str:
    """What the runs were made with: one value, unless the study went on with another."""
    return ", ".join(sorted(complete[column].astype(str).unique()))


def _curve(row: dict[str, Any]) -> list[dict[str, float]]:
    """The points of the learning curve, with the gradients where these were measured."""
    gradients = {
        moment["fraction"]: {name: moment[key] for key, name in _OF_GRADIENTS.items()}
        for moment in row["gradients"] or []
        if moment["group"] == "network"
    }
    return [{**point, **gradients.get(point["fraction"], {})} for point in row["curve"]]
