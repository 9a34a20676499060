"""What a network is, in plain data: enough to count it, to build it, and to write it down.

Knows nothing of torch, so that budgets can be computed without it.
"""

from dynamoe_search.specification.network import (
    LANGUAGE_SCALES,
    Balance,
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    LanguageScale,
    Specification,
)
from dynamoe_search.specification.router import (
    FixedRouter,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
    VariableRouter,
    held_at,
    largest_active,
    with_constants,
)

__all__ = [
    "LANGUAGE_SCALES",
    "Balance",
    "Classifier",
    "Dense",
    "Experts",
    "FixedRouter",
    "LanguageModel",
    "LanguageScale",
    "Percentile",
    "Relative",
    "Router",
    "Specification",
    "Threshold",
    "TopK",
    "TopP",
    "VariableRouter",
    "held_at",
    "largest_active",
    "with_constants",
]
