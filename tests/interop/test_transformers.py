"""Counts of parameters and FLOPs equal those of the public library's models, built on no device."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dynamoe_search.interop.costs import layer_flops
from dynamoe_search.interop.model_config import LayerConfig, ModelConfig
from dynamoe_search.interop.reading import read_config
from tests.interop.configs import FULL_SIZE, SMALL

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

CONFIGS = SMALL | {name: one["config"] for name, one in FULL_SIZE.items()}


def built(config: dict[str, Any], device: str = "meta") -> nn.Module:
    """The public library's model of a config."""
    keys = {key: value for key, value in config.items() if key != "model_type"}
    family = config["model_type"]
    if family == "dbrx":  # its own class does not give this default, and cannot be built without
        keys["attn_config"] = {**keys["attn_config"], "rope_theta": 10_000.0}
    if family == "dots3_note_vision_encoder":
        from transformers.models.dots3_note import configuration_dots3_note, modeling_dots3_note

        with torch.device(device):
            return modeling_dots3_note.Dots3NoteVisionModel(
                configuration_dots3_note.Dots3NoteVisionConfig(**keys)
            )
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(family, **keys)
        )


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers_of(network: nn.Module) -> nn.ModuleList:
    """The decoder layers: the longest list of modules that is not inside another."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return lists[0]


# Of JetMoE's mixture of attention heads, which is called experts.
NOT_STACKED = ("attention.experts.bias", "attention.experts.router.layer.weight")


def active_in(layer: nn.Module, config: LayerConfig) -> int:
    """The parameters that a token uses, from the shapes of the stacked weights of experts."""
    used = 0
    for name, parameter in layer.named_parameters():
        if (".experts." in name or "put_linear." in name) and not name.endswith(NOT_STACKED):
            used += parameter.numel() // config.experts * config.active
        else:
            used += parameter.numel()
    return used


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters(name: str) -> None:
    model, network = read_config(CONFIGS[name]), built(CONFIGS[name])
    layers = layers_of(network)
    assert model.depth == len(layers)
    assert [layer.total_parameters for layer in model.layers] == [count(one) for one in layers]
    assert model.total_parameters == count(network)
    used = [active_in(one, config) for one, config in zip(layers, model.layers, strict=True)]
    assert [layer.active_parameters for layer in model.layers] == used
    if model.vocabulary:
        embedding = network.get_input_embeddings().weight.numel()
        assert model.embedding_parameters == embedding
        assert model.active_parameters == count(network) - count(layers) + sum(used)
        tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
        assert model.tied == tied


def test_the_language_model_of_llama4() -> None:
    """That is what the public library's class for causal language models has of it."""
    text = {key: value for key, value in SMALL["llama4_text"].items() if key != "model_type"}
    config = {"model_type": "llama4", "text_config": text}
    assert read_config(config).total_parameters == count(built(config))


@pytest.mark.parametrize("name", SMALL)
def test_the_router_of_each_layer(name: str) -> None:
    """From its logits' weight: one row per expert."""
    model, network = read_config(SMALL[name]), built(SMALL[name])
    for layer, config in zip(layers_of(network), model.layers, strict=True):
        rows = [
            parameter
            for part, parameter in layer.named_parameters()
            if ("router" in part or ".gate." in part) and "self_att" not in part
        ]
        assert sum(one.numel() for one in rows if one.dim() == 2) == model.width * config.experts


@settings(max_examples=15, deadline=None)
@given(
    family=st.sampled_from(["mixtral", "qwen3_moe", "deepseek_v3", "jamba", "gpt_oss"]),
    width=st.integers(1, 5),
    hidden=st.integers(1, 40),
    experts=st.integers(2, 9),
    depth=st.integers(1, 4),
    tied=st.booleans(),
)
def test_parameters_of_other_sizes(
    family: str, width: int, hidden: int, experts: int, depth: int, tied: bool
) -> None:
    config = {
        **SMALL[family],
        **{"hidden_size": 8 * width, "num_hidden_layers": depth, "tie_word_embeddings": tied},
        **{"intermediate_size": hidden, "moe_intermediate_size": hidden + 3},
        **{"num_local_experts": 2 * experts, "n_routed_experts": 2 * experts},
        "num_experts": 2 * experts,
        "mlp_only_layers": [0],
    }
    if family != "qwen3_moe":
        del config["num_experts"]
    if family == "jamba":
        config["num_experts"] = config.pop("num_local_experts")
    assert read_config(config).total_parameters == count(built(config))


def all_products(model: ModelConfig, tokens: int) -> float:
    """FLOPs of a forward pass in which every token attends to all tokens, masked or not."""
    layers = [layer_flops(layer, model.width, tokens, layer.score_flops) for layer in model.layers]
    return tokens * (sum(layers) + 2 * model.vocabulary * model.width)


@pytest.mark.parametrize(
    "name",
    [
        *("mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3", "olmoe", "jetmoe"),
        *("glm4_moe", "gpt_oss", "granitemoe", "phimoe"),
    ],
)
def test_flops(name: str) -> None:
    network, model = built(SMALL[name], device="cpu").eval(), read_config(SMALL[name])
    network.set_attn_implementation("eager")
    network.set_experts_implementation("eager")  # one product for each expert
    tokens = torch.randint(0, 96, (1, 12), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(tokens, use_cache=False)
    assert counter.get_total_flops() == all_products(model, 12)
