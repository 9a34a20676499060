"""The trials of a study as a tidy table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.definition import changes_of, recorded_study_file
from dynamoe_search.log.records import claim_of, state_of
from dynamoe_search.log.storage import Place, open_study, place_of
from dynamoe_search.measure.quantities import MEASURED
from dynamoe_search.plan.candidate import Candidate, parse_candidate, with_settings
from dynamoe_search.plan.plan import baseline_schedules, names_of
from dynamoe_search.plan.reader import study_path
from dynamoe_search.plan.study_file import StudyFile

_MEASURED = (
    "validation_loss",
    "validation_accuracy",
    "validation_perplexity",
    "validation_bits_per_byte",
    "active_experts",
    "utilization_entropy",
    "total_parameters",
    "active_parameters",
    "flops_per_token",
    "training_flops",
    "samples",
    "gradient_squared_norm",
    *MEASURED,
)
_LAYERS = ("mean_active", "layer_entropy")
_TABLES = ("gradients", "utilization", "load", "representation")
_PARTS = ("deciding", "training", "evaluation", "measuring")
_TIMES = tuple(f"{part}_{kind}" for part in _PARTS for kind in ("seconds", "cpu_seconds"))


def load_trials(
    study: Path | str, storage: str | None = None, name: str | None = None
) -> pd.DataFrame:
    """All trials of a study, a row each.

    Parameters
    ----------
    study : Path or str
        The study file, or its folder.
    storage, name : str, optional
        As in `dynamoe_search.run_study`.

    Returns
    -------
    DataFrame
        ``trial``, ``candidate`` (``schedule``, and after it the ``settings`` that were searched
        next to it, such as ``k=2``), ``pattern`` (its name, if it has one), ``replicate``,
        ``seed``, ``state`` (complete, pruned, running, repeat, died, interrupted, diverged, out of
        memory, error), ``message``, ``fraction`` (of the training that was done), the results
        (``validation_loss`` in nats, ``validation_accuracy``, ``validation_perplexity`` and
        ``validation_bits_per_byte`` (NaN for images), ``active_experts`` (K on the validation
        split, its mean over tokens and layers), ``utilization_entropy`` (mean of H / ln N),
        ``total_parameters``, ``active_parameters``, ``flops_per_token``, ``training_flops``,
        ``samples``), what the study asked to be measured (by `dynamoe_search.measure.measurements.MEASURED`,
        NaN where it did not; in detail by `measurement_table`), ``feasible`` (whether the
        study's constraints are met), the wall and CPU seconds of its parts (``deciding``,
        ``training``, ``evaluation``, ``measuring``), ``curve`` (a list of points), ``mean_active``
        and ``layer_entropy`` (K, and the load entropy in nats: lists, one value a layer),
        ``started``, ``finished``,
        ``worker``, ``data`` (the fingerprint), ``commit``, the versions, and the family's
        parameters as Optuna holds them, each in a column ``parameter_...``. The objectives and the
        changes of the study file that were allowed are in ``attrs``.

    Raises
    ------
    InvalidInput
        Where there is no such study, or it holds no results yet.
    """
    place = place_of(study_path(study).parent, storage, name)
    return trials_of(open_study(place), place)


def trials_of(study: optuna.Study, place: Place) -> pd.DataFrame:
    """All trials of a study, as `load_trials` gives them."""
    study_file = recorded_study_file(study, place)
    trials = table_of(study.get_trials(deepcopy=False), study_file)
    trials.attrs["objectives"] = list(study_file.search.objectives)
    trials.attrs["pruner"] = study_file.search.pruner
    trials.attrs["changes"] = changes_of(study)
    return trials


def measurement_table(trials: pd.DataFrame, kind: str) -> pd.DataFrame:
    """What was measured in detail, of all complete trainings.

    Parameters
    ----------
    trials : DataFrame
        As `load_trials` gives it.
    kind : {"gradients", "utilization", "load", "representation"}
        ``gradients`` over the training, by `dynamoe_search.measure.measurements.gradients_now`; the others of
        the trained network on the validation split, by `utilization_table`, `load_table` and
        `rank_table`. A study has them that asks for it: ``measure = ["gradients", "utilization",
        "representation"]`` in its section ``search``.

    Returns
    -------
    DataFrame
        ``trial``, ``candidate``, ``replicate`` and the columns of that table; empty where nothing
        was measured.

    Raises
    ------
    InvalidInput
        For another kind.
    """
    if kind not in _TABLES:
        raise InvalidInput(f"there are no measurements {kind!r}; choose from {', '.join(_TABLES)}")
    key = ["trial", "candidate", "replicate"]
    complete = trials[trials["state"] == "complete"]
    return pd.DataFrame(
        [
            {**dict(zip(key, of, strict=True)), **row}
            for *of, rows in complete[[*key, kind]].itertuples(index=False)
            for row in rows or []
        ]
    )


def table_of(trials: list[Any], study_file: StudyFile) -> pd.DataFrame:
    """Trials of a search or a confirmation as `load_trials` describes them."""
    names: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for trial in trials:
        claim, attributes = claim_of(trial), trial.user_attrs
        state = state_of(trial)
        result = attributes.get("result", attributes.get("pruned", {}))
        text = claim.candidate if claim else attributes.get("repeat", {}).get("candidate", "")
        candidate = parse_candidate(text) if text else None
        schedule, settings = text, ""
        if isinstance(candidate, Candidate):
            schedule, settings = str(candidate.schedule), candidate.settings_text
            names = names or _names(candidate, study_file)
        complete = state == "complete"
        rows.append(
            {
                "trial": trial.number,
                "candidate": text,
                "schedule": schedule,
                "settings": settings,
                "pattern": names.get(text, ""),
                "replicate": claim.replicate if claim else None,
                "seed": claim.seed if claim else None,
                "state": state,
                "message": attributes.get("failure", {}).get("message", ""),
                "fraction": 1.0 if complete else result.get("fraction", float("nan")),
                **{name: result.get(name, float("nan")) for name in _MEASURED},
                "feasible": complete and _is_feasible(result, study_file),
                **{name: result.get(name, float("nan")) for name in _TIMES},
                "curve": result.get("curve"),
                **{name: result.get(name) for name in (*_LAYERS, *_TABLES)},
                "started": trial.datetime_start,
                "finished": trial.datetime_complete,
                "worker": claim.worker if claim else None,
                "data": result.get("data"),
                "commit": result.get("commit"),
                **{
                    f"version_{package}": number
                    for package, number in result.get("versions", {}).items()
                },
                **{key: value for key, value in result.items() if key.startswith("test_")},
                **{f"parameter_{name}": value for name, value in trial.params.items()},
            }
        )
    table = pd.DataFrame(rows, columns=None if rows else list(_EMPTY))
    return table.astype({"replicate": "Int64", "seed": "Int64"})


_EMPTY = (
    *("trial", "candidate", "schedule", "settings", "pattern", "replicate", "seed", "state"),
    *("message", "fraction", *_MEASURED, "feasible", *_TIMES, "curve"),
    *(*_LAYERS, *_TABLES, "started", "finished", "worker", "data", "commit"),
)


def _names(candidate: Candidate, study_file: StudyFile) -> dict[str, str]:
    """The names of the study's baselines, whose total a candidate of their width shows."""
    own = study_file.own_settings()
    if dict(candidate.settings).get("hidden") != own.get("hidden"):
        return {}
    total = None if study_file.budget.regime == "paper" else candidate.schedule.total
    schedules = baseline_schedules(study_file, total)
    return names_of({name: with_settings(schedule, own) for name, schedule in schedules.items()})


def _is_feasible(result: dict[str, Any], study_file: StudyFile) -> bool:
    return all(
        constraint.violation(result) <= 0 for constraint in study_file.search.constraint_list
    )
