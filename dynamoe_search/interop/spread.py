"""A profile on a real model: its experts spread over the layers that have experts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_config import LayerConfig, ModelConfig
from dynamoe_search.schedules import Schedule, allocate, interpolate_counts
from dynamoe_search.schedules.pattern import depth_coordinates


def spread_schedule(
    config: ModelConfig,
    schedule: Schedule,
    active: Schedule | None = None,
    expert_parallel: int = 1,
    minimum: int = 1,
) -> ModelConfig:
    """The model with its experts spread as a schedule has them.

    A schedule of the model's own size, in layers and in experts, is taken as it is, with its active
    schedule. Any other is a profile: its counts are interpolated over the depth coordinate of the
    layers with experts, and allocated, so that the experts of all layers together stay as many as
    the model has, and so do the active ones. Layers that are dense in the model stay dense.

    A layer of 0 experts in the schedule makes the nearest layers of the model dense. Such a layer
    is a plain block as wide as the experts that a token used in it, and takes the place of as many.

    Parameters
    ----------
    config : ModelConfig
    schedule : Schedule
        Of the layers with experts; or of all layers, with 0 where the model is dense.
    active : Schedule, optional
        The active experts, of the schedule's depth. Without it they stay as they are.
    expert_parallel : int
        The expert-parallel degree: every layer has a multiple of it. Where it does not divide the
        model's experts, those that are too many are left out. Models that choose groups of experts
        first (``n_group``) get a multiple of these, too.
    minimum : int
        The fewest experts of a layer, where the schedule is a profile.

    Raises
    ------
    InvalidInput
        Where no layer has experts, the experts cannot be spread so, or a layer cannot have what it
        gets: the message names it.
    """
    if not config.moe_layers:
        raise InvalidInput(f"the config of {config.family} has no layer with experts")
    if active is not None and active.depth != schedule.depth:
        raise InvalidInput(
            f"the active schedule has {active.depth} layers, and the schedule {schedule.depth}"
        )
    given = _of_layers_with_experts(schedule, config)
    shape = None if active is None else _of_layers_with_experts(active, config)
    layers = [config.layers[place] for place in config.moe_layers]
    counts = _nearest(given, len(layers))
    spent = sum(layer.active for layer, n in zip(layers, counts, strict=True) if n == 0)
    if len(given) == len(layers) and sum(given) == config.expert_total - spent:
        used = shape
    else:
        step = math.lcm(expert_parallel, expert_groups(config)[0])
        total = (config.expert_total - spent) // step * step
        counts, used = _allocated(given, shape, layers, total, minimum, step)
    changed = dict(zip(config.moe_layers, layers, strict=True))
    for at, (place, number) in enumerate(zip(config.moe_layers, counts, strict=True)):
        k = changed[place].active if used is None else used[at]
        if number:
            _check(place, number, k, expert_parallel, expert_groups(config))
            changed[place] = changed[place].with_experts(number, k)
        else:
            changed[place] = _dense(changed[place])
    whole = (changed.get(place, layer) for place, layer in enumerate(config.layers))
    return replace(config, layers=tuple(whole))


def _allocated(
    given: Sequence[int],
    shape: Sequence[int] | None,
    layers: Sequence[LayerConfig],
    total: int,
    minimum: int,
    step: int,
) -> tuple[list[int], list[int] | None]:
    """Experts, and active experts, of each layer by the profiles given; 0 where it is dense."""
    kept = np.flatnonzero(_nearest(given, len(layers)))
    profile = _profile(given, given, len(layers))[kept]
    counts = np.zeros(len(layers), dtype=int)
    counts[kept] = allocate(profile, total, minimum, step=step).counts
    if shape is None:
        return counts.tolist(), None
    used = np.zeros(len(layers), dtype=int)
    all_used = sum(layers[place].active for place in kept)
    profile = _profile(shape, given, len(layers))[kept]
    used[kept] = allocate(profile, all_used, 1, counts[kept]).counts
    return counts.tolist(), used.tolist()


def _check(place: int, number: int, k: int, expert_parallel: int, groups: tuple[int, int]) -> None:
    """Raise `InvalidInput` where a layer cannot have what it gets."""
    if number % expert_parallel:
        reason = f"the expert-parallel degree, {expert_parallel}, does not divide that"
    elif number % groups[0]:
        reason = f"its router has {groups[0]} groups of experts, and that does not divide"
    elif k > number:
        reason = (
            f"that is fewer than the {k} that a token uses; raise the minimum, or give an active"
            " schedule"
        )
    elif k > number // groups[0] * groups[1]:
        reason = f"a token uses {k}, out of {groups[1]} of {groups[0]} groups, which are too few"
    elif k < 1:
        reason = "its active schedule has 0; a token uses at least 1"
    else:
        return
    experts = "1 expert" if number == 1 else f"{number} experts"
    raise InvalidInput(f"layer {place} gets {experts}: {reason}")


def expert_groups(config: ModelConfig) -> tuple[int, int]:
    """The groups of experts, and how many of them a token may use; (1, 1) where there are none.

    DeepSeek's routers choose groups first: ``n_group`` and ``topk_group``.
    """
    groups, chosen = config.config.get("n_group"), config.config.get("topk_group")
    if not (isinstance(groups, int) and isinstance(chosen, int) and groups > 1 and chosen >= 1):
        return 1, 1
    return groups, chosen


def _of_layers_with_experts(schedule: Schedule, config: ModelConfig) -> Sequence[int]:
    """The counts that are spread: without those of layers that are dense in the model."""
    places = config.moe_layers
    if schedule.depth == config.depth and schedule.depth > len(places):
        others = {*range(config.depth)} - {*places}
        if not any(schedule[place] for place in others):
            return [schedule[place] for place in places]
    return schedule.counts


def _nearest(counts: Sequence[int], depth: int) -> list[int]:
    """The counts at another depth, each that of the nearest layer."""
    nearest = np.rint(depth_coordinates(depth) * (len(counts) - 1)).astype(int)
    return [counts[place] for place in nearest]


def _profile(values: Sequence[int], counts: Sequence[int], depth: int) -> NDArray[np.float64]:
    """Values at another depth, interpolated between layers with experts alone."""
    if all(counts):
        return interpolate_counts(values, depth)
    known = np.flatnonzero(counts)
    at = depth_coordinates(len(counts))[known]
    return np.asarray(np.interp(depth_coordinates(depth), at, np.asarray(values)[known]))


def _dense(layer: LayerConfig) -> LayerConfig:
    """A layer with a plain block in place of its experts."""
    hidden = layer.active * layer.expert_hidden + layer.shared_hidden
    of_unit = layer.expert_products // layer.expert_hidden
    return replace(
        layer,
        experts=0,
        active=0,
        expert_hidden=0,
        expert_parameters=0,
        expert_products=0,
        router_parameters=0,
        router_parameters_per_expert=0,
        shared_hidden=0,
        shared_parameters=0,
        dense_hidden=hidden,
        dense_parameters=hidden * of_unit,
    )
