"""What a study searches, in Optuna's search space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import optuna

from dynamoe_search.plan.search_section import AlsoSection
from dynamoe_search.schedules import Dimension, Real, Simplex, Whole


def suggest(
    trial: optuna.Trial | optuna.trial.FixedTrial, space: Sequence[Dimension]
) -> dict[str, float]:
    """Let Optuna choose the parameters of a space, such as that of a family."""
    parameters: dict[str, float] = {}
    for dimension in space:
        match dimension:
            case Real(name, low, high):
                parameters[name] = trial.suggest_float(name, low, high)
            case Whole(name, low, high):
                parameters[name] = trial.suggest_int(name, low, high)
            case Simplex(names):
                uniform = [trial.suggest_float(name, dimension.LEAST, 1.0) for name in names]
                parameters |= dimension.shares(uniform)
    return parameters


def encode(parameters: Mapping[str, float], space: Sequence[Dimension]) -> dict[str, float]:
    """The values with which `suggest` gives these parameters."""
    encoded = dict(parameters)
    for dimension in space:
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
