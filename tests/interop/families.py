"""The smallest models of public families, built from the configuration classes of transformers."""

from collections.abc import Callable

import torch
import transformers
from torch import nn

VOCABULARY, DEPTH = 48, 3
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_DEEPSEEK = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}
_SIX = {"num_local_experts": 6, "num_experts_per_tok": 2}
_QWEN = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 8}
_CONFIGS: dict[str, tuple[str, dict[str, object]]] = {
    "mixtral": ("Mixtral", {**_SIZES, **_SIX}),
    "olmoe": ("Olmoe", {**_SIZES, "num_experts": 6, "num_experts_per_tok": 3}),
    "qwen2_moe": (
        "Qwen2Moe",
        {**_SIZES, **_QWEN, "shared_expert_intermediate_size": 8, "mlp_only_layers": [1]},
    ),
    "qwen3_moe": ("Qwen3Moe", {**_SIZES, **_QWEN, "head_dim": 8}),
    "deepseek_v2": (
        "DeepseekV2",
        {**_SIZES, **_DEEPSEEK, "topk_method": "group_limited_greedy"},
    ),
    "deepseek_v3": ("DeepseekV3", {**_SIZES, **_DEEPSEEK}),
    "glm4_moe": ("Glm4Moe", {**_SIZES, **_DEEPSEEK, "head_dim": 8}),
    "gpt_oss": ("GptOss", {**_SIZES, **_SIX, "head_dim": 8}),
    "granitemoe": ("GraniteMoe", {**_SIZES, **_SIX}),
    "phimoe": ("Phimoe", {**_SIZES, **_SIX}),
    "jetmoe": ("JetMoe", {**_SIZES, **_SIX, "kv_channels": 8}),
    "llama4": (
        "Llama4",
        {
            **_SIZES,
            "num_local_experts": 6,
            "num_experts_per_tok": 1,
            "head_dim": 8,
            "intermediate_size_mlp": 24,
            "interleave_moe_layer_step": 1,
            "attention_chunk_size": 32,
        },
    ),
    "dbrx": (
        "Dbrx",
        {
            "d_model": 16,
            "n_heads": 2,
            "n_layers": DEPTH,
            "max_seq_len": 64,
            "vocab_size": VOCABULARY,
            "ffn_config": {
                "ffn_hidden_size": 24,
                "moe_num_experts": 6,
                "moe_top_k": 2,
                "hidden_size": 16,
            },
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        },
    ),
    "jamba": (
        "Jamba",
        {
            **_SIZES,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
        },
    ),
}
FAMILIES = tuple(_CONFIGS)


def build(family: str, **changes: object) -> nn.Module:
    """A model in evaluation mode, with weights that make routers choose differently by token."""
    name, sizes = _CONFIGS[family]
    config = "Llama4Text" if family == "llama4" else name
    make: Callable[..., nn.Module] = getattr(transformers, f"{name}ForCausalLM")
    torch.manual_seed(0)
    model = make(getattr(transformers, f"{config}Config")(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn_like(parameter)
            parameter.copy_(0.2 * drawn if parameter.ndim > 1 else 1 + 0.1 * drawn)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.3 * torch.randn_like(buffer))
    return model


def tokens(batch: int = 2, length: int = 9, seed: int = 1) -> torch.Tensor:
    """Ids of tokens, none of them that of padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)
