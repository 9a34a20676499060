"""Networks of the public transformers library, rebuilt with the same weights."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dynamoe_search.budgets import parameter_count
from dynamoe_search.models import DecoderModel, MoELayer
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Balance, Experts, LanguageModel, TopK

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # its import takes seconds

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "tie_word_embeddings": True,
    "pad_token_id": None,
    "eos_token_id": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}
EXPERTS = Experts(12, Schedule((5, 5)), TopK(2), style="modern")
NETWORK = LanguageModel(50, 9, 16, heads=4, blocks=EXPERTS, key_value_heads=2)


def in_pairs(rows: Tensor, heads: int) -> Tensor:
    """Our order of a head's values: theirs are rotated with the value half a head further on."""
    halves = rows.unflatten(0, (heads, 2, -1))
    return halves.transpose(1, 2).reshape(rows.shape)


def randomize(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        drawn = torch.randn(tensor.shape, generator=generator)
        tensor.copy_(1 + drawn / 4 if "norm" in name else drawn / 2)


def copy_layer(ours: DecoderModel, layer: int, theirs: nn.Module) -> None:
    attention, block = ours.attentions[layer], ours.blocks[layer]
    of_theirs = theirs.self_attn
    queries, keys = in_pairs(of_theirs.q_proj.weight, 4), in_pairs(of_theirs.k_proj.weight, 2)
    projections = torch.cat([queries, keys, of_theirs.v_proj.weight])
    pairs = [
        (attention.to_queries_keys_values.weight, projections),
        (attention.to_output.weight, of_theirs.o_proj.weight),
        (ours.attention_norms[layer].weight, theirs.input_layernorm.weight),
        (ours.norms[layer].weight, theirs.post_attention_layernorm.weight),
        (block.gate, theirs.mlp.gate.weight),
        (block.w_in, theirs.mlp.experts.gate_up_proj),
        (block.w_out, theirs.mlp.experts.down_proj.mT),
    ]
    if attention.query_norm is not None:
        pairs.append((attention.query_norm.weight, in_pairs(of_theirs.q_norm.weight, 4)))
        pairs.append((attention.key_norm.weight, in_pairs(of_theirs.k_norm.weight, 2)))
    for own, other in pairs:
        own[0].copy_(other)


@pytest.mark.parametrize("dispatch", ["masked", "sorted"])
@pytest.mark.parametrize("name", ["Mixtral", "Olmoe"])
@torch.no_grad()
def test_a_decoder_of_the_public_library_has_the_same_logits(name: str, dispatch) -> None:
    count = {"Mixtral": "num_local_experts", "Olmoe": "num_experts"}[name]
    config = getattr(transformers, f"{name}Config")(**SIZES, **{count: 5})
    theirs = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    randomize(theirs)
    network = NETWORK
    if name == "Olmoe":
        blocks = replace(EXPERTS, router=TopK(2, renormalize=False))
        network = replace(NETWORK, blocks=blocks, query_key_norm=True)
    assert parameter_count(network).total == sum(p.numel() for p in theirs.parameters())
    ours = DecoderModel(network, dispatch=dispatch).eval()
    ours.embedding.weight[0].copy_(theirs.model.embed_tokens.weight)
    ours.last_norm.weight[0].copy_(theirs.model.norm.weight)
    for layer, of_theirs in enumerate(theirs.model.layers):
        copy_layer(ours, layer, of_theirs)
    tokens = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_experts_of_deepseek_v3() -> None:
    """Sigmoid gates, a bias that moves the choice only, and shared experts."""
    config = transformers.DeepseekV3Config(
        hidden_size=16,
        moe_intermediate_size=12,
        n_routed_experts=6,
        num_experts_per_tok=3,
        n_shared_experts=2,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.0,
    )
    theirs = transformers.models.deepseek_v3.modeling_deepseek_v3.DeepseekV3MoE(config)
    randomize(theirs)
    router = TopK(3, gates="sigmoid")
    ours = MoELayer(6, 16, 12, router, balance=Balance("bias"), shared=2, style="modern").eval()
    shared = theirs.shared_experts
    assert ours.bias is not None
    assert ours.shared is not None
    for own, other in [
        (ours.gate, theirs.gate.weight),
        (ours.bias, theirs.gate.e_score_correction_bias),
        (ours.w_in, theirs.experts.gate_up_proj),
        (ours.w_out, theirs.experts.down_proj.mT),
        (ours.shared.w_in.weight, torch.cat([shared.gate_proj.weight, shared.up_proj.weight])),
        (ours.shared.w_out.weight, shared.down_proj.weight),
    ]:
        own[0].copy_(other)
    x = torch.randn(1, 40, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    unbiased = ours.route(x).chosen
    ours.bias.zero_()
    assert not torch.equal(ours.route(x).chosen, unbiased)
