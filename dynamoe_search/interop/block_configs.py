"""``block_configs``: the layers of models whose blocks were chosen one by one.

Two formats: that of Puzzletron, with the objects ``attention`` and ``ffn`` in every layer; and the
flat one of Nemotron-H, with a ``block_type`` and the keys of the model's config.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.families.family import Family, Kind
from dynamoe_search.interop.keys import Keys
from dynamoe_search.interop.per_layer import Override
from dynamoe_search.untrusted import shown

_ATTENTION = ("no_op", "num_key_value_heads", "n_heads_in_group")
_FFN = ("no_op", "intermediate_size", "moe")
_MOE = (
    *("num_local_experts", "num_experts_per_tok"),
    *("expert_intermediate_dim", "shared_expert_intermediate_dim"),
)
_KINDS: Mapping[str, Kind] = {"moe": "sparse", "mlp": "dense"}
"""The feed-forward blocks of the flat format."""


def read_block_configs(keys: Keys, family: Family, layers: list[Override]) -> list[Override]:
    """What ``block_configs`` says of each layer.

    Raises
    ------
    InvalidInput
        Where it is not a list with an object per layer, or an object has a key that is not known.
    """
    found = keys.value("block_configs")
    if not isinstance(found, list) or len(found) != len(layers):
        raise keys.refuse("block_configs", f"a list of {len(layers)} objects, one per layer")
    for place, block in enumerate(found):
        if not isinstance(block, Mapping):
            raise InvalidInput(
                f"{keys.where}: block_configs: layer {place} is {shown(repr(block))}; expected an"
                " object"
            )
    if any("block_type" in block for block in found):
        return _flat_blocks(keys, family, layers, found)
    return [
        _override(keys, family, layer, block, f"{keys.where}: block_configs: layer {place}")
        for place, (layer, block) in enumerate(zip(layers, found, strict=True))
    ]


def _flat_blocks(
    keys: Keys, family: Family, layers: list[Override], blocks: list[dict[str, Any]]
) -> list[Override]:
    """The layers in the flat format, whose keys are those of the model's config.

    In Nemotron-H a layer is one block of any type; in other families the type says which
    feed-forward block it has.
    """
    types = [block.get("block_type") for block in blocks]
    known = [one for one in types if isinstance(one, str) and one in _KINDS]
    if "layers_block_type" in family.defaults:
        keys.values["layers_block_type"] = types
        keys.values.pop("hybrid_override_pattern", None)
    elif wrong := [one for one in types if one not in known]:
        raise InvalidInput(
            f"{keys.where}: block_configs: block_type is {shown(repr(wrong[0]))}; expected one of"
            f" {', '.join(_KINDS)}"
        )
    names = {"n_routed_experts": family.experts, "moe_intermediate_size": family.expert_hidden}
    return [
        replace(
            layer,
            kind=_KINDS[one] if one in known else layer.kind,
            values={**layer.values, **{names.get(key, key): block[key] for key in block}},
        )
        for layer, block, one in zip(layers, blocks, types, strict=True)
    ]


def _override(
    keys: Keys, family: Family, layer: Override, block: Mapping[str, Any], where: str
) -> Override:
    """A layer in the format of Puzzletron."""
    attention = _part(block, "attention", _ATTENTION, where)
    ffn = _part(block, "ffn", _FFN, where)
    values = dict(layer.values)
    heads = keys.whole("num_attention_heads")
    if attention.has("num_key_value_heads"):
        values["num_key_value_heads"] = attention.whole("num_key_value_heads", most=heads)
    elif attention.has("n_heads_in_group"):
        values["num_key_value_heads"] = heads // attention.whole("n_heads_in_group", most=heads)
    has_mixer = not attention.flag("no_op")
    if ffn.flag("no_op"):
        return Override(values, "none", has_mixer)
    if ffn.has("moe"):
        moe = _part(ffn.values, "moe", _MOE, f"{where}: ffn")
        return Override({**values, **_experts(keys, family, moe)}, "sparse", has_mixer)
    if ffn.has("intermediate_size"):
        values[family.dense_hidden] = ffn.whole("intermediate_size")
        return Override(values, "dense", has_mixer)
    return Override(values, layer.kind, has_mixer)


def _experts(keys: Keys, family: Family, moe: Keys) -> dict[str, int]:
    """The experts of a layer, under the keys of the family."""
    values = {
        family.experts: moe.whole("num_local_experts"),
        family.active: moe.whole("num_experts_per_tok"),
    }
    hidden = keys.whole(family.expert_hidden)
    if moe.has("expert_intermediate_dim"):
        hidden = values[family.expert_hidden] = moe.whole("expert_intermediate_dim")
    if moe.has("shared_expert_intermediate_dim"):
        shared = moe.whole("shared_expert_intermediate_dim", least=0)
        if family.shared_hidden is not None and family.shared_hidden != family.expert_hidden:
            values[family.shared_hidden] = shared
        elif "n_shared_experts" in family.defaults and shared % hidden == 0:
            values["n_shared_experts"] = shared // hidden
        elif shared != (hidden if family.shared_hidden else 0):
            raise moe.refuse("shared_expert_intermediate_dim", "what the family can have")
    return values


def _part(block: Mapping[str, Any], name: str, known: tuple[str, ...], where: str) -> Keys:
    """An object in a layer's object, without keys that are null; all others must be known."""
    found = block.get(name)
    found = {} if found is None else found
    where = f"{where}: {name}"
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{where} is {shown(repr(found))}; expected an object")
    given = {key: value for key, value in found.items() if value is not None and value is not False}
    if unknown := [str(key) for key in given if key not in known]:
        raise InvalidInput(
            f"{where}: {shown(unknown[0])} is not known; expected some of {', '.join(known)}"
        )
    return Keys(given, where, {"no_op": False}, {})
