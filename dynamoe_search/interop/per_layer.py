"""What configs say for single layers: ``per_layer_config`` and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.families.family import Family, Kind
from dynamoe_search.interop.keys import LARGEST, Keys
from dynamoe_search.untrusted import shown


@dataclass(frozen=True)
class Override:
    """What one layer has that the model as a whole has not.

    Parameters
    ----------
    values : mapping
        Keys with values of their own.
    kind : {"sparse", "dense", "none"} or None
        Of the feed-forward block; None is the family's rule.
    has_mixer : bool
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind | None = None
    has_mixer: bool = True


def read_pyramid(keys: Keys, family: Family, count: int) -> list[Override]:
    """From ``pyramid_num_routed``: the experts of each layer, below 1 where it is dense.

    Its default counts only where the config does not say which layers have experts.
    """
    if not keys.has("pyramid_num_routed") and keys.values.get("mlp_layer_types") is not None:
        return [Override()] * count
    counts = keys.wholes("pyramid_num_routed", -1, LARGEST, length=count)
    most = keys.whole(family.active)
    return [
        Override({family.experts: n, family.active: min(most, n)}, "sparse")
        if n > 0
        else Override(kind="dense")
        for n in counts or ()
    ]


def read_layer_types(keys: Keys, layers: list[Override]) -> list[Override]:
    """From ``mlp_layer_types``: which layers have experts."""
    types = keys.choices("mlp_layer_types", len(layers), ("dense", "sparse")) or ()
    return [
        replace(layer, kind="sparse" if one == "sparse" else "dense")
        for layer, one in zip(layers, types, strict=True)
    ]


def read_per_layer_config(keys: Keys, family: Family, layers: list[Override]) -> list[Override]:
    """From ``per_layer_config`` of transformers: for some layers, by place, keys of their own.

    Raises
    ------
    InvalidInput
        For a place that no layer has, a layer that is no object, or a block to skip: no public
        class says what such a layer has.
    """
    found = keys.value("per_layer_config")
    if not isinstance(found, Mapping):
        raise keys.refuse("per_layer_config", "an object from places of layers to objects")
    layers = list(layers)
    for name, values in found.items():
        where = f"{keys.where}: per_layer_config: {shown(str(name))}"
        is_place = str(name).isascii() and str(name).isdigit() and len(str(name)) < 9
        if not is_place or int(name) >= len(layers):
            raise InvalidInput(f"{where} is no layer; expected a place from 0 to {len(layers) - 1}")
        if not isinstance(values, Mapping):
            raise InvalidInput(f"{where} is {shown(repr(values))}; expected an object of keys")
        if values.get("skip"):
            raise InvalidInput(f"{where}: skip is not supported; remove it, as no layer can skip")
        layer = layers[int(name)]
        layers[int(name)] = replace(layer, values={**layer.values, **values})
    return layers
