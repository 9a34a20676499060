"""Families whose attention shares keys and values in groups. Facts of transformers 5.24.0."""

from __future__ import annotations

from dynamoe_search.interop.families.deepseek import deepseek_experts, first_dense
from dynamoe_search.interop.families.family import Family, Kind, always
from dynamoe_search.interop.families.parts import (
    FeedForward,
    attention,
    dense,
    experts,
    head_width,
    key_value_heads,
)
from dynamoe_search.interop.keys import LARGEST, MOST_LAYERS, Keys
from dynamoe_search.interop.model_config import LayerConfig

_EXPERTS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
_LOCAL = ("num_local_experts", "num_experts_per_tok", "intermediate_size")
_LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention")


def depth(keys: Keys) -> int:
    """The number of layers."""
    return keys.whole("num_hidden_layers", most=MOST_LAYERS)


def window_of(keys: Keys, place: int, name: str, is_short: bool) -> int | None:
    """The longest context of a layer: the key `name`, where its type says that it is short.

    `is_short` decides where the config has no ``layer_types``.
    """
    types = keys.choices("layer_types", depth(keys), _LAYER_TYPES)
    is_short = is_short if types is None else types[place] != "full_attention"
    return keys.optional(name) if is_short else None


def _mixtral_attention(keys: Keys, place: int) -> LayerConfig:
    return attention(keys, window=keys.optional("sliding_window"))


def _local_experts(keys: Keys) -> FeedForward:
    return experts(keys, _LOCAL)


def _number_experts(keys: Keys) -> FeedForward:
    return experts(keys, _EXPERTS)


MIXTRAL = Family(
    _mixtral_attention,
    _local_experts,
    {
        **{"vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32},
        **{"intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"head_dim": None, "sliding_window": None, "tie_word_embeddings": False},
        **{"num_local_experts": 8, "num_experts_per_tok": 2},
    },
    experts="num_local_experts",
    expert_hidden="intermediate_size",
    same={"num_experts": "num_local_experts"},
)


def _olmoe_attention(keys: Keys, place: int) -> LayerConfig:
    width, bias = keys.whole("hidden_size"), keys.flag("attention_bias")
    norms = width + width // keys.whole("num_attention_heads") * key_value_heads(keys)
    return attention(keys, bias=bias, output_bias=bias, norms=norms)


OLMOE = Family(
    _olmoe_attention,
    lambda keys: experts(keys, ("num_experts", "num_experts_per_tok", "intermediate_size")),
    {
        **{"vocab_size": 50304, "hidden_size": 2048, "num_hidden_layers": 16},
        **{"intermediate_size": 2048, "num_attention_heads": 16, "num_key_value_heads": None},
        **{"attention_bias": False, "tie_word_embeddings": False},
        **{"num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": False},
    },
    expert_hidden="intermediate_size",
    same={"num_local_experts": "num_experts"},
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
    query_key_norm=always,
)


def _qwen_kind(keys: Keys, place: int) -> Kind:
    """Every s-th layer has experts, except those that are listed."""
    listed = keys.wholes("mlp_only_layers", 0, LARGEST) or ()
    in_step = (place + 1) % keys.whole("decoder_sparse_step") == 0
    has_experts = keys.whole("num_experts", least=0) > 0
    return "sparse" if has_experts and in_step and place not in listed else "dense"


def _qwen2_attention(keys: Keys, place: int) -> LayerConfig:
    is_used = keys.flag("use_sliding_window")
    is_short = is_used and place % 2 == 0 and place < keys.whole("max_window_layers", least=0)
    window = window_of(keys, place, "sliding_window", is_short) if is_used else None
    return attention(keys, bias=keys.flag("qkv_bias"), window=window)


def _qwen2_experts(keys: Keys) -> FeedForward:
    shared = keys.whole("shared_expert_intermediate_size", least=0)
    return experts(keys, _EXPERTS, shared=shared, shared_gate=True)


QWEN2_MOE = Family(
    _qwen2_attention,
    _qwen2_experts,
    {
        **{"vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 24},
        **{"intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16},
        **{"tie_word_embeddings": False, "qkv_bias": True, "layer_types": None},
        **{"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28},
        **{"decoder_sparse_step": 1, "mlp_only_layers": None, "norm_topk_prob": False},
        **{"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408},
        **{"shared_expert_intermediate_size": 5632},
    },
    kind=_qwen_kind,
    shared_hidden="shared_expert_intermediate_size",
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
)


def _qwen3_attention(keys: Keys, place: int) -> LayerConfig:
    bias, norms = keys.flag("attention_bias"), 2 * head_width(keys)
    window = keys.optional("sliding_window") if keys.flag("use_sliding_window") else None
    return attention(keys, bias=bias, output_bias=bias, norms=norms, window=window)


QWEN3_MOE = Family(
    _qwen3_attention,
    _number_experts,
    {
        **{"vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 24},
        **{"intermediate_size": 6144, "num_attention_heads": 32, "num_key_value_heads": 4},
        **{"tie_word_embeddings": False, "attention_bias": False},
        **{"use_sliding_window": False, "sliding_window": 4096},
        **{"decoder_sparse_step": 1, "mlp_only_layers": None, "norm_topk_prob": False},
        **{"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
    },
    kind=_qwen_kind,
    same={"num_local_experts": "num_experts"},
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
    query_key_norm=always,
)


def _gpt_oss_attention(keys: Keys, place: int) -> LayerConfig:
    bias = keys.flag("attention_bias")
    window = window_of(keys, place, "sliding_window", is_short=place % 2 == 0)
    return attention(keys, bias=bias, output_bias=bias, sinks=True, window=window)


GPT_OSS = Family(
    _gpt_oss_attention,
    lambda keys: experts(keys, _LOCAL, bias=True),
    {
        **{"vocab_size": 201088, "hidden_size": 2880, "num_hidden_layers": 36, "head_dim": 64},
        **{"intermediate_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8},
        **{"attention_bias": True, "tie_word_embeddings": False},
        **{"sliding_window": 128, "layer_types": None},
        **{"num_local_experts": 128, "num_experts_per_tok": 4},
    },
    experts="num_local_experts",
    expert_hidden="intermediate_size",
    same={"num_experts": "num_local_experts"},
)


def _phimoe_attention(keys: Keys, place: int) -> LayerConfig:
    bias, window = keys.flag("attention_bias"), keys.optional("sliding_window")
    return attention(keys, bias=bias, output_bias=bias, window=window)


PHIMOE = Family(
    _phimoe_attention,
    _local_experts,
    {
        **{"vocab_size": 32064, "hidden_size": 4096, "num_hidden_layers": 32},
        **{"intermediate_size": 6400, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"attention_bias": False, "lm_head_bias": False, "tie_word_embeddings": False},
        **{"sliding_window": None, "num_local_experts": 16, "num_experts_per_tok": 2},
    },
    experts="num_local_experts",
    expert_hidden="intermediate_size",
    # Its two experts are chosen, and weighed, one after another: the gates sum to at most 2.
    renormalize=lambda keys: False,
    norm_vectors=2,
)


def _granite_attention(keys: Keys, place: int) -> LayerConfig:
    bias = keys.flag("attention_bias")
    return attention(keys, bias=bias, output_bias=bias)


GRANITEMOE = Family(
    _granite_attention,
    _local_experts,
    {
        **{"vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32},
        **{"intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": None},
        **{"attention_bias": False, "tie_word_embeddings": False},
        **{"num_local_experts": 8, "num_experts_per_tok": 2},
    },
    experts="num_local_experts",
    expert_hidden="intermediate_size",
)


DBRX = Family(
    lambda keys, place: attention(keys),
    _number_experts,
    {
        **{"vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 24},
        **{"num_attention_heads": 16, "num_key_value_heads": 1, "tie_word_embeddings": False},
        **{"num_experts": 4, "num_experts_per_tok": 1, "moe_intermediate_size": 3584},
    },
    same={
        **{"d_model": "hidden_size", "n_layers": "num_hidden_layers"},
        **{"n_heads": "num_attention_heads", "kv_n_heads": "num_key_value_heads"},
        **{"moe_num_experts": "num_experts", "moe_top_k": "num_experts_per_tok"},
        "ffn_hidden_size": "moe_intermediate_size",
    },
    nested=("attn_config", "ffn_config"),
)


def _llama4_kind(keys: Keys, place: int) -> Kind:
    """The listed layers have experts; without a list, every s-th."""
    listed = keys.wholes("moe_layers", 0, LARGEST)
    if listed is not None:
        return "sparse" if place in listed else "dense"
    return "sparse" if (place + 1) % keys.whole("interleave_moe_layer_step") == 0 else "dense"


def _llama4_attention(keys: Keys, place: int) -> LayerConfig:
    """Attention in chunks, but in every fourth layer, where there are no positions."""
    positions = keys.wholes("no_rope_layers", 0, 1)
    if positions and len(positions) != depth(keys):
        raise keys.refuse("no_rope_layers", f"one number for each of the {depth(keys)} layers")
    interval = keys.whole("no_rope_layer_interval")
    is_short = bool(positions[place]) if positions else (place + 1) % interval != 0
    window = window_of(keys, place, "attention_chunk_size", is_short)
    bias = keys.flag("attention_bias")
    return attention(keys, bias=bias, output_bias=bias, window=window)


LLAMA4 = Family(
    _llama4_attention,
    lambda keys: experts(keys, _LOCAL, shared=keys.whole("intermediate_size")),
    {
        **{"vocab_size": 202048, "hidden_size": 5120, "num_hidden_layers": 48, "head_dim": 128},
        **{"intermediate_size": 8192, "intermediate_size_mlp": 16384},
        **{"num_attention_heads": 40, "num_key_value_heads": 8, "attention_bias": False},
        **{"tie_word_embeddings": False, "use_qk_norm": True, "layer_types": None},
        **{"num_local_experts": 16, "num_experts_per_tok": 1},
        **{"moe_layers": None, "interleave_moe_layer_step": 1},
        **{"no_rope_layers": None, "no_rope_layer_interval": 4, "attention_chunk_size": 8192},
    },
    plain=lambda keys: dense(keys, "intermediate_size_mlp"),
    kind=_llama4_kind,
    experts="num_local_experts",
    expert_hidden="intermediate_size",
    dense_hidden="intermediate_size_mlp",
    shared_hidden="intermediate_size",
    router="sigmoid",
    renormalize=lambda keys: False,
    query_key_norm=lambda keys: keys.flag("use_qk_norm"),
)


def _glm_attention(keys: Keys, place: int) -> LayerConfig:
    norms = 2 * head_width(keys) * keys.flag("use_qk_norm")
    return attention(keys, bias=keys.flag("attention_bias"), norms=norms)


GLM4_MOE = Family(
    _glm_attention,
    deepseek_experts,
    {
        **{"vocab_size": 151552, "hidden_size": 4096, "num_hidden_layers": 46},
        **{"intermediate_size": 10944, "num_attention_heads": 96, "num_key_value_heads": 8},
        **{"attention_bias": False, "tie_word_embeddings": False, "use_qk_norm": False},
        **{"moe_intermediate_size": 1408, "num_experts_per_tok": 8, "n_routed_experts": 128},
        **{"n_shared_experts": 1, "first_k_dense_replace": 1, "norm_topk_prob": True},
    },
    kind=first_dense,
    experts="n_routed_experts",
    same={"num_local_experts": "n_routed_experts", "num_experts": "n_routed_experts"},
    router="sigmoid",
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
    query_key_norm=lambda keys: keys.flag("use_qk_norm"),
)
