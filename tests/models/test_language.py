import math
from dataclasses import replace

import pytest
import torch

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.models import DecoderModel
from dynamoe_search.models.language import Attention, _rotate, _rotation
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Experts, LanguageModel, Percentile, Relative, TopK, TopP

NETWORK = LanguageModel(40, 12, 16, heads=2, blocks=Experts(24, Schedule((6, 1, 3))))


@pytest.mark.parametrize("heads", [0, 1, 4])
@pytest.mark.parametrize("router", [TopK(2), TopP(0.6), Percentile(noise=0.0), Relative()], ids=str)
def test_both_dispatches_agree_in_loss_and_gradients(heads: int, router) -> None:
    torch.manual_seed(0)
    blocks = replace(NETWORK.blocks, router=router)
    network = replace(NETWORK, heads=heads, blocks=blocks)
    dense, sparse = (DecoderModel(network, dispatch).double() for dispatch in ("dense", "sorted"))
    sparse.load_state_dict(dense.state_dict())
    tokens = torch.randint(0, 40, (3, 12))
    for model in (dense, sparse):
        logits = model(tokens).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, tokens.roll(-1).flatten()).backward()
    for (name, one), other in zip(sparse.named_parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-10, rtol=1e-10, msg=name)


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("training", [True, False])
def test_no_texts_give_no_logits(heads: int, training: bool) -> None:
    model = DecoderModel(replace(NETWORK, heads=heads)).train(training)
    report: list[Routing] = []
    logits = model(torch.empty(0, 12, dtype=torch.int64), report)
    assert logits.shape == (0, 12, 40)
    assert [routing.gates.shape for routing in report] == [(0, 6), (0, 1), (0, 3)]
    logits.sum().backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_the_future_is_not_seen_and_the_past_is() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 40, (1, 12))
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 40
    for heads, sees_the_past in ((2, True), (0, False)):
        model = DecoderModel(replace(NETWORK, heads=heads)).eval().double()
        difference = (model(tokens) - model(changed)).abs().amax(dim=2)[0]
        assert (difference[:5] < 1e-12).all()
        assert difference[5] > 1e-6
        assert bool((difference[6:] > 1e-6).all()) is sees_the_past


def test_attention_as_written() -> None:
    torch.manual_seed(0)
    attention = Attention(width=12, heads=3).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    rotation = _rotation(8, 4).double()
    projected = attention.to_queries_keys_values(x)
    expected = torch.zeros_like(x)
    for head in range(3):
        queries, keys, values = (
            projected[:, :, part * 12 + head * 4 : part * 12 + head * 4 + 4] for part in range(3)
        )
        queries, keys = (_rotate(y, rotation[0, :5], rotation[1, :5]) for y in (queries, keys))
        scores = queries @ keys.transpose(1, 2) / math.sqrt(4)
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        expected[:, :, head * 4 : head * 4 + 4] = scores.softmax(dim=2) @ values
    torch.testing.assert_close(attention(x, rotation), attention.to_output(expected))


def test_rotary_positions_rotate_and_depend_on_the_distance_only() -> None:
    cosine, sine = _rotation(20, 6).double()
    x, y = torch.randn(2, 6, dtype=torch.float64)
    turned_x = _rotate(x.expand(20, 6), cosine, sine)
    turned_y = _rotate(y.expand(20, 6), cosine, sine)
    torch.testing.assert_close(turned_x.norm(dim=1), x.norm().expand(20))
    products = turned_x @ turned_y.T
    for distance in range(-5, 6):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[0].expand_as(along), atol=1e-5, rtol=1e-5)
    # The first pair rotates by one radian per position.
    pair = torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=torch.float64)
    at_three = _rotate(pair.expand(20, 6), cosine, sine)[3]
    torch.testing.assert_close(at_three[[0, 3]], torch.tensor([math.cos(3), math.sin(3)]).double())


def test_shorter_sequences_and_reports() -> None:
    model = DecoderModel(NETWORK).eval()
    tokens = torch.randint(0, 40, (2, 12))
    torch.testing.assert_close(model(tokens)[:, :7], model(tokens[:, :7]), atol=1e-5, rtol=1e-5)
    report: list[Routing] = []
    model(tokens, report)
    assert [tuple(routing.chosen.shape) for routing in report] == [(24, 6), (24, 1), (24, 3)]


def test_dense_baselines_have_the_same_interface() -> None:
    baseline = DecoderModel(dense_baseline(NETWORK, "total"))
    report: list[Routing] = []
    assert baseline(torch.zeros(2, 12, dtype=torch.int64), report).shape == (2, 12, 40)
    assert report == []
