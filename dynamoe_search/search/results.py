"""The trials of a study as a tidy table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dynamoe_search.schedules import Schedule
from dynamoe_search.search.plan import baseline_schedules, names_of
from dynamoe_search.search.records import claim_of, state_of
from dynamoe_search.search.storage import open_study
from dynamoe_search.search.study_file import read_study_file, study_path

_MEASURED = (
    "validation_loss",
    "validation_accuracy",
    "perplexity",
    "bits_per_byte",
    "active_experts",
    "total_parameters",
    "active_parameters",
    "flops_per_token",
    "training_flops",
    "samples",
    "seconds",
    "cpu_seconds",
)


def load_trials(study: Path) -> pd.DataFrame:
    """All trials of a study, a row each.

    Parameters
    ----------
    study : Path
        The study file, or its folder.

    Returns
    -------
    DataFrame
        ``trial``, ``schedule``, ``pattern`` (the schedule's name, if it has one), ``replicate``,
        ``seed``, ``state`` (complete, running, repeat, died, interrupted, diverged, out of memory,
        error), ``message``, the results (``validation_loss`` in nats, ``validation_accuracy``,
        ``perplexity`` and ``bits_per_byte`` (NaN for images), ``active_experts`` (K on the
        validation split, its mean over tokens and layers), ``total_parameters``,
        ``active_parameters``, ``flops_per_token``, ``training_flops``, ``samples``, ``seconds``,
        ``cpu_seconds``), ``mean_active`` (a list, one value a layer),
        ``started``, ``finished``, ``data`` (the fingerprint), ``torch``, and the family's
        parameters as Optuna holds them, each in a column ``parameter_...``.

    Raises
    ------
    InvalidInput
        Where there is no such study, or it holds no results yet.
    """
    path = study_path(study)
    study_file = read_study_file(path)
    names: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for trial in open_study(path.parent).get_trials(deepcopy=False):
        claim, attributes = claim_of(trial), trial.user_attrs
        result = attributes.get("result", {})
        schedule = claim.schedule if claim else attributes.get("repeat", {}).get("schedule", "")
        if schedule and not names:
            matched = study_file.budget.regime != "paper"
            total = Schedule.parse(schedule).total if matched else None
            names = names_of(baseline_schedules(study_file, total))
        rows.append(
            {
                "trial": trial.number,
                "schedule": schedule,
                "pattern": names.get(schedule, ""),
                "replicate": claim.replicate if claim else None,
                "seed": claim.seed if claim else None,
                "state": state_of(trial),
                "message": attributes.get("failure", {}).get("message", ""),
                **{name: result.get(name, float("nan")) for name in _MEASURED},
                "mean_active": result.get("mean_active"),
                "started": trial.datetime_start,
                "finished": trial.datetime_complete,
                "data": result.get("data"),
                "torch": result.get("versions", {}).get("torch"),
                **{f"parameter_{name}": value for name, value in trial.params.items()},
            }
        )
    columns = ["trial", "schedule", "pattern", "replicate", "seed", "state", "message", *_MEASURED]
    trials = pd.DataFrame(rows, columns=None if rows else columns)
    return trials.astype({"replicate": "Int64", "seed": "Int64"})
