"""Families with more than one kind of mixer or block. Facts of transformers 5.24.0."""

from __future__ import annotations

from dataclasses import replace

from dynamoe_search.interop.families.family import Family, Kind, always
from dynamoe_search.interop.families.grouped import depth
from dynamoe_search.interop.families.parts import (
    NO_MIXER,
    FeedForward,
    attention,
    attention_of_experts,
    dense,
    experts,
    head_width,
    mamba,
    mamba2,
)
from dynamoe_search.interop.keys import Keys
from dynamoe_search.interop.model_config import LayerConfig

_LOCAL = ("num_local_experts", "num_experts_per_tok", "intermediate_size")


def _in_step(keys: Keys, place: int, block: str) -> bool:
    """Whether a layer is one of those that come once in a period, from an offset on."""
    period = keys.whole(f"{block}_layer_period")
    return place % period == keys.whole(f"{block}_layer_offset", least=0, most=period - 1)


def _jamba_mixer(keys: Keys, place: int) -> LayerConfig:
    return attention(keys) if _in_step(keys, place, "attn") else mamba(keys)


def _jamba_kind(keys: Keys, place: int) -> Kind:
    is_sparse = _in_step(keys, place, "expert") and keys.whole("num_experts") > 1
    return "sparse" if is_sparse else "dense"


JAMBA = Family(
    _jamba_mixer,
    lambda keys: experts(keys, ("num_experts", "num_experts_per_tok", "intermediate_size")),
    {
        **{"vocab_size": 65536, "hidden_size": 4096, "num_hidden_layers": 32},
        **{"intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"tie_word_embeddings": False, "num_experts": 16, "num_experts_per_tok": 2},
        **{"expert_layer_period": 2, "expert_layer_offset": 1},
        **{"attn_layer_period": 8, "attn_layer_offset": 4},
        **{"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": "auto"},
        **{"mamba_conv_bias": True, "mamba_proj_bias": False},
    },
    kind=_jamba_kind,
    expert_hidden="intermediate_size",
    same={"num_local_experts": "num_experts"},
    renormalize=lambda keys: False,
)


def _jetmoe_mixer(keys: Keys, place: int) -> LayerConfig:
    """The experts of attention are as many as those of the feed-forward block of the model."""
    return attention_of_experts(
        keys, keys.whole("num_local_experts"), keys.whole("num_experts_per_tok")
    )


def _jetmoe_heads(keys: Keys) -> tuple[int, int, int]:
    groups, width = keys.whole("num_key_value_heads"), keys.whole("kv_channels")
    return groups * keys.whole("num_experts_per_tok"), groups, width


def _jetmoe_experts(keys: Keys) -> FeedForward:
    found = experts(keys, _LOCAL)
    # The block's output has a bias, which no number of experts changes.
    return {**found, "router_parameters": found["router_parameters"] + keys.whole("hidden_size")}


JETMOE = Family(
    _jetmoe_mixer,
    _jetmoe_experts,
    {
        **{"vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 12},
        **{"intermediate_size": 5632, "num_key_value_heads": 16, "kv_channels": 128},
        **{"num_local_experts": 8, "num_experts_per_tok": 2, "tie_word_embeddings": True},
    },
    experts="num_local_experts",
    expert_hidden="intermediate_size",
    same={
        **{"num_experts": "num_local_experts", "moe_num_experts": "num_local_experts"},
        **{"moe_top_k": "num_experts_per_tok", "ffn_hidden_size": "intermediate_size"},
        "head_dim": "kv_channels",
    },
    heads=_jetmoe_heads,
)


_BLOCKS = {
    **{"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"},
    **{"linear_attention": "mamba", "full_attention": "attention"},
    **{"mamba": "mamba", "attention": "attention", "moe": "moe", "mlp": "mlp"},
}
"""Nemotron-H's words for the block of a layer."""


def _nemotron_block(keys: Keys, place: int) -> str:
    """What a layer of Nemotron-H has, which is one block only."""
    if keys.has("hybrid_override_pattern"):
        pattern = keys.value("hybrid_override_pattern")
        if (
            not isinstance(pattern, str)
            or len(pattern) != depth(keys)
            or set(pattern) - set("M*E-")
        ):
            raise keys.refuse(
                "hybrid_override_pattern", f"{depth(keys)} letters, each of M, *, E and -"
            )
        return _BLOCKS[pattern[place]]
    blocks = keys.choices("layers_block_type", depth(keys), tuple(_BLOCKS))
    if blocks is None:
        raise keys.refuse("layers_block_type", "a list with one word per layer")
    return _BLOCKS[blocks[place]]


def _nemotron_mixer(keys: Keys, place: int) -> LayerConfig:
    block = _nemotron_block(keys, place)
    if block == "mamba":
        return mamba2(keys)
    return attention(keys) if block == "attention" else NO_MIXER


def _nemotron_kind(keys: Keys, place: int) -> Kind:
    kinds: dict[str, Kind] = {"moe": "sparse", "mlp": "dense"}
    return kinds.get(_nemotron_block(keys, place), "none")


def _nemotron_experts(keys: Keys) -> FeedForward:
    return experts(
        keys,
        ("n_routed_experts", "num_experts_per_tok", "moe_intermediate_size"),
        matrices=2,
        shared=keys.whole("moe_shared_expert_intermediate_size", least=0),
        shared_bias=keys.flag("mlp_bias"),
        latent=keys.optional("moe_latent_size"),
    )


NEMOTRON_H = Family(
    _nemotron_mixer,
    _nemotron_experts,
    {
        **{"vocab_size": 131072, "hidden_size": 4096, "num_hidden_layers": 4, "head_dim": 128},
        **{"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]},
        **{"intermediate_size": 21504, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"tie_word_embeddings": False, "mlp_bias": False, "use_bias": False},
        **{"mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8},
        **{"conv_kernel": 4, "use_conv_bias": True, "norm_topk_prob": True},
        **{"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 7688},
        **{"moe_shared_expert_intermediate_size": 7688, "moe_latent_size": None},
    },
    plain=lambda keys: dense(keys, "intermediate_size", matrices=2, bias=keys.flag("mlp_bias")),
    kind=_nemotron_kind,
    experts="n_routed_experts",
    shared_hidden="moe_shared_expert_intermediate_size",
    same={
        **{"num_local_experts": "n_routed_experts", "layer_types": "layers_block_type"},
        **{"mamba_n_groups": "n_groups", "mamba_d_conv": "conv_kernel"},
        "mamba_conv_bias": "use_conv_bias",
    },
    router="sigmoid",
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
    norms=1,
    matrices=2,
)


def _dots_attention(keys: Keys, place: int) -> LayerConfig:
    bias = keys.flag("attention_bias")
    found = attention(keys, bias=bias, output_bias=bias, norms=2 * head_width(keys))
    return replace(found, cache_elements=0)  # an encoder decodes nothing


def _dots_outside(keys: Keys) -> int:
    """The embedding of patches with its norm, and what merges patches for a language model."""
    width, inside = keys.whole("hidden_size"), keys.whole("adapter_in_dim")
    patch = keys.whole("num_channels") * keys.whole("patch_size") ** 2
    merged = inside * keys.whole("adapter_merge_size") ** 2
    out = keys.whole("adapter_out_dim")
    return patch * width + 2 * width + 2 * inside + merged * merged + merged + merged * out + out


DOTS_VISION = Family(
    _dots_attention,
    lambda keys: experts(
        keys, ("num_local_experts", "num_experts_per_tok", "moe_intermediate_size")
    ),
    {
        **{"vocab_size": 0, "hidden_size": 1536, "num_hidden_layers": 42},
        **{"intermediate_size": 4224, "num_attention_heads": 24, "num_key_value_heads": None},
        **{"attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False},
        **{"num_channels": 3, "patch_size": 14},
        **{"moe_intermediate_size": 2112, "num_local_experts": 64, "num_experts_per_tok": 2},
        **{"adapter_in_dim": 1536, "adapter_out_dim": 5120, "adapter_merge_size": 2},
        **{"pyramid_num_routed": [-1] * 25 + [*range(4, 65, 4), 64]},
    },
    plain=lambda keys: dense(keys, "intermediate_size", bias=keys.flag("mlp_bias")),
    experts="num_local_experts",
    same={
        **{"embed_dim": "hidden_size", "num_heads": "num_attention_heads"},
        "use_bias": "attention_bias",
    },
    router="sigmoid",
    query_key_norm=always,
    outside=_dots_outside,
)
