"""Small models in plain numbers, for tests that need no public family."""

from collections.abc import Sequence
from typing import Any

from dynamoe_search.interop.model_config import LayerConfig, Mixer, ModelConfig

WIDTH, HIDDEN = 8, 4
EXPERT = 3 * WIDTH * HIDDEN


def model_of(
    experts: Sequence[int],
    active: Sequence[int],
    shared: int = 0,
    mixer: Mixer = "attention",
    **config: Any,
) -> ModelConfig:
    """A model of these experts and active experts per layer; 0 experts for a dense layer."""
    layers = [
        LayerConfig(
            mixer,
            mixer_parameters=4 * WIDTH**2,
            mixer_active=4 * WIDTH**2,
            mixer_products=4 * WIDTH**2,
            norm_parameters=2 * WIDTH,
            **_with_experts(number, k, shared) if number else _dense(),
        )
        for number, k in zip(experts, active, strict=True)
    ]
    keys = {
        "model_type": "mixtral",
        "num_hidden_layers": len(layers),
        "num_local_experts": max(experts),
        "num_experts_per_tok": max(active),
    }
    return ModelConfig(
        family="mixtral",
        config=keys | config,
        width=WIDTH,
        vocabulary=16,
        heads=2,
        key_value_heads=1,
        head_width=4,
        query_key_norm=False,
        matrices=3,
        router="softmax",
        renormalize=True,
        embedding_parameters=16 * WIDTH,
        head_parameters=0,
        other_parameters=WIDTH,
        layers=tuple(layers),
    )


def _with_experts(number: int, k: int, shared: int) -> dict[str, int]:
    return {
        "experts": number,
        "active": k,
        "expert_hidden": HIDDEN,
        "expert_parameters": EXPERT,
        "expert_products": EXPERT,
        "router_parameters": WIDTH * number,
        "router_parameters_per_expert": WIDTH,
        "shared_hidden": shared * HIDDEN,
        "shared_parameters": shared * EXPERT,
    }


def _dense() -> dict[str, int]:
    return {"dense_hidden": 2 * HIDDEN, "dense_parameters": 2 * EXPERT}
