"""The families by their ``model_type``, and a plain decoder for those that are not known."""

from __future__ import annotations

from collections.abc import Mapping

from dynamoe_search.interop.families import deepseek, grouped, mixed
from dynamoe_search.interop.families.family import Family, Kind
from dynamoe_search.interop.families.parts import FeedForward, attention, experts
from dynamoe_search.interop.keys import Keys
from dynamoe_search.interop.model_config import LayerConfig

FAMILIES: Mapping[str, Family] = {
    "dbrx": grouped.DBRX,
    "deepseek_v2": deepseek.DEEPSEEK_V2,
    "deepseek_v3": deepseek.DEEPSEEK_V3,
    "dots3_note_vision_encoder": mixed.DOTS_VISION,
    "glm4_moe": grouped.GLM4_MOE,
    "gpt_oss": grouped.GPT_OSS,
    "granitemoe": grouped.GRANITEMOE,
    "jamba": mixed.JAMBA,
    "jetmoe": mixed.JETMOE,
    "llama4_text": grouped.LLAMA4,
    "mixtral": grouped.MIXTRAL,
    "nemotron_h": mixed.NEMOTRON_H,
    "olmoe": grouped.OLMOE,
    "phimoe": grouped.PHIMOE,
    "qwen2_moe": grouped.QWEN2_MOE,
    "qwen3_moe": grouped.QWEN3_MOE,
}
"""By ``model_type``."""


def _attention(keys: Keys, place: int) -> LayerConfig:
    bias = keys.flag("attention_bias")
    return attention(keys, bias=bias, output_bias=bias, window=keys.optional("sliding_window"))


def _experts(keys: Keys) -> FeedForward:
    hidden = "moe_intermediate_size" if keys.has("moe_intermediate_size") else "intermediate_size"
    shared = keys.whole("shared_expert_intermediate_size", least=0)
    shared = shared or keys.whole("n_shared_experts", least=0) * keys.whole(hidden)
    return experts(keys, ("num_experts", "num_experts_per_tok", hidden), shared=shared)


def _kind(keys: Keys, place: int) -> Kind:
    is_sparse = place >= keys.whole("first_k_dense_replace", least=0) and keys.has("num_experts")
    return "sparse" if is_sparse and keys.whole("num_experts", least=0) else "dense"


PLAIN_DECODER = Family(
    _attention,
    _experts,
    {
        **{"num_key_value_heads": None, "head_dim": None, "attention_bias": False},
        **{"tie_word_embeddings": False, "sliding_window": None, "first_k_dense_replace": 0},
        **{"shared_expert_intermediate_size": 0, "n_shared_experts": 0},
    },
    kind=_kind,
    shared_hidden="shared_expert_intermediate_size",
    same={
        **{"num_local_experts": "num_experts", "n_routed_experts": "num_experts"},
        **{"moe_num_experts": "num_experts", "moe_top_k": "num_experts_per_tok"},
        "moe_shared_expert_intermediate_size": "shared_expert_intermediate_size",
    },
)
"""Attention in groups and gated experts, all without biases: for a family that is not known."""

NEEDED_BY_PLAIN_DECODER = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
    *("intermediate_size", "num_experts_per_tok"),
)
"""The keys that a config of a family that is not known must have."""


def family_named(name: str) -> Family:
    """The family of a ``model_type``, also of one whose layers were chosen by Puzzle.

    Examples
    --------
    >>> family_named("mixtral").experts, family_named("gpt_oss_puzzle").experts
    ('num_local_experts', 'num_local_experts')
    >>> family_named("other") is PLAIN_DECODER
    True
    """
    return FAMILIES.get(name.removesuffix("_puzzle"), PLAIN_DECODER)
