"""Analysis: what the results of a search say and how surely, what goes on in a network, and bounds.

Each name is loaded when it is first asked for, so that bounds do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynamoe_search.analysis.active import (
        active_by_layer,
        compare_routers,
    )
    from dynamoe_search.analysis.between_bounds import (
        MEASURED_AND_BOUNDED,
        measured_bounds,
    )
    from dynamoe_search.analysis.bounds import (
        QUANTITIES,
        layer_bounds,
        schedule_bounds,
    )
    from dynamoe_search.analysis.budget_bounds import (
        ExpertBudget,
        budget_extremes,
        compare_schedules,
        family_bounds,
        score_schedules,
    )
    from dynamoe_search.analysis.claims import (
        VarianceClaim,
        compare_routings,
        gradient_variance,
    )
    from dynamoe_search.analysis.comparison import (
        compare_with_reference,
        holm,
        seeds_to_decide,
    )
    from dynamoe_search.analysis.fidelity import (
        Savings,
        compute_saved,
        kendall_interval,
        rank_correlations,
    )
    from dynamoe_search.analysis.gradient_moments import (
        GROUPS,
        pool_gradients,
    )
    from dynamoe_search.analysis.gradients import (
        GradientNoise,
        GradientWatch,
        gradient_noise,
        gradient_noise_by_group,
    )
    from dynamoe_search.analysis.machine import (
        Machine,
        measure_machine,
        roofline,
    )
    from dynamoe_search.analysis.measurements import (
        MEASURED,
        MEASURES,
        gradient_results,
        gradients_now,
        measured_means,
        representation_results,
        utilisation_results,
    )
    from dynamoe_search.analysis.network import (
        NetworkAnalysis,
        analyze_network,
    )
    from dynamoe_search.analysis.pareto import (
        OBJECTIVES,
        Objective,
        make_pareto_table,
        pareto_front,
    )
    from dynamoe_search.analysis.per_sample_gradients import (
        per_sample_gradient_noise,
    )
    from dynamoe_search.analysis.representation import (
        RepresentationSums,
        cka_table,
        effective_ranks,
        linear_cka,
        rank_table,
        sum_representations,
    )
    from dynamoe_search.analysis.routing_bounds import (
        distinct_experts,
        log2_configurations,
        parallel_efficiency,
    )
    from dynamoe_search.analysis.routing_counts import (
        RoutingCounts,
        count_routings,
        frequent_tokens,
    )
    from dynamoe_search.analysis.scaling_laws import (
        LAWS,
        extrapolate_budget,
    )
    from dynamoe_search.analysis.separable import (
        Optimum,
        best_schedule,
        worst_schedule,
    )
    from dynamoe_search.analysis.shrinkage import (
        expected_means,
        paired_means,
    )
    from dynamoe_search.analysis.source_claims import (
        CLAIMS,
        SourceClaim,
        Unit,
    )
    from dynamoe_search.analysis.statistics import (
        CONFIDENCE,
        Noise,
        half_width,
        least_significant_difference,
        pooled_noise,
    )
    from dynamoe_search.analysis.utilization import (
        chance_information,
        coefficient_of_variation,
        dead_experts,
        effective_experts,
        gini,
        load_entropy,
        load_shares,
        maximum_violation,
        mean_normalised_entropy,
        mutual_information,
        normalised_entropy,
    )
    from dynamoe_search.analysis.utilization_tables import (
        UtilisationHistory,
        active_table,
        co_activation_table,
        group_table,
        load_table,
        utilisation_table,
    )
    from dynamoe_search.analysis.verdicts import (
        judge,
    )

_HOMES = {
    "active": ("active_by_layer", "compare_routers"),
    "bounds": ("QUANTITIES", "layer_bounds", "schedule_bounds"),
    "budget_bounds": (
        "ExpertBudget",
        "budget_extremes",
        "compare_schedules",
        "family_bounds",
        "score_schedules",
    ),
    "comparison": ("compare_with_reference", "holm", "seeds_to_decide"),
    "fidelity": ("Savings", "compute_saved", "kendall_interval", "rank_correlations"),
    "claims": ("VarianceClaim", "compare_routings", "gradient_variance"),
    "gradient_moments": ("GROUPS", "pool_gradients"),
    "gradients": ("GradientNoise", "GradientWatch", "gradient_noise", "gradient_noise_by_group"),
    "between_bounds": ("MEASURED_AND_BOUNDED", "measured_bounds"),
    "measurements": (
        "MEASURED",
        "MEASURES",
        "gradient_results",
        "gradients_now",
        "measured_means",
        "representation_results",
        "utilisation_results",
    ),
    "network": ("NetworkAnalysis", "analyze_network"),
    "pareto": ("OBJECTIVES", "Objective", "make_pareto_table", "pareto_front"),
    "per_sample_gradients": ("per_sample_gradient_noise",),
    "machine": ("Machine", "measure_machine", "roofline"),
    "representation": (
        "RepresentationSums",
        "cka_table",
        "effective_ranks",
        "linear_cka",
        "rank_table",
        "sum_representations",
    ),
    "routing_counts": ("RoutingCounts", "count_routings", "frequent_tokens"),
    "routing_bounds": ("distinct_experts", "log2_configurations", "parallel_efficiency"),
    "scaling_laws": ("LAWS", "extrapolate_budget"),
    "separable": ("Optimum", "best_schedule", "worst_schedule"),
    "source_claims": ("CLAIMS", "SourceClaim", "Unit"),
    "verdicts": ("judge",),
    "shrinkage": ("expected_means", "paired_means"),
    "statistics": (
        "CONFIDENCE",
        "Noise",
        "half_width",
        "least_significant_difference",
        "pooled_noise",
    ),
    "utilization": (
        "chance_information",
        "coefficient_of_variation",
        "dead_experts",
        "effective_experts",
        "gini",
        "load_entropy",
        "load_shares",
        "maximum_violation",
        "mean_normalised_entropy",
        "mutual_information",
        "normalised_entropy",
    ),
    "utilization_tables": (
        "UtilisationHistory",
        "active_table",
        "co_activation_table",
        "group_table",
        "load_table",
        "utilisation_table",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CLAIMS",
    "CONFIDENCE",
    "ExpertBudget",
    "GROUPS",
    "GradientNoise",
    "GradientWatch",
    "LAWS",
    "MEASURED",
    "MEASURED_AND_BOUNDED",
    "MEASURES",
    "Machine",
    "NetworkAnalysis",
    "Noise",
    "OBJECTIVES",
    "Objective",
    "Optimum",
    "QUANTITIES",
    "RepresentationSums",
    "RoutingCounts",
    "Savings",
    "SourceClaim",
    "Unit",
    "UtilisationHistory",
    "VarianceClaim",
    "active_by_layer",
    "active_table",
    "analyze_network",
    "best_schedule",
    "budget_extremes",
    "chance_information",
    "cka_table",
    "co_activation_table",
    "coefficient_of_variation",
    "compare_routers",
    "compare_routings",
    "compare_schedules",
    "compare_with_reference",
    "compute_saved",
    "count_routings",
    "dead_experts",
    "distinct_experts",
    "effective_experts",
    "effective_ranks",
    "expected_means",
    "extrapolate_budget",
    "family_bounds",
    "frequent_tokens",
    "gini",
    "gradient_noise",
    "gradient_noise_by_group",
    "gradient_results",
    "gradient_variance",
    "gradients_now",
    "group_table",
    "half_width",
    "holm",
    "judge",
    "kendall_interval",
    "layer_bounds",
    "least_significant_difference",
    "linear_cka",
    "load_entropy",
    "load_shares",
    "load_table",
    "log2_configurations",
    "make_pareto_table",
    "maximum_violation",
    "mean_normalised_entropy",
    "measure_machine",
    "measured_bounds",
    "measured_means",
    "mutual_information",
    "normalised_entropy",
    "paired_means",
    "parallel_efficiency",
    "pareto_front",
    "per_sample_gradient_noise",
    "pool_gradients",
    "pooled_noise",
    "rank_correlations",
    "rank_table",
    "representation_results",
    "roofline",
    "schedule_bounds",
    "score_schedules",
    "seeds_to_decide",
    "sum_representations",
    "utilisation_results",
    "utilisation_table",
    "worst_schedule",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
