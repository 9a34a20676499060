"""Configs of every family: small ones, and the full-size ones that makers have published."""

import json
from pathlib import Path
from typing import Any

_LLAMA_LIKE = {
    **{"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24},
}
_LATENT = {
    **{"kv_lora_rank": 8, "q_lora_rank": 12, "v_head_dim": 6},
    **{"qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "moe_intermediate_size": 10},
    **{"n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 2},
    **{"n_group": 2, "topk_group": 1, "first_k_dense_replace": 1},
}

SMALL: dict[str, dict[str, Any]] = {
    "mixtral": {**_LLAMA_LIKE, "num_local_experts": 5, "num_experts_per_tok": 2},
    "mixtral, tied, head_dim, window": {
        **_LLAMA_LIKE,
        **{"model_type": "mixtral", "tie_word_embeddings": True, "head_dim": 6},
        **{"sliding_window": 4, "num_experts": 5},
    },
    "olmoe": {**_LLAMA_LIKE, "num_experts": 6, "num_experts_per_tok": 2},
    "olmoe, biases": {
        **_LLAMA_LIKE,
        **{"model_type": "olmoe", "attention_bias": True, "num_experts": 6},
        **{"num_experts_per_tok": 2, "num_key_value_heads": None},
    },
    "qwen2_moe": {
        **_LLAMA_LIKE,
        **{"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 10},
        **{"shared_expert_intermediate_size": 14, "decoder_sparse_step": 2},
    },
    "qwen2_moe, no bias, windows": {
        **_LLAMA_LIKE,
        **{"model_type": "qwen2_moe", "qkv_bias": False, "num_experts": 6},
        **{"num_experts_per_tok": 2, "moe_intermediate_size": 10, "mlp_only_layers": [1]},
        **{"shared_expert_intermediate_size": 14, "use_sliding_window": True},
        **{"sliding_window": 4},
    },
    "qwen3_moe": {
        **_LLAMA_LIKE,
        **{"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 10},
        **{"head_dim": 10, "mlp_only_layers": [0], "attention_bias": True},
    },
    "deepseek_v2": {**_LLAMA_LIKE, **_LATENT, "attention_bias": True, "mlp_bias": True},
    "deepseek_v2, queries in full": {
        **_LLAMA_LIKE,
        **_LATENT,
        **{"model_type": "deepseek_v2", "q_lora_rank": None},
    },
    "deepseek_v3": {**_LLAMA_LIKE, **_LATENT, "num_key_value_heads": 4, "attention_bias": True},
    "gpt_oss": {
        **_LLAMA_LIKE,
        **{"num_local_experts": 6, "num_experts_per_tok": 2, "head_dim": 10, "sliding_window": 4},
    },
    "phimoe": {
        **_LLAMA_LIKE,
        **{"num_local_experts": 6, "num_experts_per_tok": 2},
        **{"attention_bias": True, "lm_head_bias": True},
    },
    "granitemoe": {
        **_LLAMA_LIKE,
        **{"num_local_experts": 6, "num_experts_per_tok": 2, "attention_bias": True},
        **{"tie_word_embeddings": True},
    },
    "dbrx": {
        **{"vocab_size": 96, "d_model": 32, "n_heads": 4, "n_layers": 2},
        "attn_config": {"kv_n_heads": 2},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 6, "moe_top_k": 3},
    },
    "jamba": {
        **_LLAMA_LIKE,
        **{"num_hidden_layers": 6, "num_experts": 4, "num_experts_per_tok": 2},
        **{"attn_layer_period": 3, "attn_layer_offset": 1, "mamba_d_state": 5},
        **{"mamba_d_conv": 3, "mamba_expand": 2, "mamba_proj_bias": True},
    },
    "jamba, dense": {
        **_LLAMA_LIKE,
        **{"model_type": "jamba", "num_experts": 1, "num_experts_per_tok": 1},
        **{"mamba_conv_bias": False, "mamba_dt_rank": 7},
    },
    "jetmoe": {
        **{"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "kv_channels": 6},
        **{"num_key_value_heads": 2, "intermediate_size": 24, "num_local_experts": 5},
        **{"num_experts_per_tok": 3},
    },
    "llama4_text": {
        **_LLAMA_LIKE,
        **{"head_dim": 8, "intermediate_size_mlp": 40, "num_local_experts": 6},
        **{"num_hidden_layers": 5, "interleave_moe_layer_step": 2, "attention_chunk_size": 4},
    },
    "llama4_text, listed": {
        **_LLAMA_LIKE,
        **{"model_type": "llama4_text", "head_dim": 8, "intermediate_size_mlp": 40},
        **{"num_local_experts": 6, "moe_layers": [0, 2], "attention_bias": True},
        **{"num_experts_per_tok": 2},
    },
    "glm4_moe": {
        **_LLAMA_LIKE,
        **{"head_dim": 10, "moe_intermediate_size": 10, "n_routed_experts": 8, "n_group": 1},
        **{"num_experts_per_tok": 3, "n_shared_experts": 2, "first_k_dense_replace": 2},
        **{"attention_bias": True, "use_qk_norm": True},
    },
    "nemotron_h": {
        **{"vocab_size": 96, "hidden_size": 32, "num_attention_heads": 4, "head_dim": 6},
        **{"num_key_value_heads": 2, "layers_block_type": ["mamba", "moe", "attention", "mlp"]},
        **{"intermediate_size": 24, "mamba_num_heads": 4, "mamba_head_dim": 6, "n_groups": 2},
        **{"ssm_state_size": 5, "conv_kernel": 3, "n_routed_experts": 6, "use_bias": True},
        **{"num_experts_per_tok": 2, "moe_intermediate_size": 10, "mlp_bias": True},
        **{"moe_shared_expert_intermediate_size": 14},
    },
    "nemotron_h, latent": {
        **{"model_type": "nemotron_h", "vocab_size": 96, "hidden_size": 32, "head_dim": 6},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "hybrid_override_pattern": "ME*-E"},
        **{"intermediate_size": 24, "mamba_num_heads": 4, "mamba_head_dim": 6, "n_groups": 2},
        **{"n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 10},
        **{"moe_shared_expert_intermediate_size": 14, "moe_latent_size": 12},
    },
    "dots3_note_vision_encoder": {
        **{"hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 4},
        **{"num_attention_heads": 4, "moe_intermediate_size": 10, "num_experts_per_tok": 2},
        **{"pyramid_num_routed": [-1, 1, 4, 8], "adapter_in_dim": 32, "adapter_out_dim": 20},
        **{"attention_bias": True, "patch_size": 2},
    },
}
"""By a name that begins with the ``model_type``."""
for _name, _config in SMALL.items():
    _config.setdefault("model_type", _name)

FULL_SIZE: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("full_size.json").read_text()
)
"""By model: ``config``, and what its makers have ``published``."""
