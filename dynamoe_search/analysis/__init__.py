"""Analysis: what the results of a search say and how surely, and what goes on in a network."""

from dynamoe_search.analysis.active import active_by_layer, compare_routers
from dynamoe_search.analysis.comparison import compare_with_reference
from dynamoe_search.analysis.fidelity import compute_saved, rank_correlations
from dynamoe_search.analysis.gradients import GradientNoise, gradient_noise
from dynamoe_search.analysis.pareto import OBJECTIVES, make_pareto_table, pareto_front
from dynamoe_search.analysis.statistics import (
    CONFIDENCE,
    Noise,
    half_width,
    least_significant_difference,
    pooled_noise,
)
from dynamoe_search.analysis.utilization import (
    load_entropy,
    mean_normalised_entropy,
    normalised_entropy,
)

__all__ = [
    "CONFIDENCE",
    "OBJECTIVES",
    "GradientNoise",
    "Noise",
    "active_by_layer",
    "compare_routers",
    "compare_with_reference",
    "compute_saved",
    "gradient_noise",
    "half_width",
    "least_significant_difference",
    "load_entropy",
    "make_pareto_table",
    "mean_normalised_entropy",
    "normalised_entropy",
    "pareto_front",
    "pooled_noise",
    "rank_correlations",
]
