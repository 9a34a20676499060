from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from dynamoe_search.budgets import (
    active_experts,
    active_parameters,
    dense_twin,
    flops_per_token,
    parameter_count,
    solve_experts,
    training_flops,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.models import ClassifierModel
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, DenseClassifier, Percentile, TopK, TopP

NETWORK = Classifier(64, 10, 32, 48, Schedule((8, 6, 4, 2)), TopK(2))

routers = st.one_of(
    st.builds(Percentile, tau=st.floats(0, 1)),
    st.builds(TopK, k=st.integers(1, 6)),
    st.builds(TopP, p=st.floats(0.01, 1)),
)
networks = st.builds(
    Classifier,
    inputs=st.integers(1, 20),
    classes=st.integers(1, 12),
    width=st.integers(1, 17),
    hidden=st.integers(1, 19),
    schedule=st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple).map(Schedule),
    router=routers,
)


def built_parameters(specification: Classifier | DenseClassifier) -> int:
    return sum(p.numel() for p in ClassifierModel(specification).parameters())


@settings(max_examples=60, deadline=None)
@given(networks)
def test_count_equals_the_built_modules(network: Classifier) -> None:
    count = parameter_count(network)
    model = ClassifierModel(network)
    assert count.total == sum(p.numel() for p in model.parameters())
    assert count.routers == sum(block.gate.numel() for block in model.blocks)
    assert count.experts == sum(b.w_in.numel() + b.w_out.numel() for b in model.blocks)


@given(networks, st.randoms())
def test_total_depends_on_the_schedule_through_its_sum_only(network: Classifier, random) -> None:
    counts = list(network.schedule)
    random.shuffle(counts)
    shuffled = replace(network, schedule=Schedule(tuple(counts)))
    assert parameter_count(shuffled) == parameter_count(network)


@settings(max_examples=60, deadline=None)
@given(networks)
def test_dense_twins(network: Classifier) -> None:
    twin = dense_twin(network, "total")
    assert parameter_count(twin).total == built_parameters(twin)
    assert abs(parameter_count(twin).total - parameter_count(network).total) <= network.width
    active = active_parameters(network).expected
    units = (active - parameter_count(network).trunk) / (2 * network.width)
    if round(units) < network.schedule.depth:
        with pytest.raises(InvalidInput):
            dense_twin(network, "active")
    else:
        twin = dense_twin(network, "active")
        assert abs(parameter_count(twin).total - active) <= network.width
        assert max(twin.hidden) - min(twin.hidden) <= 1


@settings(max_examples=60, deadline=None)
@given(networks, st.integers(0, 200_000))
def test_solving_spends_all_but_less_than_one_expert(network: Classifier, extra: int) -> None:
    depth = network.schedule.depth
    smallest = parameter_count(replace(network, schedule=Schedule((1,) * depth))).total
    solution = solve_experts(network, smallest + extra)
    assert solution.parameters + solution.residual == smallest + extra
    counts = (solution.experts - depth + 1,) + (1,) * (depth - 1)
    assert parameter_count(replace(network, schedule=Schedule(counts))).total == solution.parameters
    assert 0 <= solution.residual < network.width * (2 * network.hidden + 1)


def test_impossible_budgets_say_what_is_possible() -> None:
    smallest = parameter_count(replace(NETWORK, schedule=Schedule((1,) * 4))).total
    with pytest.raises(InvalidInput, match=f"smallest possible is {smallest:,}"):
        solve_experts(NETWORK, smallest - 1)
    largest = parameter_count(replace(NETWORK, schedule=Schedule((5,) * 4))).total
    with pytest.raises(InvalidInput, match=f"the largest: {largest:,}"):
        solve_experts(NETWORK, 10 * largest, maximum=5)
    assert solve_experts(NETWORK, largest, maximum=5).experts == 20


@pytest.mark.parametrize("router", [TopK(2), TopP(0.6), Percentile(0.5)])
def test_expected_flops_equal_the_dense_paths_products(router) -> None:
    """With every expert active, the sparse formula is the dense path's own count."""
    network = replace(NETWORK, router=TopK(8))
    tokens = 6
    with FlopCounterMode(display=False) as counter:
        ClassifierModel(network, "dense")(torch.randn(tokens, 64)).sum().backward()
    counted = counter.get_total_flops()
    # The first product needs no gradient of its input.
    assert counted == training_flops(network, tokens) - 2 * tokens * 64 * 32

    # From there to fewer experts, each unused one saves its two products.
    spread = flops_per_token(replace(network, router=router))
    most = sum(s.maximum for s in active_experts(router, network.schedule))
    assert flops_per_token(network).expected - spread.maximum == 4 * 32 * 48 * (20 - most)
    assert spread.minimum <= spread.expected <= spread.maximum


def test_measured_means_move_the_expected_values() -> None:
    network = replace(NETWORK, router=TopP(0.5))
    spread = active_parameters(network, [2.5, 2.0, 1.5, 1.0])
    fixed = parameter_count(network).trunk + parameter_count(network).routers
    assert spread.expected == fixed + 7.0 * 2 * 32 * 48
    assert spread.minimum == fixed + 4 * 2 * 32 * 48
    with pytest.raises(InvalidInput, match=r"layer 3 is said to use 1\.5"):
        active_parameters(network, [2.5, 2.0, 1.5, 1.5])
    with pytest.raises(InvalidInput, match="3 mean active experts given for 4 layers"):
        active_parameters(network, [2.5, 2.0, 1.5])
    twin = dense_twin(network, "active", [2.5, 2.0, 1.5, 1.0])
    assert abs(parameter_count(twin).total - spread.expected) <= network.width
