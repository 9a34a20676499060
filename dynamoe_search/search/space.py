"""The parameters of families, and what is searched next to them, in Optuna's search space."""

from __future__ import annotations

import math
from collections.abc import Mapping

import optuna

from dynamoe_search.plan.study_file import AlsoSection
from dynamoe_search.schedules import Family, Real, Simplex, Whole

_LEAST = 1e-6  # an exponential variable is then at most 13.8


def suggest(
    trial: optuna.Trial | optuna.trial.FixedTrial, family: Family, depth: int
) -> dict[str, float]:
    """Let Optuna choose the parameters of a family.

    A simplex is sampled uniformly: shares proportional to -ln(v) of independent uniform v, so the
    corner of one name is where all other v are 1.
    """
    parameters: dict[str, float] = {}
    for dimension in family.search_space(depth):
        match dimension:
            case Real(name, low, high):
                parameters[name] = trial.suggest_float(name, low, high)
            case Whole(name, low, high):
                parameters[name] = trial.suggest_int(name, low, high)
            case Simplex(names):
                sizes = [-math.log(trial.suggest_float(name, _LEAST, 1.0)) for name in names]
                total = sum(sizes)
                # All at 1 has no direction: take the middle.
                shares = [s / total if total > 0 else 1 / len(names) for s in sizes]
                parameters.update(zip(names, shares, strict=True))
    return parameters


def encode(parameters: Mapping[str, float], family: Family, depth: int) -> dict[str, float]:
    """The values with which `suggest` gives these parameters."""
    encoded = dict(parameters)
    for dimension in family.search_space(depth):
        if isinstance(dimension, Simplex):
            encoded |= {name: math.exp(-parameters[name]) for name in dimension.names}
    return encoded


def suggest_settings(
    trial: optuna.Trial | optuna.trial.FixedTrial, also: AlsoSection
) -> dict[str, float]:
    """Let Optuna choose what is searched next to the schedule."""
    settings: dict[str, float] = {}
    if also.hidden is not None:
        settings["hidden"] = trial.suggest_categorical("hidden", also.hidden)
    for name, (low, high) in also.intervals().items():
        if name == "k":
            settings[name] = trial.suggest_int(name, int(low), int(high))
        else:
            settings[name] = also.rounded(name, trial.suggest_float(name, low, high))
    return settings
