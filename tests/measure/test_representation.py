import math
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.data import ImageSplit, embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.representation import (
    RepresentationSums,
    cka_table,
    effective_ranks,
    linear_cka,
    rank_table,
    sum_representations,
)
from dynamoe_search.models import Model, build_model
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts, LanguageModel, TopP

NETWORK = Classifier(64, 10, 12, Experts(8, Schedule((4, 2, 1)), TopP(0.6)))


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed=seed)).Q


def rank_of(x: Tensor) -> float:
    return effective_ranks(RepresentationSums.of([x])).item()


def cka_of(x: Tensor, y: Tensor) -> float:
    return linear_cka(RepresentationSums.of([x, y]))[0, 1].item()


def hsic(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The unbiased estimator from the n x n kernels themselves."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    value = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (value - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def ranks_by_singular_values(x: NDArray[np.float64]) -> float:
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    shares = singular[singular > 1e-9 * singular[0]] / singular.sum()
    return math.exp(-sum(shares * np.log(shares)))


@given(
    tokens=st.integers(4, 40), width=st.integers(1, 8), layers=st.integers(1, 4), seed=st.integers()
)
@settings(max_examples=50)
def test_both_measures_against_the_whole_matrices(
    tokens: int, width: int, layers: int, seed: int
) -> None:
    base = normal(tokens, width, seed=seed % 2**32)
    inputs = [base + layer * normal(tokens, width, seed=layer) + layer for layer in range(layers)]
    sums = RepresentationSums.of(inputs)
    arrays = [x.numpy() for x in inputs]
    own = [hsic(x, x) for x in arrays]
    expected = [
        [hsic(x, y) / math.sqrt(own[i] * own[j]) for j, y in enumerate(arrays)]
        for i, x in enumerate(arrays)
    ]
    np.testing.assert_allclose(linear_cka(sums), expected, atol=1e-7)
    ranks = [ranks_by_singular_values(x) for x in arrays]
    np.testing.assert_allclose(effective_ranks(sums), ranks, rtol=1e-5)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
@settings(max_examples=50)
def test_rotation_scale_and_shift_change_neither(seed: int, scale: float, shift: float) -> None:
    x, y = normal(30, 5, seed=seed) * torch.arange(1, 6), normal(30, 5, seed=seed + 1)
    y += x
    turned = scale * x @ rotation(5, seed) + shift
    assert cka_of(x, turned) == pytest.approx(1, abs=1e-8)
    assert cka_of(turned, y) == pytest.approx(cka_of(x, y), abs=1e-8)
    assert cka_of(y, x) == pytest.approx(cka_of(x, y), abs=1e-12)
    assert -1 <= cka_of(x, y) <= 1
    assert rank_of(turned) == pytest.approx(rank_of(x), rel=1e-8)
    assert 1 <= rank_of(x) <= 5


def test_independent_layers_are_unlike_however_few_the_tokens() -> None:
    # Without the correction 20 tokens of width 30 would be alike by about 0.6.
    found = [
        cka_of(normal(20, 30, seed=seed), normal(20, 30, seed=seed + 500)) for seed in range(60)
    ]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / math.sqrt(len(found)))
    assert abs(np.mean(found)) < 0.05
    many = RepresentationSums.of([normal(20_000, 8), normal(20_000, 8, seed=1)])
    assert linear_cka(many)[0, 1] == pytest.approx(0, abs=0.01)


def test_a_shared_half_is_half_alike() -> None:
    # Kernels add: HSIC(X + Y, X + Z) is that of X alone, and each with itself is twice it.
    x, y, z = (normal(20_000, 6, seed=seed) for seed in range(3))
    first, second = torch.cat([x, y], dim=1), torch.cat([x, z], dim=1)
    assert cka_of(first, second) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("width", [1, 4, 16])
def test_isotropic_tokens_have_full_rank(width: int) -> None:
    assert rank_of(normal(20_000, width)) == pytest.approx(width, rel=1e-3)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_tokens_in_so_many_equal_directions_have_that_rank(rank: int) -> None:
    corners = torch.eye(rank + 1, dtype=torch.float64)  # centerd, a regular simplex
    turned = corners @ rotation(16)[: rank + 1] + 3
    assert rank_of(turned.repeat(5, 1)) == pytest.approx(rank, rel=1e-5)
    assert rank_of(normal(500, rank) @ normal(rank, 16)) <= rank + 1e-3


def test_equal_tokens_have_neither() -> None:
    sums = RepresentationSums.of([normal(1, 3, seed=7).repeat(50, 1), normal(50, 3)])
    assert np.isnan(effective_ranks(sums)).tolist() == [True, False]
    assert np.isnan(linear_cka(sums)).tolist() == [[True, True], [True, False]]


@given(cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted))
@settings(max_examples=20)
def test_parts_in_any_split_give_the_sums_of_all(cuts: list[int]) -> None:
    layers = [normal(40, 3), normal(40, 3, seed=1)]
    whole = RepresentationSums.of(layers)
    pieces = zip(*(torch.tensor_split(x, cuts) for x in layers), strict=True)
    merged = reduce(add, map(RepresentationSums.of, pieces))
    assert merged.tokens == 40
    np.testing.assert_allclose(merged.first, whole.first, atol=1e-12)
    np.testing.assert_allclose(merged.second, whole.second, atol=1e-12)


def test_what_cannot_be_summed_or_measured_is_refused() -> None:
    few = RepresentationSums.of([normal(3, 2)])
    for measure in (effective_ranks, linear_cka):
        with pytest.raises(InvalidInput, match="3 tokens are too few"):
            measure(few)
    with pytest.raises(InvalidInput, match="must be of the same network"):
        few + RepresentationSums.of([normal(3, 4)])


@pytest.fixture(scope="module")
def images() -> ImageSplit:
    return embedded_digits(seed=0).validation


def entering(model: Model, images: Tensor) -> list[Tensor]:
    """What enters each block of a classifier, step by step."""
    x, found = model.project(images[None]), []
    for norm, block in zip(model.norms, model.blocks, strict=True):
        found.append(norm(x)[0])
        x = x + block(norm(x))
    return found


@pytest.mark.parametrize("network", [NETWORK, dense_baseline(NETWORK, "total")])
def test_of_a_network_it_is_what_enters_its_blocks(network: Classifier, images: ImageSplit) -> None:
    model = build_model(network).eval()
    with torch.no_grad():
        expected = RepresentationSums.of(entering(model, images.images))
    sums = sum_representations(model, images)
    assert sums.tokens == len(images)
    np.testing.assert_allclose(sums.first, expected.first, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(linear_cka(sums), linear_cka(expected), atol=1e-5)


def test_a_network_is_left_as_it_was(images: ImageSplit) -> None:
    model = build_model(NETWORK).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    sum_representations(model, images)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    broken = replace(images, images=images.images[:, :7])
    with pytest.raises(RuntimeError):
        sum_representations(model, broken)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_of_a_text_every_token_counts_in_whatever_batches(monkeypatch) -> None:
    whole_split = embedded_topics(context=32).validation
    split = replace(whole_split, tokens=whole_split.tokens[: 50 * 32 + 1])
    model = build_model(LanguageModel(257, 32, 16, 2, Experts(8, Schedule((3, 2)))))
    whole = sum_representations(model, split)
    assert whole.tokens == 50 * 32
    monkeypatch.setattr("dynamoe_search.training.evaluation._TOKENS_AT_ONCE", 7 * 32)
    parts = sum_representations(model, split)
    np.testing.assert_allclose(parts.first, whole.first, atol=1e-3)
    np.testing.assert_allclose(linear_cka(parts), linear_cka(whole), atol=1e-6)


def test_tables_hold_what_was_measured(images: ImageSplit) -> None:
    sums = sum_representations(build_model(NETWORK), images)
    ranks, cka = rank_table(sums), cka_table(sums)
    assert ranks["layer"].tolist() == [1, 2, 3]
    assert ranks["effective_rank"].tolist() == effective_ranks(sums).tolist()
    assert (ranks["effective_rank"] / 12).tolist() == ranks["rank_share"].tolist()
    assert set(ranks["width"]) == {12}
    assert cka.pivot(index="layer", columns="other", values="cka").values.tolist() == (
        linear_cka(sums).tolist()
    )
