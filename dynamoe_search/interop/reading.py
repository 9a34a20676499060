"""Read the config of a real model: `read_config`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.block_configs import read_block_configs
from dynamoe_search.interop.families.any_family import (
    FAMILIES,
    NEEDED_BY_PLAIN_DECODER,
    PLAIN_DECODER,
    family_named,
)
from dynamoe_search.interop.families.family import TRANSFORMERS, Family
from dynamoe_search.interop.families.grouped import depth
from dynamoe_search.interop.families.parts import NO_MIXER
from dynamoe_search.interop.keys import Keys
from dynamoe_search.interop.model_config import LayerConfig, ModelConfig
from dynamoe_search.interop.per_layer import (
    Override,
    read_layer_types,
    read_per_layer_config,
    read_pyramid,
)
from dynamoe_search.untrusted import excess_of, parse_json, read_text, shown

_PER_LAYER = ("per_layer_config", "block_configs", "pyramid_num_routed")
_LISTS = ("block_configs", "layers_block_type", "hybrid_override_pattern", "layer_types")


def read_config(config: str | Path | Mapping[str, Any]) -> ModelConfig:
    """Read the config of a model as Hugging Face's ``config.json`` has it.

    Every key that matters is checked. Missing keys are taken from the model class of transformers
    5.24.0, and named in `ModelConfig.notes`. Of a model with several parts, such as Llama 4, it
    reads the language model.

    Parameters
    ----------
    config : path or mapping
        The file, a folder with a ``config.json``, or the JSON object itself.

    Returns
    -------
    ModelConfig

    Raises
    ------
    InvalidInput
        For a file that cannot be read, a family that is not known, or a key whose value is not
        what it must be: with the key, the value, and what was expected.

    Examples
    --------
    >>> model = read_config({"model_type": "mixtral", "num_hidden_layers": 2})
    >>> model.total_parameters, model.active_parameters, str(model.schedule)
    (3164688384, 1050759168, '8-8')
    """
    values, where = _object_of(config)
    family, name, values, notes = _family_of(values, where)
    keys = Keys(_flat(values, family, where), where, family.defaults, family.same)
    lists = [values[key] for key in _LISTS if isinstance(values.get(key), list | str)]
    if lists and not keys.has("num_hidden_layers"):
        keys.values["num_hidden_layers"] = len(lists[0])
    notes += _defaults_taken(keys, family)
    overrides = _overrides(keys, family)
    layers = tuple(_layer(keys, family, place, one) for place, one in enumerate(overrides))
    return _model(keys, family, name, values, layers, notes)


def _object_of(config: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The JSON object, and what it is for messages."""
    if isinstance(config, Mapping):
        content: Any = dict(config)
        where = "the config"
        if found := excess_of(content):
            raise InvalidInput(f"{where}: {shown('.'.join(found[0]))}: {found[1]}")
    else:
        path = Path(os.fspath(config))
        path = path / "config.json" if path.is_dir() else path
        where = shown(str(path))
        content = parse_json(read_text(path), where)
    if not isinstance(content, dict):
        raise InvalidInput(f"{where} is not a config: expected a JSON object with a model_type")
    return content, where


def _family_of(
    values: dict[str, Any], where: str
) -> tuple[Family, str, dict[str, Any], tuple[str, ...]]:
    """The family, its name, the object that describes its decoder, and what is to note."""
    name, notes = values.get("model_type"), tuple[str, ...]()
    if not isinstance(name, str):
        raise InvalidInput(
            f"{where}: model_type is {shown(repr(name))}; expected the name of a family, such as"
            f" {', '.join(FAMILIES)}"
        )
    inner = values.get("text_config")
    if name not in FAMILIES and isinstance(inner, dict):
        # Of a model with several parts, its language model; Llama 4 need not name it.
        tied = {key: values[key] for key in ("tie_word_embeddings",) if key in values}
        values = {**tied, **inner}
        name = inner["model_type"] if isinstance(inner.get("model_type"), str) else f"{name}_text"
        notes = ("Only the language model is counted: the object text_config.",)
    family = family_named(name)
    if family is not PLAIN_DECODER:
        return family, name, values, notes
    if any(values.get(key) is not None for key in _PER_LAYER):
        note = (
            f"{shown(name)} is not a known family: counted as a decoder with attention in groups"
            " and gated experts, without biases and norms of queries and keys.",
        )
        return PLAIN_DECODER, name, values, notes + note
    raise InvalidInput(
        f"{where}: model_type {shown(name)} is not known; known are {', '.join(FAMILIES)}. A"
        f" config of another family needs one of {', '.join(_PER_LAYER)}, and the keys"
        f" {', '.join(NEEDED_BY_PLAIN_DECODER)}; it is then counted as a plain decoder"
    )


def _flat(values: dict[str, Any], family: Family, where: str) -> dict[str, Any]:
    """The object, with the keys of the objects in it that describe the model, too."""
    flat: dict[str, Any] = {}
    for name in family.nested:
        inner = values.get(name)
        if inner is not None and not isinstance(inner, dict):
            raise InvalidInput(f"{where}: {name} is {shown(repr(inner))}; expected an object")
        # The width of the model is a key of its own.
        flat |= {key: value for key, value in (inner or {}).items() if key != "hidden_size"}
    return flat | values


def _defaults_taken(keys: Keys, family: Family) -> tuple[str, ...]:
    """What the config does not say, and the public library's class does."""
    unused: tuple[str, ...] = ()
    if "use_sliding_window" in family.defaults and not keys.flag("use_sliding_window"):
        unused = ("sliding_window", "max_window_layers")
    taken = {
        name: value
        for name, value in family.defaults.items()
        if type(value) is int and value > 0 and not keys.has(name) and name not in unused
    }
    if not taken or family is PLAIN_DECODER:
        return ()
    listed = ", ".join(f"{name} {value}" for name, value in taken.items())
    return (f"Not in the config, so as in transformers {TRANSFORMERS}: {listed}.",)


def _overrides(keys: Keys, family: Family) -> list[Override]:
    """What the config says for each layer of its own."""
    layers = [Override()] * depth(keys)
    if "pyramid_num_routed" in (*keys.values, *keys.defaults):
        layers = read_pyramid(keys, family, len(layers))
    if keys.values.get("per_layer_config") is not None:
        layers = read_per_layer_config(keys, family, layers)
    if keys.values.get("block_configs") is not None:
        layers = read_block_configs(keys, family, layers)
    if keys.values.get("mlp_layer_types") is not None:
        layers = read_layer_types(keys, layers)
    return layers


def _layer(keys: Keys, family: Family, place: int, override: Override) -> LayerConfig:
    """One layer, counted."""
    own = keys.overridden(override.values, f"{keys.where}: layer {place}")
    mixer = family.mixer(own, place) if override.has_mixer else NO_MIXER
    kind = override.kind or family.kind(own, place)
    block: Mapping[str, Any] = {}
    if kind != "none":
        block = family.routed(own) if kind == "sparse" else family.plain(own)
    # A block that is left out has no norm either.
    left_out = (not override.has_mixer) + (override.kind == "none")
    norms = max(0, family.norms - left_out) * family.norm_vectors * keys.whole("hidden_size")
    return replace(mixer, norm_parameters=norms, **block)


def _model(
    keys: Keys,
    family: Family,
    name: str,
    values: Mapping[str, Any],
    layers: tuple[LayerConfig, ...],
    notes: tuple[str, ...],
) -> ModelConfig:
    """The whole model, from its layers."""
    width, vocabulary = keys.whole("hidden_size"), keys.whole("vocab_size", least=0)
    head = vocabulary * width
    if "lm_head_bias" in keys.defaults and keys.flag("lm_head_bias"):
        head += vocabulary
    if keys.values.get("num_nextn_predict_layers") and keys.whole("num_nextn_predict_layers"):
        notes += (
            "Left out: the further layers that predict more than the next token"
            " (num_nextn_predict_layers).",
        )
    if keys.values.get("topk_group") and keys.values.get("n_group") not in (None, 1):
        chosen = f"{keys.whole('topk_group')} of {keys.whole('n_group')}"
        notes += (
            f"Its router may first choose {chosen} groups of experts; then it reaches fewer ways"
            " to route a token than are counted.",
        )
    heads, groups, head_size = family.heads(keys)
    return ModelConfig(
        family=name,
        config=values,
        width=width,
        vocabulary=vocabulary,
        heads=heads,
        key_value_heads=groups,
        head_width=head_size,
        query_key_norm=family.query_key_norm(keys),
        matrices=family.matrices,
        router=family.router,
        renormalize=family.renormalize(keys),
        embedding_parameters=vocabulary * width,
        head_parameters=0 if keys.flag("tie_word_embeddings") else head,
        other_parameters=family.norm_vectors * width + family.outside(keys),
        layers=layers,
        notes=notes,
    )
