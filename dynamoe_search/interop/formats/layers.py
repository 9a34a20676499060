"""What all formats share: what is read from them, and why a layer cannot be written."""

from __future__ import annotations

from collections.abc import Sequence

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.schedules import LARGEST_TOTAL, Schedule
from dynamoe_search.untrusted import shown

Experts = tuple[Schedule, Schedule | None]
"""The experts and the active experts of each layer, 0 where it is dense; None where not said."""

MOST_LAYERS = 4096


def as_experts(counts: Sequence[object], active: Sequence[object] | None, where: str) -> Experts:
    """What was read, checked.

    Parameters
    ----------
    counts, active : sequence of object
        One per layer; of the active experts, what stands at a dense layer does not matter.
    where : str
        What was read, for messages.

    Raises
    ------
    InvalidInput
        Where a count is no whole number, a layer has fewer experts than a token uses, or the
        numbers of layers differ.

    Examples
    --------
    >>> schedule, active = as_experts([0, 8, 4], [0, 2, 2], "config.json")
    >>> str(schedule), str(active)
    ('0-8-4', '0-2-2')
    """
    if not 1 <= len(counts) <= MOST_LAYERS:
        raise InvalidInput(f"{where} has {len(counts):,} layers; expected 1 to {MOST_LAYERS:,}")
    experts = [_whole(count, layer, where) for layer, count in enumerate(counts)]
    if not any(experts):
        raise InvalidInput(f"{where} has no layer with experts")
    if active is None:
        return Schedule(tuple(experts)), None
    if len(active) != len(counts):
        raise InvalidInput(
            f"{where} has experts for {len(counts)} layers and active experts for {len(active)}"
        )
    used = [_whole(k, layer, where) if experts[layer] else 0 for layer, k in enumerate(active)]
    for layer, (number, k) in enumerate(zip(experts, used, strict=True)):
        if number and not 1 <= k <= number:
            raise InvalidInput(
                f"{where}: a token uses {k} of the {number} experts of layer {layer}; expected 1"
                f" to {number}"
            )
    return Schedule(tuple(experts)), Schedule(tuple(used))


def _whole(value: object, layer: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_TOTAL:
        raise InvalidInput(
            f"{where}: layer {layer} has {shown(repr(value))} where a number of experts, 0 to"
            f" {LARGEST_TOTAL:,}, was expected"
        )
    return value


def refuse(layer: int, target: str, reason: str) -> InvalidInput:
    """The error for a layer that a target cannot have."""
    return InvalidInput(f"{target} cannot take layer {layer}: {reason}")


def the_same(model: ModelConfig, target: str, active: bool = False) -> int:
    """The experts, or the active experts, that all layers with experts must share.

    Raises
    ------
    InvalidInput
        Where a layer differs from the first.
    """
    first = model.layers[model.moe_layers[0]]
    for place in model.moe_layers:
        layer = model.layers[place]
        own, other = (layer.active, first.active) if active else (layer.experts, first.experts)
        if own != other:
            what = "active experts" if active else "experts"
            raise refuse(
                place,
                target,
                f"it has {own} {what} and layer {model.moe_layers[0]} has {other},"
                " and there is one number for all layers",
            )
    return first.active if active else first.experts


def no_dense_layer(model: ModelConfig, target: str) -> None:
    """Raise `InvalidInput` where a layer is dense."""
    for place, layer in enumerate(model.layers):
        if not layer.experts:
            raise refuse(place, target, "it is dense, and every layer has experts there")
