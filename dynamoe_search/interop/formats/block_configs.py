"""``block_configs`` of a config: nested, as Puzzletron's; and flat, as Nemotron-H-Puzzle's."""

from __future__ import annotations

from typing import Any

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.formats.huggingface import json_of
from dynamoe_search.interop.formats.layers import Experts, as_experts, refuse
from dynamoe_search.interop.model_config import LayerConfig, ModelConfig
from dynamoe_search.untrusted import parse_json

_KEY = "block_configs"
_ATTENTION = ("attention", "latent attention")


def write_puzzletron(model: ModelConfig, expert_parallel: int) -> str:
    """The config with Puzzletron's ``block_configs``: attention and feed-forward of each layer."""
    blocks: list[dict[str, Any]] = []
    for place, layer in enumerate(model.layers):
        if layer.mixer not in _ATTENTION:
            raise refuse(place, "Puzzletron", f"its mixer is {layer.mixer}, not attention")
        if layer.experts:
            feed_forward: dict[str, Any] = {
                "moe": {
                    "num_local_experts": layer.experts,
                    "num_experts_per_tok": layer.active,
                    "expert_intermediate_dim": layer.expert_hidden,
                    "shared_expert_intermediate_dim": layer.shared_hidden,
                }
            }
        else:
            feed_forward = {"intermediate_size": layer.dense_hidden}
        attention = {"num_key_value_heads": model.key_value_heads}
        blocks.append({"attention": attention, "ffn": feed_forward})
    return json_of(model, {_KEY: blocks})


def read_puzzletron(text: str, where: str) -> Experts:
    """Experts per layer from Puzzletron's ``block_configs``."""
    pairs = []
    for place, block in enumerate(_blocks(text, where)):
        feed_forward = block.get("ffn")
        if not isinstance(feed_forward, dict):
            raise InvalidInput(f"{where}: block {place} has no ffn; is it flat, of Nemotron?")
        moe = feed_forward.get("moe")
        pairs.append(_pair(moe, "num_local_experts") if isinstance(moe, dict) else (0, 0))
    return as_experts([one for one, _ in pairs], [k for _, k in pairs], where)


def write_nemotron(model: ModelConfig, expert_parallel: int) -> str:
    """The config with flat ``block_configs``: a mixer is a block, and so is what follows it."""
    blocks: list[dict[str, Any]] = []
    for place, layer in enumerate(model.layers):
        if layer.mixer == "mixture of attention heads":
            raise refuse(place, "Nemotron", f"its mixer is a {layer.mixer}")
        if layer.mixer != "none":
            blocks.append({"block_type": "mamba" if layer.mixer == "mamba" else "attention"})
        blocks += _flat_feed_forward(layer)
    return json_of(model, {_KEY: blocks, "num_hidden_layers": len(blocks)})


def read_nemotron(text: str, where: str) -> Experts:
    """Experts of each feed-forward block, from flat ``block_configs``."""
    pairs = []
    for place, block in enumerate(_blocks(text, where)):
        kind = block.get("block_type")
        if kind is None:
            raise InvalidInput(f"{where}: block {place} has no block_type; is it Puzzletron's?")
        if kind == "moe":
            pairs.append(_pair(block, "n_routed_experts"))
        elif kind == "mlp":
            pairs.append((0, 0))
    return as_experts([one for one, _ in pairs], [k for _, k in pairs], where)


def _flat_feed_forward(layer: LayerConfig) -> list[dict[str, Any]]:
    if layer.experts:
        return [
            {
                "block_type": "moe",
                "n_routed_experts": layer.experts,
                "num_experts_per_tok": layer.active,
                "moe_intermediate_size": layer.expert_hidden,
                "moe_shared_expert_intermediate_size": layer.shared_hidden,
            }
        ]
    return [{"block_type": "mlp", "intermediate_size": layer.dense_hidden}] * bool(
        layer.dense_hidden
    )


def _pair(keys: dict[str, Any], experts: str) -> tuple[object, object]:
    return keys.get(experts), keys.get("num_experts_per_tok")


def _blocks(text: str, where: str) -> list[dict[str, Any]]:
    content = parse_json(text, where)
    blocks = content.get(_KEY) if isinstance(content, dict) else content
    if not isinstance(blocks, list) or not all(isinstance(one, dict) for one in blocks):
        raise InvalidInput(f"{where} has no list {_KEY} of objects")
    return blocks
