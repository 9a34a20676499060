"""``per_layer_config`` of a Hugging Face config: what differs from the config, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.formats.layers import Experts, as_experts, refuse
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.interop.reading import read_config
from dynamoe_search.untrusted import parse_json

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_ACTIVE = ("num_experts_per_tok",)
_TARGET = "per_layer_config"
_OF_LAYERS = (_TARGET, "block_configs", "pyramid_num_routed")


def write_per_layer_config(model: ModelConfig, expert_parallel: int) -> str:
    """The config with ``per_layer_config``, as transformers 5.24 reads it.

    Layers that are dense in the config stay as its own keys have them.
    """
    for place, layer in enumerate(model.layers):
        if layer.mixer == "mixture of attention heads":
            raise refuse(place, _TARGET, "the experts of its attention share the same key")
    experts, active = _key(model, _EXPERTS), _key(model, _ACTIVE)
    width = max(2, len(str(model.depth - 1)))
    own = {
        f"{place:0{width}}": {experts: layer.experts, active: layer.active}
        for place, layer in enumerate(model.layers)
        if layer.experts
    }
    return json_of(model, {_TARGET: own})


def read_per_layer_config(text: str, where: str) -> Experts:
    """Experts per layer from a config of any family that `read_config` knows."""
    content = parse_json(text, where)
    if not isinstance(content, dict):
        raise InvalidInput(f"{where} is no JSON object")
    model = read_config(content)
    return as_experts(
        [layer.experts for layer in model.layers], [layer.active for layer in model.layers], where
    )


def json_of(model: ModelConfig, more: Mapping[str, Any]) -> str:
    """The config of a model as JSON with more keys, and without what it said of single layers."""
    kept = {key: value for key, value in model.config.items() if key not in _OF_LAYERS}
    return json.dumps(kept | dict(more), indent=2) + "\n"


def _key(model: ModelConfig, names: tuple[str, ...]) -> str:
    own = model.config.get(_TARGET)
    layers = [one for one in own.values() if isinstance(one, dict)] if isinstance(own, dict) else []
    found = [name for name in names if any(name in keys for keys in (model.config, *layers))]
    if not found:
        raise InvalidInput(
            f"{_TARGET} cannot take a config of {model.family} without {' or '.join(names)}: a"
            " layer can only have keys that the config itself has"
        )
    return found[0]
