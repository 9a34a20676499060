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
    from dynamoe_search.analysis import (
        ExpertBudget,
        active_by_layer,
        best_schedule,
        budget_extremes,
        compare_routers,
        compare_schedules,
        compare_with_reference,
        count_routings,
        gradient_noise,
        gradient_noise_by_group,
        gradient_variance,
        make_pareto_table,
        per_sample_gradient_noise,
        rank_correlations,
        rank_table,
        score_schedules,
        sum_representations,
        utilisation_table,
        worst_schedule,
    )
    from dynamoe_search.checkpoint import load_model, save_model
    from dynamoe_search.data import load_data, load_images
    from dynamoe_search.errors import InvalidInput, RunFailed
    from dynamoe_search.evaluation import evaluate
    from dynamoe_search.models import ClassifierModel, DecoderModel
    from dynamoe_search.report.bounds import bounds_sentences
    from dynamoe_search.report.bounds_plot import plot_bounds
    from dynamoe_search.report.confirmation import confirmation_sentences, plot_confirmation
    from dynamoe_search.report.fidelity import plot_fidelity
    from dynamoe_search.report.leaderboard import answer, make_leaderboard
    from dynamoe_search.report.pareto import plot_pareto
    from dynamoe_search.report.plots import plot_active, plot_schedules, plot_search
    from dynamoe_search.report.utilization import plot_load, plot_representation, plot_utilisation
    from dynamoe_search.schedules import Schedule, allocate, pattern_schedule, preset_schedule
    from dynamoe_search.search import (
        RayCluster,
        Resources,
        confirm_study,
        join_study,
        load_confirmation,
        load_trials,
        measurement_table,
        run_study,
    )
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
    "analysis": (
        "ExpertBudget",
        "active_by_layer",
        "best_schedule",
        "budget_extremes",
        "compare_routers",
        "compare_schedules",
        "compare_with_reference",
        "count_routings",
        "gradient_noise",
        "gradient_noise_by_group",
        "gradient_variance",
        "make_pareto_table",
        "per_sample_gradient_noise",
        "rank_correlations",
        "rank_table",
        "score_schedules",
        "sum_representations",
        "utilisation_table",
        "worst_schedule",
    ),
    "checkpoint": ("load_model", "save_model"),
    "data": ("load_data", "load_images"),
    "errors": ("InvalidInput", "RunFailed"),
    "evaluation": ("evaluate",),
    "models": ("ClassifierModel", "DecoderModel"),
    "report.bounds": ("bounds_sentences",),
    "report.bounds_plot": ("plot_bounds",),
    "report.confirmation": ("confirmation_sentences", "plot_confirmation"),
    "report.fidelity": ("plot_fidelity",),
    "report.leaderboard": ("answer", "make_leaderboard"),
    "report.pareto": ("plot_pareto",),
    "report.plots": ("plot_active", "plot_schedules", "plot_search"),
    "report.utilization": ("plot_load", "plot_representation", "plot_utilisation"),
    "schedules": ("Schedule", "allocate", "pattern_schedule", "preset_schedule"),
    "search": (
        "RayCluster",
        "Resources",
        "confirm_study",
        "join_study",
        "load_confirmation",
        "load_trials",
        "measurement_table",
        "run_study",
    ),
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
    "measurement_table",
    "per_sample_gradient_noise",
    "gradient_variance",
    "gradient_noise_by_group",
    "Balance",
    "Classifier",
    "ClassifierModel",
    "DecoderModel",
    "Dense",
    "ExpertBudget",
    "Experts",
    "InvalidInput",
    "LanguageModel",
    "Percentile",
    "RayCluster",
    "Relative",
    "Resources",
    "RunFailed",
    "Schedule",
    "Threshold",
    "TopK",
    "TopP",
    "TrainingSettings",
    "active_by_layer",
    "allocate",
    "answer",
    "best_schedule",
    "bounds_sentences",
    "budget_extremes",
    "compare_routers",
    "compare_schedules",
    "compare_with_reference",
    "confirm_study",
    "confirmation_sentences",
    "count_routings",
    "evaluate",
    "gradient_noise",
    "join_study",
    "load_confirmation",
    "load_data",
    "load_images",
    "load_model",
    "load_trials",
    "make_leaderboard",
    "make_pareto_table",
    "pattern_schedule",
    "plot_active",
    "plot_bounds",
    "plot_confirmation",
    "plot_fidelity",
    "plot_load",
    "plot_pareto",
    "plot_representation",
    "plot_schedules",
    "plot_search",
    "plot_utilisation",
    "preset_schedule",
    "rank_correlations",
    "rank_table",
    "run_study",
    "save_model",
    "score_schedules",
    "sum_representations",
    "train",
    "utilisation_table",
    "worst_schedule",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
