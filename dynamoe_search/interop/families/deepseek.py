"""DeepSeek's families: latent attention, shared experts, plain layers first.

Facts of transformers 5.24.0.
"""

from __future__ import annotations

from dynamoe_search.interop.families.family import Family, Kind
from dynamoe_search.interop.families.parts import FeedForward, dense, experts, latent_attention
from dynamoe_search.interop.keys import Keys


def first_dense(keys: Keys, place: int) -> Kind:
    """The first layers are plain, all others have experts."""
    if keys.has("moe_layer_freq"):
        keys.whole("moe_layer_freq", most=1)  # the public library knows no other
    return "sparse" if place >= keys.whole("first_k_dense_replace", least=0) else "dense"


def deepseek_experts(keys: Keys) -> FeedForward:
    """Routed experts beside shared ones of the same width."""
    shared = keys.whole("moe_intermediate_size") * keys.whole("n_shared_experts", least=0)
    bias = "mlp_bias" in keys.defaults and keys.flag("mlp_bias")
    names = ("n_routed_experts", "num_experts_per_tok", "moe_intermediate_size")
    return experts(keys, names, shared=shared, shared_bias=bias)


def _heads(keys: Keys) -> tuple[int, int, int]:
    """Every head has keys and values of its own, from the short vector."""
    heads = keys.whole("num_attention_heads")
    return heads, heads, keys.whole("qk_nope_head_dim") + keys.whole("qk_rope_head_dim")


DEEPSEEK_V2 = Family(
    lambda keys, place: latent_attention(keys),
    deepseek_experts,
    {
        **{"vocab_size": 102400, "hidden_size": 4096, "num_hidden_layers": 32},
        **{"intermediate_size": 11008, "num_attention_heads": 32, "num_key_value_heads": None},
        **{"attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False},
        **{"kv_lora_rank": 512, "q_lora_rank": 1536, "v_head_dim": 128},
        **{"qk_nope_head_dim": 128, "qk_rope_head_dim": 64},
        **{"n_routed_experts": 64, "n_shared_experts": 2, "moe_intermediate_size": 1407},
        **{"first_k_dense_replace": 0, "norm_topk_prob": False},
    },
    plain=lambda keys: dense(keys, "intermediate_size", bias=keys.flag("mlp_bias")),
    kind=first_dense,
    heads=_heads,
    experts="n_routed_experts",
    same={"num_experts": "n_routed_experts"},
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
)

DEEPSEEK_V3 = Family(
    lambda keys, place: latent_attention(keys),
    deepseek_experts,
    {
        **{"vocab_size": 129280, "hidden_size": 7168, "num_hidden_layers": 61},
        **{"intermediate_size": 18432, "num_attention_heads": 128, "num_key_value_heads": 128},
        **{"attention_bias": False, "tie_word_embeddings": False},
        **{"kv_lora_rank": 512, "q_lora_rank": 1536, "v_head_dim": 128},
        **{"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "num_experts_per_tok": 8},
        **{"n_routed_experts": 256, "n_shared_experts": 1, "moe_intermediate_size": 2048},
        **{"first_k_dense_replace": 3, "norm_topk_prob": True},
    },
    kind=first_dense,
    heads=_heads,
    experts="n_routed_experts",
    same={"num_local_experts": "n_routed_experts", "num_experts": "n_routed_experts"},
    router="sigmoid",
    renormalize=lambda keys: keys.flag("norm_topk_prob"),
)
