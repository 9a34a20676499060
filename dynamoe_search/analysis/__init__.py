"""Analysis: what the results of a search say, and how surely."""

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
    "half_width",
    "least_significant_difference",
    "pooled_noise",
]
