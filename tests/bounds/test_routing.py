import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from dynamoe_search.bounds.routing import (
    balanced_distinct_experts,
    distinct_experts,
    entropy_bounds,
    log2_configurations,
    mean_active_tail,
    parallel_efficiency,
    threshold_active_bound,
    top_p_active_bounds,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.utilization import load_entropy
from dynamoe_search.models.routing import route
from dynamoe_search.specification import (
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
    VariableRouter,
)

FREE_ROUTERS = [
    *(Percentile(tau=tau) for tau in (0.0, 0.3, 0.5, 0.9, 1.0)),
    *(TopK(k=k) for k in (1, 2, 3)),
    TopK(k=9),
    *(TopP(p=p) for p in (0.001, 0.2, 0.5, 0.7, 0.95, 1.0)),
    *(Relative(tau=tau) for tau in (0.0, 0.5, 1.0)),
]
HELD_ROUTERS = [
    *(TopP(target=1.0), TopP(target=2.0), Relative(target=1.5), Relative(target=9.0)),
    *(Threshold(target=1.0), Threshold(target=2.0), Threshold(target=4.5)),
]

gates = st.integers(1, 8).flatmap(
    lambda n: arrays(np.float64, n, elements=st.floats(0.01, 1)).map(lambda g: g / g.sum())
)


def random_logits(experts: int) -> torch.Tensor:
    """Nearly even to nearly one-hot, but not so far that gates tie at 0."""
    generator = torch.Generator().manual_seed(experts)
    spread = torch.tensor([0.02, 0.3, 1.0, 3.0]).repeat_interleave(2000)[:, None]
    return spread * torch.randn(len(spread), experts, generator=generator)


def reached(router: Router, experts: int) -> set[int]:
    """The sets of experts, as bits, that many tokens get from the router, at any threshold."""
    logits = random_logits(experts)
    thresholds: list[torch.Tensor | None] = [None]
    held = isinstance(router, VariableRouter) and router.target is not None
    if held and router.target < experts:  # else a layer has no controller
        thresholds += list(torch.linspace(-1.01, 1.01, 41))
    bits = 2 ** torch.arange(experts)
    return {
        code
        for threshold in thresholds
        for code in (route(router, logits, False, threshold=threshold).chosen * bits)
        .sum(1)
        .tolist()
    }


@pytest.mark.slow
@pytest.mark.parametrize("experts", [1, 2, 3, 5])
@pytest.mark.parametrize("router", [*FREE_ROUTERS, *HELD_ROUTERS], ids=str)
def test_configurations_are_the_sets_that_the_router_reaches(router: Router, experts: int) -> None:
    assert len(reached(router, experts)) == round(2 ** log2_configurations(router, experts))


def active_by_the_rule(router: Router, gates: list[Fraction]) -> int:
    """K of a token, by the rule as its paper has it; the gates are different, the largest first."""
    match router:
        case Percentile(tau=tau):
            position = Fraction(str(tau)) * (len(gates) - 1)
            low, high = gates[::-1][math.floor(position)], gates[::-1][math.ceil(position)]
            percentile = low + (position - math.floor(position)) * (high - low)
            return max(1, sum(gate > percentile for gate in gates))
        case TopK(k=k):
            return min(k, len(gates))
        case TopP(p=p):
            sums = list(itertools.accumulate(gates))
            return next(k for k, reached in enumerate(sums, 1) if reached >= Fraction(str(p)))
        case Relative(tau=tau):
            return sum(gate >= Fraction(str(tau)) * gates[0] for gate in gates)
    raise AssertionError(router)


def possible_active(router: Router, experts: int) -> set[int]:
    """The K of tokens of exact, positive, different gates.

    Some gates are large and nearly equal, the others small; these make every K that there is.
    """
    if isinstance(router, VariableRouter) and router.target is not None:
        # Tokens use their largest gate, and as many more as make the mean.
        mean = min(router.target, experts)
        return {k for k in range(1, experts + 1) if k == mean or 1 < mean < experts}
    possible = set()
    for large in range(1, experts + 1):
        sizes = [10**9 * (e < large) + experts - e for e in range(experts)]
        gates = [Fraction(size, sum(sizes)) for size in sizes]
        possible.add(active_by_the_rule(router, gates))
    return possible


@pytest.mark.parametrize("experts", [1, 2, 3, 4, 7, 10, 20, 25, 64])
@pytest.mark.parametrize("router", [*FREE_ROUTERS, *HELD_ROUTERS], ids=str)
def test_configurations_are_those_of_positive_gates(router: Router, experts: int) -> None:
    """Experts are alike, so every set of a possible size is possible."""
    possible = possible_active(router, experts)
    exact = math.log2(sum(math.comb(experts, k) for k in possible))
    assert log2_configurations(router, experts) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    least, most = router.active_bounds(experts)
    assert least == min(possible)
    if router != Relative(tau=1.0):  # where equal gates make more
        assert most == max(possible)


@pytest.mark.parametrize("twentieths", range(1, 21))
def test_top_p_at_every_edge(twentieths: int) -> None:
    router = TopP(p=twentieths / 20)
    for experts in range(1, 31):
        possible = possible_active(router, experts)
        assert router.active_bounds(experts) == (min(possible), max(possible))


@pytest.mark.parametrize("router", [TopP(p=1.0), Relative(tau=0.0), TopK(k=4)], ids=str)
def test_a_router_that_uses_every_expert_has_one_configuration(router: Router) -> None:
    assert log2_configurations(router, 4) == 0


def test_the_sources_router_does_not_reach_all_subsets() -> None:
    tau_half = log2_configurations(Percentile(tau=0.5), 8)
    assert tau_half == pytest.approx(math.log2(math.comb(8, 4)))
    assert tau_half < math.log2(2**8 - 1) - 1.8


@pytest.mark.parametrize("k", range(1, 9))
def test_binomial_coefficients_are_log_concave_in_the_experts(k: int) -> None:
    bits = [log2_configurations(TopK(k=k), experts) for experts in range(k, 100)]
    assert (np.diff(bits, n=2) <= 1e-12).all()


def test_distinct_experts_by_enumeration() -> None:
    sets = list(itertools.combinations(range(4), 2))
    chances = np.array([0.3, 0.25, 0.2, 0.15, 0.1, 0.0])
    use = [sum(c for s, c in zip(sets, chances, strict=True) if e in s) for e in range(4)]
    for tokens in range(5):
        expected = sum(
            math.prod(chances[i] for i in picks) * len(set().union(*(sets[i] for i in picks)))
            for picks in itertools.product(range(len(sets)), repeat=tokens)
        )
        assert distinct_experts(use, tokens) == pytest.approx(expected, abs=1e-12)


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)), st.integers(0, 300))
def test_even_use_touches_the_most_experts(use: np.ndarray, tokens: int) -> None:
    experts, active = len(use), float(use.sum())
    even = balanced_distinct_experts(experts, active, tokens)
    assert distinct_experts(use, tokens) <= even + 1e-9
    assert even == pytest.approx(distinct_experts([active / experts] * experts, tokens))
    assert even <= min(experts, active * tokens) + 1e-9


@given(st.data())
def test_load_entropy_lies_between_ln_k_and_ln_n(data: st.DataObject) -> None:
    experts, tokens = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    chosen = data.draw(arrays(np.bool_, (tokens, experts)))
    chosen[np.arange(tokens), data.draw(st.integers(0, experts - 1))] = True
    low, high = entropy_bounds(experts, chosen.sum() / tokens)
    assert low - 1e-9 <= load_entropy(chosen.sum(axis=0)) <= high + 1e-9


def test_entropy_bounds_are_met() -> None:
    low, high = entropy_bounds(experts=6, active=2)
    assert load_entropy([9, 9, 0, 0, 0, 0]) == pytest.approx(low)
    assert load_entropy([3] * 6) == pytest.approx(high)


@given(gates, st.floats(0.05, 1))
def test_top_p_sets_are_of_a_size_within_the_bounds(shares: np.ndarray, p: float) -> None:
    chosen = route(TopP(p=p), torch.from_numpy(np.log(shares))[None])
    low, high = top_p_active_bounds(shares, p)
    assert 1 <= low <= int(chosen.active) <= high <= len(shares)


@settings(max_examples=60)
@given(
    experts=st.integers(1, 64),
    p=st.floats(0.01, 1) | st.integers(1, 20).map(lambda n: n / 20),
    spread=st.sampled_from([0.0, 0.0, 0.01, 1.0, 10.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@example(experts=25, p=0.8, spread=0.0, dtype=torch.float32)
def test_measured_k_is_within_the_bounds_of_measured_gates(
    experts: int, p: float, spread: float, dtype: torch.dtype
) -> None:
    logits = spread * torch.randn(
        50, experts, dtype=dtype, generator=torch.Generator().manual_seed(experts)
    )
    noise = torch.randn(50, experts, dtype=dtype, generator=torch.Generator().manual_seed(1))
    routing = route(TopP(p=p, noise=0.1), logits, noise)
    low, high = top_p_active_bounds(routing.gates, p)
    active = routing.active.numpy()
    assert (low <= active).all()
    assert (active <= high).all()
    for threshold in routing.gates.flatten()[:10]:
        routing = route(Threshold(1.5, noise=0.1), logits, noise, threshold=threshold)
        bound = threshold_active_bound(experts, float(threshold))
        assert int(routing.active.max()) <= bound


def test_top_p_bounds_are_met_by_even_gates_and_hold_for_many_tokens() -> None:
    even = np.full((2, 5), 0.2)
    low, high = top_p_active_bounds(even, p=0.5)
    assert low.tolist() == [3, 3]
    assert high.tolist() == [5, 5]
    low, high = top_p_active_bounds([1.0, 0.0, 0.0], p=0.9)
    assert (int(low), int(high)) == (1, 1)
    assert int(top_p_active_bounds([1.0, 0.0], p=1.0)[1]) == 2


@pytest.mark.slow
@given(gates, st.floats(0, 1))
def test_no_more_experts_reach_a_threshold_than_the_bound(
    shares: np.ndarray, threshold: float
) -> None:
    logits, reached = torch.from_numpy(np.log(shares))[None], torch.tensor(threshold)
    active = int(route(Threshold(1.5), logits, threshold=reached).active)
    assert active <= threshold_active_bound(len(shares), threshold)


def test_threshold_bounds_are_met() -> None:
    assert [threshold_active_bound(4, t) for t in (-1.0, 0.0, 0.25, 0.26, 0.5, 0.51, 1.0)] == [
        4, 4, 4, 3, 2, 1, 1,
    ]  # fmt: skip


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("tokens", [1, 10, 200])
def test_the_tail_of_the_mean_is_never_above_hoeffdings(chance: float, tokens: int) -> None:
    """K is 5 with that chance, else 1: the number of fives is binomial."""
    for deviation in (0.05, 0.3, 1.0, 2.5):
        fives = math.ceil(tokens * (chance + deviation / 4) - 1e-9)
        exact = binom.sf(fives - 1, tokens, chance)
        assert exact <= mean_active_tail(tokens, deviation, least=1, most=5)


def test_a_fixed_k_never_deviates() -> None:
    assert mean_active_tail(tokens=10, deviation=0.1, least=2, most=2) == 0


@given(arrays(np.int64, st.integers(1, 9), elements=st.integers(0, 50)).filter(np.any))
def test_parallel_efficiency_is_that_of_the_busiest_expert(load: np.ndarray) -> None:
    efficiency = parallel_efficiency(load)
    max_violation = load.max() / load.mean() - 1
    assert efficiency == pytest.approx(1 / (1 + max_violation))
    assert 1 / len(load) - 1e-12 <= efficiency <= 1


@settings(max_examples=20)
@given(st.sampled_from([*FREE_ROUTERS, *HELD_ROUTERS]), st.integers(1, 200))
def test_configurations_are_between_none_and_all(router: Router, experts: int) -> None:
    assert 0 <= log2_configurations(router, experts) <= math.log2(2**experts - 1) + 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distinct_experts([0.5, 1.2], 3), "from 0 to 1"),
        (lambda: distinct_experts([0.5], -1), "tokens is -1"),
        (lambda: balanced_distinct_experts(4, 5, 1), "active is 5"),
        (lambda: entropy_bounds(4, 0.5), "active is 0.5"),
        (lambda: top_p_active_bounds([1.0], 0), "p is 0"),
        (lambda: mean_active_tail(0, 0.1, 1, 2), "at least 1 token"),
        (lambda: mean_active_tail(5, 0.1, 3, 2), "least <= most"),
        (lambda: parallel_efficiency([0, 0]), "not all 0"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
