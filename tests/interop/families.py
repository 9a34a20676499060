"""Models of public families, built from the smallest configurations, with weights drawn."""

from typing import Any

import torch
import transformers

from tests.interop.configs import SMALL

FAMILIES = tuple(name for name in SMALL if "," not in name and name != "dots3_note_vision_encoder")


def build(family: str, **changes: Any) -> Any:
    """A causal language model in evaluation mode, whose routers choose differently by token."""
    keys = {**SMALL[family], **changes}
    if "moe_intermediate_size" in keys:
        keys["moe_intermediate_size"] = 12  # a grouped product needs strides of 16 bytes
    if family == "dbrx":  # defaults that its own class lacks
        keys["attn_config"] = {**keys["attn_config"], "rope_theta": 10_000.0, "clip_qkv": 8.0}
        keys["ffn_config"] = {**keys["ffn_config"], "hidden_size": keys["d_model"]}
    config = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn_like(parameter)
            is_matrix = parameter.ndim > 1
            if not name.endswith("A_log"):
                parameter.copy_(0.2 * drawn if is_matrix else 1 + 0.1 * drawn)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.copy_(0.3 * torch.randn_like(buffer))
    return model


def tokens(batch: int = 2, length: int = 9, seed: int = 1) -> torch.Tensor:
    """Ids of tokens, none of them that of padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 96, (batch, length), generator=generator)
