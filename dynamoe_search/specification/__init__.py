"""Networks in plain data: enough to count, build and save them. Needs no torch."""

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
