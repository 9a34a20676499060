"""Schedules: how many experts each layer has. Needs numpy only."""

from dynamoe_search.schedules.allocation import (
    LARGEST_TOTAL,
    allocate,
    allocate_batch,
    stretch,
)
from dynamoe_search.schedules.enumeration import count_schedules, enumerate_schedules
from dynamoe_search.schedules.family import (
    FAMILIES,
    Blend,
    Dimension,
    Family,
    Free,
    Location,
    Mixture,
    Profile,
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
from dynamoe_search.schedules.preset import (
    PRESETS,
    alpha_lora_profile,
    describe_preset,
    preset_profile,
    preset_schedule,
)
from dynamoe_search.schedules.schedule import Schedule

__all__ = [
    "DEFAULT_CONTRAST",
    "DEFAULT_CYCLES",
    "FAMILIES",
    "LARGEST_TOTAL",
    "PATTERNS",
    "PATTERNS_AND_UNIFORM",
    "PRESETS",
    "Blend",
    "Dimension",
    "Family",
    "Free",
    "Location",
    "Mixture",
    "Profile",
    "Real",
    "Schedule",
    "Simplex",
    "Spline",
    "Whole",
    "allocate",
    "allocate_batch",
    "alpha_lora_profile",
    "count_schedules",
    "depth_coordinates",
    "describe_preset",
    "enumerate_schedules",
    "make_family",
    "pattern_profile",
    "pattern_schedule",
    "pattern_shape",
    "preset_profile",
    "preset_schedule",
    "stretch",
]
