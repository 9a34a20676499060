"""The baselines of a study by name: named patterns, uniform, placements and presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.allotment import active_schedules_of, placed, schedules_of
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import (
    ACTIVE_PRESETS,
    NONE,
    PATTERNS,
    PATTERNS_AND_UNIFORM,
    PRESETS,
    Profile,
    Schedule,
    active_preset_profile,
    alpha_lora_profile,
    count_schedules,
    depth_coordinates,
    enumerate_schedules,
    pattern_profile,
    preset_profile,
)
from dynamoe_search.schedules.preset import NEXT_TO_NOTHING
from dynamoe_search.specification import largest_active

ALPHA_LORA = "alpha_lora"
ACTIVE = "active_"
"""What names of active schedules, and of their parameters, begin with."""

PAIRS: Mapping[str, tuple[str, str]] = {
    **{name: (name, "uniform") for name in PATTERNS_AND_UNIFORM},
    **{ACTIVE + name: ("uniform", name) for name in PATTERNS},
    **{f"both_{name}": (name, name) for name in ("descending", "ascending")},
}
"""The named patterns: those of the schedule and of the active schedule.

Where both are searched, these are all that are trained first: each with the other one uniform, and
two in which both move alike; not all pairs of patterns.
"""

PLACEMENTS = ("late", "early")
"""Experts in one half of the layers only; the other half is dense as far as the budget allows."""

_PRESETS = {*PRESETS, ALPHA_LORA, *(ACTIVE + name for name in ACTIVE_PRESETS)}


def is_pattern(name: str) -> bool:
    """Whether a baseline is a named pattern or placement, and not a preset."""
    return name not in _PRESETS


def baselines_of_study(study: StudyFile, total: int | None) -> dict[str, Candidate]:
    """The candidates by name that a study trains before it searches.

    Parameters
    ----------
    study : StudyFile
    total : int or None
        The experts of all layers together; None in the regime `paper`.

    Returns
    -------
    dict of str to Candidate
        Of `PAIRS` those in which only that moves which the study searches; then `PLACEMENTS` where
        layers may be dense, and the presets that the study lists.

    Raises
    ------
    InvalidInput
        Where the total lies outside the bounds of the study's budget.
    """
    search, settings = study.search, tuple(study.own_settings().items())
    profiles = _profiles(study)
    found = dict(zip(profiles, schedules_of(list(profiles.values()), study, total), strict=True))
    if search.active_family == NONE:
        return {name: Candidate(schedule, settings) for name, schedule in found.items()}
    pairs = {name: (name, "uniform") for name in found if name not in PAIRS}
    pairs |= {ACTIVE + name: ("uniform", name) for name in search.active_presets}
    pairs = {name: pair for name, pair in PAIRS.items() if pair[0] in found} | pairs
    moves = {active: _active_profile(active, study) for _, active in pairs.values()}
    shapes = [moves[shape] for _, shape in pairs.values()]
    try:
        active = active_schedules_of(shapes, [found[name] for name, _ in pairs.values()], study)
    except InvalidInput as error:
        raise InvalidInput(f"budget.active: {error}") from error
    return {
        name: Candidate(found[schedule], settings, of_name)
        for (name, (schedule, _)), of_name in zip(pairs.items(), active, strict=True)
    }


def every_candidate(study: StudyFile, total: int) -> Iterator[Candidate]:
    """All candidates of a study that searches one kind of schedule alone, in their order.

    These are the schedules of the total; or, where only active schedules are searched, uniform with
    each active schedule of the mean K.

    Parameters
    ----------
    study : StudyFile
        Without other settings to search, and with one of `family` and `active_family` not none.
    total : int
        The experts of all layers together.
    """
    depth = study.model.depth
    if study.search.active_family == NONE:
        everything = enumerate_schedules(total, depth, *study.limits)
        return (Candidate(placed(schedule, study)) for schedule in everything)
    uniform, most = _uniform_and_most_active(study, total)
    every_active = enumerate_schedules(round(study.active * depth), depth, 1, max(most))
    return (
        Candidate(uniform, active=active)
        for active in every_active
        if all(count <= limit for count, limit in zip(active, most, strict=True))
    )


def count_candidates(study: StudyFile, total: int) -> int:
    """The number of candidates that `every_candidate` yields."""
    depth = study.model.depth
    if study.search.active_family == NONE:
        return count_schedules(total, depth, *study.limits)
    _, most = _uniform_and_most_active(study, total)
    ways = [1]  # of each sum over the layers so far
    for limit in most:
        ways = [sum(ways[max(0, one - limit) : one]) for one in range(len(ways) + limit)]
    active = round(study.active * depth)
    return ways[active] if active < len(ways) else 0


def _uniform_and_most_active(study: StudyFile, total: int) -> tuple[Schedule, list[int]]:
    """Uniform, and the most active experts that each of its layers can have."""
    uniform = baselines_of_study(study, total)["uniform"].schedule
    return uniform, [largest_active(study.router, experts) for experts in uniform]


def _profiles(study: StudyFile) -> dict[str, Profile]:
    """The profiles by name of the experts per layer."""
    depth, search = study.model.depth, study.search
    names = PATTERNS_AND_UNIFORM if search.family != NONE else ("uniform",)
    profiles = {name: pattern_profile(name, depth, search.contrast) for name in names}
    if study.budget.minimum == 0 and search.family != NONE:
        profiles |= {name: _placement(name, depth) for name in PLACEMENTS}
    profiles |= {name: preset_profile(name, depth) for name in search.presets}
    if search.alpha_lora is not None:
        if len(search.alpha_lora) != depth:
            raise InvalidInput(
                f"search.alpha_lora: {len(search.alpha_lora)} scores are given for {depth} layers"
            )
        profiles[ALPHA_LORA] = alpha_lora_profile(search.alpha_lora)
    return profiles


def _active_profile(name: str, study: StudyFile) -> Profile:
    if name in ACTIVE_PRESETS:
        return active_preset_profile(name, study.model.depth)
    return pattern_profile(name, study.model.depth, study.search.contrast)


def _placement(name: str, depth: int) -> Profile:
    u = depth_coordinates(depth)
    has_experts = u >= 0.5 if name == "late" else u <= 0.5
    return np.where(has_experts, 1.0, NEXT_TO_NOTHING)


def names_of(baselines: Mapping[str, Candidate]) -> dict[str, str]:
    """The name of each candidate that is a baseline; where several coincide, all their names."""
    names: dict[str, list[str]] = {}
    for name, candidate in baselines.items():
        names.setdefault(str(candidate), []).append(name)
    return {candidate: " = ".join(same) for candidate, same in names.items()}


def groups_of(baselines: Mapping[str, Candidate]) -> dict[str, str]:
    """Which kind of baseline each candidate is: uniform, pattern or preset, the first that fits."""
    groups: dict[str, str] = {}
    for name, candidate in baselines.items():
        if name == "uniform":
            groups[str(candidate)] = name
        groups.setdefault(str(candidate), "pattern" if is_pattern(name) else "preset")
    return groups
