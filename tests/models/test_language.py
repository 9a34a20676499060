import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.models import DecoderModel
from dynamoe_search.models.language import Attention, _rotate, _rotation
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Experts, LanguageModel, Percentile, Relative, TopK, TopP

NETWORK = LanguageModel(40, 12, 16, heads=2, blocks=Experts(24, Schedule((6, 1, 3))))
ROUTERS = [TopK(2), TopP(0.6), Percentile(noise=0.0), Relative()]


@pytest.mark.parametrize("heads", [0, 1, 4])
@pytest.mark.parametrize(
    "blocks",
    [
        *(replace(NETWORK.blocks, router=router) for router in ROUTERS),
        replace(NETWORK.blocks, router=TopK(2, gates="sigmoid"), shared=1, style="modern"),
    ],
    ids=lambda blocks: f"{blocks.style} {blocks.router}",
)
def test_both_dispatches_agree_in_loss_and_gradients(heads: int, blocks: Experts) -> None:
    torch.manual_seed(0)
    network = replace(NETWORK, heads=heads, blocks=blocks)
    if blocks.style == "modern" and heads:
        network = replace(network, key_value_heads=1, query_key_norm=True)
    masked, sparse = (
        DecoderModel(network, dispatch=dispatch).double() for dispatch in ("masked", "sorted")
    )
    tokens = torch.randint(0, 40, (3, 12))
    for model in (masked, sparse):
        logits = model(tokens).flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, tokens.roll(-1).flatten()).backward()
    for (name, one), other in zip(sparse.named_parameters(), masked.parameters(), strict=True):
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


def rotated(x: torch.Tensor) -> torch.Tensor:
    """Rows x, each turned by the rotation matrix of its position, as arXiv 2104.09864 has it."""
    width = x.shape[-1]
    rows = []
    for position, row in enumerate(x.unbind(dim=-2)):
        matrix = torch.zeros(width, width, dtype=torch.float64)
        for pair in range(width // 2):
            angle = position * 10_000 ** (-2 * pair / width)
            cosine, sine = math.cos(angle), math.sin(angle)
            block = torch.tensor([[cosine, -sine], [sine, cosine]])
            matrix[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] = block
        rows.append(row @ matrix.T)
    return torch.stack(rows, dim=-2)


@pytest.mark.parametrize("length", [1, 5, 8])
@pytest.mark.parametrize("width", [2, 4, 10])
def test_rotary_positions_are_the_rotation_matrices(width: int, length: int) -> None:
    x = torch.randn(3, 2, length, width, dtype=torch.float64)
    found = _rotate(x, _rotation(8, width).double())
    # The angles' sines and cosines are kept in float32.
    torch.testing.assert_close(found, rotated(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[..., 0, :], x[..., 0, :], atol=0, rtol=0)


def over_its_root_mean_square(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * weight


@pytest.mark.parametrize("seeds", [(0,), (4, 5, 6)])
@pytest.mark.parametrize(("key_value_heads", "normalize"), [(6, False), (3, True), (1, False)])
def test_attention_as_written(
    seeds: tuple[int, ...], key_value_heads: int, normalize: bool
) -> None:
    """Window by window, head by head, with a softmax over the past."""
    windows, length, width, heads = 2, 5, 24, 6
    attention = Attention(seeds, "attention", width, heads, key_value_heads, normalize).double()
    assert len(list(attention.parameters())) == (4 if normalize else 2)
    for parameter in attention.parameters():
        parameter.data.uniform_(-0.5, 0.5)
    x = torch.randn(len(seeds), windows * length, width, dtype=torch.float64)
    found = attention(x, _rotation(8, width // heads).double(), length)
    for network, window in product(range(len(seeds)), range(windows)):
        rows = slice(window * length, (window + 1) * length)
        projected = x[network, rows] @ attention.to_queries_keys_values.weight[network].T
        sizes = [heads, key_value_heads, key_value_heads]
        parts = list(projected.split([4 * size for size in sizes], dim=1))
        if normalize:
            norms = (attention.query_norm.weight[network], attention.key_norm.weight[network])
            parts[:2] = map(over_its_root_mean_square, parts, norms)
        queries, keys, values = (
            part.split(4, dim=1)
            for part in parts  # the vectors of each head
        )
        attended = []
        for head in range(heads):
            of_group = head // (heads // key_value_heads)
            scores = rotated(queries[head]) @ rotated(keys[of_group]).T / math.sqrt(4)
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -math.inf)
            attended.append(scores.softmax(dim=1) @ values[of_group])
        expected = torch.cat(attended, dim=1) @ attention.to_output.weight[network].T
        torch.testing.assert_close(found[network, rows], expected, atol=1e-6, rtol=1e-6)


def test_attention_depends_on_the_distance_only() -> None:
    """All positions moved by 7 change nothing."""
    attention = Attention((0,), "attention", 12, 2).double()
    x = torch.randn(1, 10, 12, dtype=torch.float64)
    rotation = _rotation(20, 6).double()
    here, moved = (attention(x, part, 5) for part in (rotation, rotation[7:]))
    torch.testing.assert_close(moved, here, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(attention(x, rotation.flip(0), 5), here, atol=1e-3)


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
