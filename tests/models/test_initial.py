"""Initial weights are aligned: networks of one seed share what both have."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.models import Model, build_model
from dynamoe_search.models.initial import generator_for
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    LanguageModel,
    Specification,
    Threshold,
    TopK,
)

EXPERTS = Experts(4, Schedule((2,)), TopK(1))
PROXIES = [
    Classifier(6, 3, 4, EXPERTS),
    LanguageModel(9, 5, 4, heads=0, blocks=EXPERTS),
    LanguageModel(9, 5, 4, heads=2, blocks=EXPERTS),
]
SCHEDULES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def with_schedule(proxy: Specification, counts: list[int]) -> Specification:
    return replace(proxy, blocks=replace(proxy.blocks, schedule=Schedule(tuple(counts))))


def assert_shared(one: Model, other: Model) -> int:
    """All tensors of the same name are equal, as far as both have their experts; their number."""
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    shared = mine.keys() & theirs.keys()
    for name in shared:
        left, right = mine[name], theirs[name]
        experts = min(left.shape[1], right.shape[1])
        if name.startswith("blocks."):
            left, right = left[:, :experts], right[:, :experts]
        assert torch.equal(left, right), name
    return len(shared)


@pytest.mark.parametrize("proxy", PROXIES, ids=["classifier", "no attention", "attention"])
@settings(max_examples=30)
@given(first=SCHEDULES, second=SCHEDULES, seed=st.integers(0, 2**63 - 1))
def test_two_schedules_share_all_tensors_and_experts_that_both_have(
    proxy: Specification, first: list[int], second: list[int], seed: int
) -> None:
    one, other = (build_model(with_schedule(proxy, counts), [seed]) for counts in (first, second))
    of_trunk = sum(not name.startswith("blocks.") for name, _ in one.named_parameters())
    of_layers = 3 * min(len(first), len(second))
    if len(first) == len(second):
        assert assert_shared(one, other) == of_trunk + of_layers
    else:
        assert assert_shared(one, other) > of_layers


@pytest.mark.parametrize("proxy", PROXIES, ids=["classifier", "no attention", "attention"])
def test_the_router_decides_no_weight_and_the_trunk_is_that_of_the_dense_baseline(
    proxy: Specification,
) -> None:
    model = build_model(proxy, [3])
    blocks = replace(proxy.blocks, router=Threshold(1.5))
    assert assert_shared(model, build_model(replace(proxy, blocks=blocks), [3])) > 3
    dense = build_model(dense_baseline(proxy, "total"), [3])
    trunk = {name for name, _ in model.named_parameters() if not name.startswith("blocks.")}
    ours, theirs = dict(model.named_parameters()), dict(dense.named_parameters())
    assert trunk <= theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in trunk)


@pytest.mark.parametrize("proxy", PROXIES, ids=["classifier", "no attention", "attention"])
def test_a_seed_has_its_own_weights_whatever_is_built_with_it(proxy: Specification) -> None:
    three = build_model(proxy, [5, 6, 7])
    random_state = torch.get_rng_state()
    for place, seed in enumerate([5, 6, 7]):
        torch.manual_seed(place)
        alone = dict(build_model(proxy, [seed]).named_parameters())
        for name, tensor in three.named_parameters():
            assert torch.equal(tensor[place], alone[name][0]), name
    torch.set_rng_state(random_state)
    drawn = [p for name, p in three.named_parameters() if "norm" not in name]
    assert not any(torch.equal(p[0], p[1]) or torch.equal(p[1], p[2]) for p in drawn)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_experts_and_tensors_differ() -> None:
    """No two of them are drawn from one generator."""
    counts = Schedule((3, 3))
    model = build_model(replace(PROXIES[0], width=4, blocks=Experts(4, counts, TopK(1))))
    matrices = [
        expert.flatten().tolist()
        for block in model.blocks
        for tensor in (block.gate, block.w_in, block.w_out)
        for expert in tensor[0]
    ]
    assert len({tuple(matrix[:4]) for matrix in matrices}) == len(matrices) == 18


def test_weights_are_uniform_within_one_over_the_root_of_the_inputs() -> None:
    model = build_model(Classifier(100, 10, 64, Experts(16, Schedule((8,)), TopK(1))))
    (block,) = model.blocks
    inputs = {model.project.weight: 100, block.gate: 64, block.w_in: 64, block.w_out: 16}
    for weight, number in inputs.items():
        bound = number**-0.5
        assert weight.abs().max() <= bound
        spread = bound / 3**0.5  # the standard deviation of a uniform value
        assert weight.std().item() == pytest.approx(spread, rel=0.1)
        # Six standard errors.
        assert abs(weight.mean().item()) < 6 * spread / weight.numel() ** 0.5


def test_generators_are_keyed_by_seed_name_and_expert() -> None:
    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (11, "a", 0), (1, "a", 1)]
    firsts = {float(torch.rand(1, generator=generator_for(*key)).item()) for key in keys}
    assert len(firsts) == len(keys)
