"""Schedules: how many experts each layer has. Knows nothing of torch or optuna."""

from dynamoe_search.schedules.allocation import allocate, allocate_batch
from dynamoe_search.schedules.enumeration import count_schedules, enumerate_schedules
from dynamoe_search.schedules.family import (
    FAMILIES,
    Blend,
    Dimension,
    Family,
    Free,
    Location,
    Mixture,
    Real,
    Simplex,
    Spline,
    Whole,
    make_family,
)
from dynamoe_search.schedules.pattern import (
    DEFAULT_CONTRAST,
    DEFAULT_CYCLES,
    PATTERNS,
    PATTERNS_AND_UNIFORM,
    depth_coordinates,
    pattern_profile,
    pattern_schedule,
    pattern_shape,
)
from dynamoe_search.schedules.schedule import Schedule

__all__ = [
    "DEFAULT_CONTRAST",
    "DEFAULT_CYCLES",
    "FAMILIES",
    "PATTERNS",
    "PATTERNS_AND_UNIFORM",
    "Blend",
    "Dimension",
    "Family",
    "Free",
    "Location",
    "Mixture",
    "Real",
    "Schedule",
    "Simplex",
    "Spline",
    "Whole",
    "allocate",
    "allocate_batch",
    "count_schedules",
    "depth_coordinates",
    "enumerate_schedules",
    "make_family",
    "pattern_profile",
    "pattern_schedule",
    "pattern_shape",
]
