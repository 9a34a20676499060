"""Search how many experts each layer of a Mixture-of-Experts network should get.

The names below can be imported from here; each is loaded when it is first asked for, so that
looking at a schedule does not wait for torch.

Examples
--------
>>> import dynamoe_search
>>> str(dynamoe_search.pattern_schedule("descending", depth=4, total=20))
'8-6-4-2'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamoe_search.analysis import active_by_layer, compare_routers
    from dynamoe_search.checkpoint import load_model, save_model
    from dynamoe_search.data import load_data, load_images
    from dynamoe_search.errors import InvalidInput, RunFailed
    from dynamoe_search.models import ClassifierModel, DecoderModel
    from dynamoe_search.report.leaderboard import answer, make_leaderboard
    from dynamoe_search.report.plots import plot_active, plot_schedules, plot_search
    from dynamoe_search.schedules import Schedule, allocate, pattern_schedule, preset_schedule
    from dynamoe_search.search import load_trials, run_study
    from dynamoe_search.specification import (
        Balance,
        Classifier,
        Dense,
        Experts,
        LanguageModel,
        Percentile,
        Relative,
        Threshold,
        TopK,
        TopP,
    )
    from dynamoe_search.training import TrainingSettings, train

__version__ = "0.1.0"

_HOMES = {
    "analysis": ("active_by_layer", "compare_routers"),
    "checkpoint": ("load_model", "save_model"),
    "data": ("load_data", "load_images"),
    "errors": ("InvalidInput", "RunFailed"),
    "models": ("ClassifierModel", "DecoderModel"),
    "report.leaderboard": ("answer", "make_leaderboard"),
    "report.plots": ("plot_active", "plot_schedules", "plot_search"),
    "schedules": ("Schedule", "allocate", "pattern_schedule", "preset_schedule"),
    "search": ("load_trials", "run_study"),
    "specification": (
        "Balance",
        "Classifier",
        "Dense",
        "Experts",
        "LanguageModel",
        "Percentile",
        "Relative",
        "Threshold",
        "TopK",
        "TopP",
    ),
    "training": ("TrainingSettings", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Balance",
    "Classifier",
    "ClassifierModel",
    "DecoderModel",
    "Dense",
    "Experts",
    "InvalidInput",
    "LanguageModel",
    "Percentile",
    "Relative",
    "RunFailed",
    "Schedule",
    "Threshold",
    "TopK",
    "TopP",
    "TrainingSettings",
    "active_by_layer",
    "allocate",
    "answer",
    "compare_routers",
    "load_data",
    "load_images",
    "load_model",
    "load_trials",
    "make_leaderboard",
    "pattern_schedule",
    "plot_active",
    "plot_schedules",
    "plot_search",
    "preset_schedule",
    "run_study",
    "save_model",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
