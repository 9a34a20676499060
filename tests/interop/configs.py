"""Configs of a few layers, of several public families, as their makers write them."""

from typing import Any

_ALL = {"hidden_size": 16, "vocab_size": 32, "num_attention_heads": 4, "num_hidden_layers": 4}
_GROUPED = {**_ALL, "num_key_value_heads": 2}
_DEEPSEEK = {
    **_ALL,
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "intermediate_size": 32,
    "n_group": 2,
    "topk_group": 1,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "mixtral": {
        **_GROUPED,
        "intermediate_size": 24,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    "olmoe": {
        **_ALL,
        "num_key_value_heads": 4,
        "intermediate_size": 8,
        "num_experts": 8,
        "num_experts_per_tok": 4,
    },
    "qwen3_moe": {
        **_GROUPED,
        "head_dim": 4,
        "mlp_only_layers": [2],
        "intermediate_size": 32,
        "moe_intermediate_size": 8,
        "num_experts": 8,
        "num_experts_per_tok": 2,
    },
    "deepseek_v3": _DEEPSEEK,
    "glm4_moe": {
        **_GROUPED,
        "head_dim": 4,
        "first_k_dense_replace": 2,
        "intermediate_size": 32,
        "moe_intermediate_size": 8,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
    },
    "gpt_oss": {
        **_GROUPED,
        "head_dim": 4,
        "intermediate_size": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    "jamba": {
        **_GROUPED,
        "intermediate_size": 8,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "attn_layer_period": 4,
        "attn_layer_offset": 2,
        "mamba_dt_rank": 2,
    },
}


def config_of(family: str) -> dict[str, Any]:
    """A config as a file has it."""
    return {"model_type": family, **CONFIGS[family]}
