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
    NONE,
    Blend,
    Family,
    Free,
    Location,
    Mixture,
    Profile,
    Spline,
    Uniform,
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
    ACTIVE_PRESETS,
    PRESETS,
    active_preset_profile,
    alpha_lora_profile,
    describe_preset,
    preset_profile,
    preset_schedule,
)
from dynamoe_search.schedules.schedule import Schedule
from dynamoe_search.schedules.space import Dimension, Real, Simplex, Whole, renamed

__all__ = [
    "ACTIVE_PRESETS",
    "DEFAULT_CONTRAST",
    "DEFAULT_CYCLES",
    "FAMILIES",
    "LARGEST_TOTAL",
    "NONE",
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
    "Uniform",
    "Whole",
    "active_preset_profile",
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
    "renamed",
    "stretch",
]
