from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dynamoe_search.budgets import (
    active_experts,
    active_parameters,
    dense_baseline,
    equal_widths,
    flops_per_token,
    held_routers,
    parameter_count,
    solve_experts,
    training_flops,
    with_schedule,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.models import build_model
from dynamoe_search.schedules import LARGEST_TOTAL, Schedule, allocate
from dynamoe_search.specification import (
    LANGUAGE_SCALES,
    MATRICES,
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Specification,
    Style,
    Threshold,
    TopK,
    TopP,
    largest_active,
)

EXPERTS = Experts(48, Schedule((8, 6, 4, 2)), TopK(2))
NETWORK = Classifier(64, 10, 32, EXPERTS)

routers = st.one_of(
    st.builds(Percentile, tau=st.floats(0, 1)),
    st.builds(TopK, k=st.integers(1, 6)),
    st.builds(TopP, p=st.floats(0.01, 1)),
    st.builds(Relative, tau=st.floats(0, 1)),
    st.builds(Threshold, target=st.floats(1, 6)),
)
blocks = st.builds(
    Experts,
    hidden=st.integers(1, 19),
    schedule=st.lists(st.integers(0, 9), min_size=1, max_size=5)
    .filter(any)
    .map(tuple)
    .map(Schedule),
    router=routers,
    dense_hidden=st.integers(1, 9),
    shared=st.integers(0, 2),
    style=st.sampled_from(["paper", "modern"]),
)
classifiers = st.builds(
    Classifier,
    inputs=st.integers(1, 20),
    classes=st.integers(1, 12),
    width=st.integers(1, 17),
    blocks=blocks,
)
language_models = st.builds(
    LanguageModel,
    vocabulary=st.integers(1, 50),
    context=st.integers(1, 9),
    width=st.sampled_from([4, 8, 12]),
    heads=st.sampled_from([0, 1, 2]),
    blocks=blocks,
)
grouped = st.builds(
    LanguageModel,
    vocabulary=st.integers(1, 50),
    context=st.integers(1, 9),
    width=st.sampled_from([8, 16]),
    heads=st.just(4),
    blocks=blocks,
    key_value_heads=st.sampled_from([1, 2, 4]),
    query_key_norm=st.booleans(),
)
networks = classifiers | language_models | grouped


def built_parameters(specification: Specification) -> int:
    return sum(p.numel() for p in build_model(specification).parameters())


@pytest.mark.slow
@settings(max_examples=100)
@given(networks)
def test_count_equals_the_built_modules(network: Specification) -> None:
    count = parameter_count(network)
    model = build_model(network)
    assert count.total == sum(p.numel() for p in model.parameters())
    of_blocks = {name: p.numel() for name, p in model.blocks.named_parameters()}
    assert count.routers == sum(n for name, n in of_blocks.items() if name.endswith(".gate"))
    assert count.routers + count.experts == sum(of_blocks.values())


@given(networks, st.randoms())
def test_total_depends_on_the_schedule_through_its_sum_only(network, random) -> None:
    counts = list(network.blocks.schedule)
    random.shuffle(counts)
    shuffled = with_schedule(network, Schedule(tuple(counts)))
    assert parameter_count(shuffled) == parameter_count(network)


@settings(max_examples=60)
@given(networks)
def test_dense_baselines(network: Specification) -> None:
    baseline = dense_baseline(network, "total")
    assert parameter_count(baseline).total == built_parameters(baseline)
    unit = MATRICES[network.blocks.style] * network.width
    assert baseline.blocks.style == network.blocks.style
    assert abs(parameter_count(baseline).total - parameter_count(network).total) <= unit / 2
    active = active_parameters(network).expected
    units = (active - parameter_count(network).trunk) / unit
    if round(units) < network.blocks.depth:
        with pytest.raises(InvalidInput):
            dense_baseline(network, "active")
    else:
        baseline = dense_baseline(network, "active")
        assert abs(parameter_count(baseline).total - active) <= unit / 2
        assert max(baseline.blocks.hidden) - min(baseline.blocks.hidden) <= 1


@settings(max_examples=60)
@given(networks, st.integers(0, 200_000))
def test_solving_spends_all_but_less_than_one_expert(network: Specification, extra: int) -> None:
    schedule = network.blocks.schedule
    layers = len(schedule.layers_with_experts)
    thinnest = Schedule(tuple(min(1, experts) for experts in schedule))
    smallest = parameter_count(with_schedule(network, thinnest)).total
    solution = solve_experts(network, smallest + extra)
    assert solution.parameters + solution.residual == smallest + extra
    assert solution.experts >= layers
    counts = list(thinnest)
    counts[schedule.layers_with_experts[0]] += solution.experts - layers
    spent = with_schedule(network, Schedule(tuple(counts)))
    assert parameter_count(spent).total == solution.parameters
    matrices = MATRICES[network.blocks.style]
    assert 0 <= solution.residual < network.width * (matrices * network.blocks.hidden + 1)


@pytest.mark.parametrize("step", [1, 4, 5])
def test_a_step_spends_all_but_less_than_one_step(step: int) -> None:
    expert = 2 * 32 * 48 + 32
    for extra in (0, 1, 3 * expert, 11 * expert + 7):
        solution = solve_experts(NETWORK, 100_000 + extra, minimum=2, step=step)
        assert solution.experts % step == 0
        assert 0 <= solution.residual < step * expert
        spread = allocate([1, 1, 1, 1], solution.experts, minimum=2, step=step)
        count = parameter_count(with_schedule(NETWORK, spread)).total
        assert count == solution.parameters == 100_000 + extra - solution.residual
    with pytest.raises(InvalidInput, match=r"\(16 experts\), the largest: .* one expert costs"):
        solve_experts(NETWORK, 10, minimum=2, maximum=7, step=4)


def test_impossible_budgets_say_what_is_possible() -> None:
    smallest = parameter_count(with_schedule(NETWORK, Schedule((1,) * 4))).total
    with pytest.raises(InvalidInput, match=f"smallest possible is {smallest:,}"):
        solve_experts(NETWORK, smallest - 1)
    largest = parameter_count(with_schedule(NETWORK, Schedule((5,) * 4))).total
    with pytest.raises(InvalidInput, match=f"the largest: {largest:,}"):
        solve_experts(NETWORK, 10 * largest, maximum=5)
    assert solve_experts(NETWORK, largest, maximum=5).experts == 20


def with_router(network: Specification, router) -> Specification:
    return replace(network, blocks=replace(network.blocks, router=router))


@pytest.mark.parametrize("router", [TopK(2), TopP(0.6), Percentile(0.5), Relative(), Threshold(3)])
def test_expected_flops_equal_the_masked_paths_products(router) -> None:
    """With every expert active, the formula is the masked path's own count."""
    network = with_router(NETWORK, TopK(8))
    tokens = 6
    with FlopCounterMode(display=False) as counter:
        build_model(network, dispatch="masked")(torch.randn(tokens, 64)).sum().backward()
    counted = counter.get_total_flops()
    # The first product needs no gradient of its input.
    assert counted == training_flops(network, tokens) - 2 * tokens * 64 * 32

    # From there to fewer experts, each unused one saves its two products.
    other = with_router(NETWORK, router)
    spread = flops_per_token(other)
    most = sum(s.maximum for s in active_experts(other.blocks))
    assert flops_per_token(network).expected - spread.maximum == 4 * 32 * 48 * (20 - most)
    assert spread.minimum <= spread.expected <= spread.maximum


OF_ALL = Experts(24, Schedule((3, 5)), TopK(5))
MODERN = Experts(
    24, Schedule((0, 5, 3)), TopK(5, gates="sigmoid"), dense_hidden=7, shared=2, style="modern"
)


@pytest.mark.parametrize(
    "network",
    [
        LanguageModel(50, 12, 16, 0, OF_ALL),
        LanguageModel(50, 12, 16, 2, OF_ALL),
        LanguageModel(50, 12, 16, 4, MODERN, key_value_heads=2, query_key_norm=True),
    ],
    ids=["no attention", "attention", "modern"],
)
def test_a_language_models_flops_equal_the_masked_paths(network: LanguageModel) -> None:
    tokens = torch.randint(0, 50, (4, 12))
    # The counter knows attention by its plain products, not by the CPU's fused kernel.
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            logits = build_model(network, dispatch="masked")(tokens)
        with FlopCounterMode(display=False) as backward:
            logits.sum().backward()
    assert forward.get_total_flops() == tokens.numel() * flops_per_token(network).expected
    both = forward.get_total_flops() + backward.get_total_flops()
    assert both == training_flops(network, tokens.numel())


def test_the_scales_are_of_the_sources_sizes() -> None:
    counts = []
    for scale in LANGUAGE_SCALES.values():
        even = Schedule((scale.experts // scale.depth,) * scale.depth)
        assert even.total == scale.experts
        network = LanguageModel(257, 128, scale.width, scale.heads, Experts(scale.hidden, even))
        counts.append(parameter_count(network).total)
    assert counts == [91_232, 511_168, 1_333_536]


@pytest.mark.slow
@pytest.mark.parametrize("router", [TopK(), Percentile(), TopP(), Relative(), Threshold()])
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    share=st.floats(0, 1),
)
def test_held_routers_share_the_active_experts(router, counts: list[int], share: float) -> None:
    schedule = Schedule(tuple(counts))
    depth = schedule.depth
    largest = [largest_active(router, experts) for experts in schedule]
    total = depth + share * (sum(largest) - depth)
    fixed = isinstance(router, TopK | Percentile)
    if fixed:
        total = round(total)
    held = held_routers(router, schedule, total / depth)
    blocks = Experts(8, schedule, held)
    shares = [layer.expected for layer in active_experts(blocks)]
    assert sum(shares) == pytest.approx(total)
    # Nothing could be moved from a layer that uses more to one that uses less and has room.
    for (one, room), other in product(zip(shares, largest, strict=True), shares):
        if one < room:
            assert other <= one + (1 if fixed else 1e-9)


def test_plain_blocks_keep_their_cost_and_need_no_router() -> None:
    blocks = Experts(48, Schedule((0, 6, 0, 2)), TopK(2), dense_hidden=(96, 0, 100, 0))
    network = replace(NETWORK, blocks=blocks)
    assert [spread.expected for spread in active_experts(blocks)] == [0, 2, 0, 2]
    # A plain block of hidden width K h takes the products of K experts.
    fixed = 32 * (64 + 10) + 32 * 8 + 2 * 32 * (96 + 100) + 4 * 2 * 32 * 48
    assert flops_per_token(network).expected == 2 * fixed
    counts = held_routers(TopK(), blocks.schedule, 2.5)
    assert [router.k for router in counts] == [2, 3, 2, 2]
    one_more = with_schedule(network, Schedule((0, 7, 0, 2)))
    assert solve_experts(network, parameter_count(one_more).total, maximum=5).experts == 9


def test_impossible_means_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"the least is 1, the most 2.5"):
        held_routers(TopK(), Schedule((4, 1)), 3)
    with pytest.raises(InvalidInput, match=r"the least is 1, the most 2 *$"):
        held_routers(Percentile(), Schedule((4, 1)), 2.5)
    with pytest.raises(InvalidInput, match=r"are 4.5 in all; top_k needs a whole number"):
        held_routers(TopK(), Schedule((4, 4, 4)), 1.5)


def test_measured_means_move_the_expected_values() -> None:
    network = with_router(NETWORK, TopP(0.5))
    spread = active_parameters(network, [2.5, 2.0, 1.5, 1.0])
    fixed = parameter_count(network).trunk + parameter_count(network).routers
    assert spread.expected == fixed + 7.0 * 2 * 32 * 48
    assert spread.minimum == fixed + 4 * 2 * 32 * 48
    with pytest.raises(InvalidInput, match=r"active experts of layer 3 are 1\.5; .* from 1 to 1"):
        active_parameters(network, [2.5, 2.0, 1.5, 1.5])
    with pytest.raises(InvalidInput, match="3 mean active experts given for 4 layers"):
        active_parameters(network, [2.5, 2.0, 1.5])
    with pytest.raises(InvalidInput, match=r"of layer 0 are 3\.9999; .* from 4 to 4"):
        active_experts(replace(EXPERTS, router=Percentile()), [3.9999, 3.0, 2.0, 1.0])
    baseline = dense_baseline(network, "active", [2.5, 2.0, 1.5, 1.0])
    assert abs(parameter_count(baseline).total - spread.expected) <= network.width


@pytest.mark.slow
@given(
    hidden=st.integers(1, 30),
    total=st.integers(2, 12),
    maximum=st.integers(6, 30),
    shared=st.integers(0, 2),
    style=st.sampled_from(["paper", "modern"]),
)
@settings(max_examples=25)
def test_equal_widths_are_all_there_are(
    hidden: int, total: int, maximum: int, shared: int, style: Style
) -> None:
    blocks = Experts(hidden, Schedule((total - 1, 1)), shared=shared, style=style)
    network = Classifier(5, 3, 8, blocks)
    wanted = parameter_count(network).total
    by_force = {
        width: experts
        for experts in range(2, 2 * maximum + 1)
        for width in range(1, 6 * hidden * (total + 2 * shared) // experts + 2)
        if parameter_count(
            replace(
                network,
                blocks=replace(blocks, hidden=width, schedule=Schedule((experts - 1, 1))),
            )
        ).total
        == wanted
    }
    assert equal_widths(network, maximum=maximum) == by_force
    assert by_force[hidden] == total


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [10**10, 10**12 + 1, 2**61])
def test_widths_of_any_size_are_answered_by_the_totals_that_a_schedule_can_have(
    hidden: int,
) -> None:
    network = Classifier(64, 10, 32, Experts(hidden, Schedule((8, 8, 8, 8))))
    kept = 32 * (2 * hidden + 1)
    for most, found in ((LARGEST_TOTAL, equal_widths(network)), (80, equal_widths(network, 2, 20))):
        assert found[hidden] == 32
        assert list(found) == sorted(found)
        assert all((2 * width + 1) * experts == kept for width, experts in found.items())
        assert max(found.values()) <= most
    assert equal_widths(network, 8, 8) == {hidden: 32}


@given(st.integers(1, 40), st.integers(1, 2000))
def test_dense_widths_are_spread_as_experts_are(depth: int, hidden: int) -> None:
    network = Classifier(64, 10, 32, Experts(hidden, Schedule((1,) * depth)))
    dense = dense_baseline(network, "total").blocks
    units = sum(dense.hidden)
    assert dense.hidden == allocate([1.0] * depth, units).counts


def test_a_dense_baseline_of_a_real_models_size() -> None:
    network = Classifier(64, 10, 4096, Experts(2048, Schedule((256,) * 61)))
    dense = dense_baseline(network, "total")
    assert abs(parameter_count(dense).total - parameter_count(network).total) <= 4096


def test_a_maximum_that_is_never_reached_does_not_matter() -> None:
    solution = solve_experts(NETWORK, 10**6)
    for maximum in (solution.experts, 10**6, 10**18):
        assert solve_experts(NETWORK, 10**6, maximum=maximum) == solution


def test_a_budget_of_more_experts_than_a_schedule_can_have_is_refused() -> None:
    most = solve_experts(NETWORK, 10**6).experts
    assert most < LARGEST_TOTAL
    with pytest.raises(InvalidInput, match=f"experts; it must be at most {LARGEST_TOTAL}"):
        solve_experts(NETWORK, 10**18)
