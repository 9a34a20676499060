"""Analysis: what the results of a search say and how surely, and what goes on in a network."""

from dynamoe_search.analysis.active import active_by_layer, compare_routers
from dynamoe_search.analysis.statistics import (
    CONFIDENCE,
    Noise,
    half_width,
    least_significant_difference,
    pooled_noise,
)

__all__ = [
    "CONFIDENCE",
    "Noise",
    "active_by_layer",
    "compare_routers",
    "half_width",
    "least_significant_difference",
    "pooled_noise",
]
