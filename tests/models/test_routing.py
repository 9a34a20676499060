import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.models.routing import route, score_experts, threshold_for
from dynamoe_search.specification import Percentile, Relative, Router, Threshold, TopK, TopP

ROUTER_CASES = [
    Percentile(0.0),
    Percentile(0.3),
    Percentile(0.5),
    Percentile(1.0),
    TopK(1),
    TopK(3),
    TopK(3, gates="sigmoid"),
    TopK(3, gates="sigmoid", noise=0.1, renormalize=False),
    TopP(0.2),
    TopP(0.7),
    TopP(1.0),
    TopP(target=2.5),
    Relative(0.0),
    Relative(0.4),
    Relative(1.0),
    Relative(target=1.5),
    Threshold(1.0),
    Threshold(2.5),
    Threshold(40.0),
]


UNIT = st.floats(0, 1) | st.integers(0, 20).map(lambda n: n / 20)
TARGET = st.none() | st.floats(1, 70) | st.integers(1, 70).map(float)
GATES = st.sampled_from(["softmax", "sigmoid"])
COMMON = {"noise": st.sampled_from([0.0, 0.1, 2.0]), "temperature": st.sampled_from([0.5, 1.0])}
ANY_ROUTER = st.one_of(
    st.builds(Percentile, tau=UNIT, **COMMON),
    st.builds(TopK, k=st.integers(1, 70), gates=GATES, renormalize=st.booleans(), **COMMON),
    st.builds(TopP, p=UNIT.filter(bool), target=TARGET, **COMMON),
    st.builds(Relative, tau=UNIT, target=TARGET, **COMMON),
    st.builds(Threshold, target=TARGET.filter(bool), **COMMON),
)
DTYPE = st.sampled_from([torch.float32, torch.bfloat16, torch.float64])


def random_logits(tokens: int, experts: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(tokens, experts, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("router", ROUTER_CASES, ids=str)
@pytest.mark.parametrize("experts", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("training", [True, False])
def test_every_router_gives_a_valid_routing(router: Router, experts: int, training: bool) -> None:
    noise = random_logits(200, experts, seed=1, scale=1.0) if training else None
    routing = route(router, random_logits(200, experts), noise)
    least, most = router.active_bounds(experts)
    assert routing.active.min() >= least >= 1
    assert routing.active.max() <= most <= experts
    torch.testing.assert_close(routing.gates.sum(1), torch.ones(200, dtype=torch.float64))
    assert (routing.weights[~routing.chosen] == 0).all()
    assert (routing.weights[routing.chosen] > 0).all()
    target = getattr(router, "target", None)
    if target is not None:
        assert routing.active.double().mean() == pytest.approx(min(target, experts), abs=0.01)
    renormalized = isinstance(router, TopK) and router.k > 1 and router.renormalize
    if isinstance(router, Percentile) or renormalized:
        torch.testing.assert_close(routing.weights.sum(1), torch.ones(200, dtype=torch.float64))


@settings(max_examples=200)
@given(
    router=ANY_ROUTER,
    experts=st.integers(1, 64),
    scale=st.sampled_from([0.0, 0.3, 3.0, 300.0, math.inf]),
    rounded=st.booleans(),
    dtype=DTYPE,
    training=st.booleans(),
    bias=st.sampled_from([0.0, 0.1, 5.0]),
    threshold=st.none() | st.floats(-1, 2) | st.just(math.nan),
    seed=st.integers(0, 1000),
)
def test_no_token_leaves_the_bounds_of_its_router(
    router: Router,
    experts: int,
    scale: float,
    rounded: bool,
    dtype: torch.dtype,
    training: bool,
    bias: float,
    threshold: float | None,
    seed: int,
) -> None:
    """Equal, tied, one-hot and infinite logits, with noise and a bias, at any threshold."""
    logits = random_logits(20, experts, seed)
    logits = scale * (logits.round() if rounded else logits)
    reached = None if threshold is None else torch.tensor(threshold, dtype=dtype)
    biases = bias * random_logits(1, experts, seed)[0].to(dtype)
    noise = random_logits(20, experts, seed + 1, scale=1.0).to(dtype) if training else None
    routing = route(router, logits.to(dtype), noise, biases if bias else None, reached)
    least, most = router.active_bounds(experts)
    assert 1 <= least <= routing.active.min()
    assert routing.active.max() <= most <= experts
    if math.isfinite(scale):
        assert routing.weights.isfinite().all()
        assert (routing.weights[~routing.chosen] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_top_p_of_equal_gates_uses_p_n_experts(dtype: torch.dtype) -> None:
    """Sums of equal gates round to either side of p."""
    for experts in range(1, 65):
        for twentieths in range(1, 21):
            routing = route(TopP(twentieths / 20), torch.zeros(1, experts, dtype=dtype))
            exact = -(-twentieths * experts // 20)
            # bfloat16 has 8 bits.
            room = 2 if dtype == torch.bfloat16 else 0
            assert exact - room <= routing.active.item() <= exact


@pytest.mark.parametrize(
    "router", [TopK(3), TopP(0.7), TopP(target=2.5), Relative(), Threshold(2.5)], ids=str
)
def test_noise_and_bias_change_which_experts_are_used_and_not_how_many(router: Router) -> None:
    logits, bias = random_logits(300, 8, scale=1.0), random_logits(1, 8, seed=1)[0] / 20
    quiet = route(router, logits)
    noise = random_logits(300, 8, seed=3, scale=1.0)
    noisy = route(replace(router, noise=0.1), logits, noise, bias)
    assert torch.equal(noisy.active, quiet.active)
    assert not torch.equal(noisy.chosen, quiet.chosen)
    moved = noisy.gates + 0.1 * noise + bias
    used = moved.masked_fill(~noisy.chosen, math.inf).amin(dim=1)
    unused = moved.masked_fill(noisy.chosen, -math.inf).amax(dim=1)
    assert (used >= unused).all()


def test_top_k_divides_by_the_sum_also_where_noise_chooses_gates_of_0() -> None:
    logits = torch.tensor([[300.0, 1.0, 0.0, 0.0]]).repeat(200, 1)
    noise = random_logits(200, 4, scale=1.0).float()
    routing = route(TopK(2, noise=2.0), logits, noise)
    torch.testing.assert_close(routing.weights.sum(dim=1), torch.ones(200))
    pair = routing.weights[routing.chosen[:, 1] & routing.chosen[:, 2]]
    assert len(pair) > 0
    torch.testing.assert_close(pair[:, 1] / pair[:, 2], torch.full((len(pair),), math.e))


@settings(max_examples=100)
@given(UNIT, st.integers(1, 40))
def test_percentile_gives_one_k_to_every_token(tau: float, experts: int) -> None:
    """The consequence that the source overlooks: K = max(1, N - 1 - floor(tau (N - 1)))."""
    router = Percentile(tau, noise=0.0)
    routing = route(router, random_logits(50, experts, seed=experts))
    expected = max(1, experts - 1 - math.floor(tau * (experts - 1) + 1e-9))
    assert routing.active.unique().tolist() == [expected]
    assert router.active_bounds(experts) == (expected, expected)


@pytest.mark.parametrize("tau", [0.0, 0.25, 0.37, 0.5, 0.9])
@pytest.mark.parametrize("experts", [2, 3, 8, 11])
def test_percentile_against_the_rule_as_written(tau: float, experts: int) -> None:
    logits = random_logits(100, experts)
    routing = route(Percentile(tau, noise=0.0), logits)
    for token, gates in enumerate(torch.softmax(logits / 0.5, dim=1)):
        above = gates > torch.quantile(gates, tau, interpolation="linear")
        if not above.any():
            above = gates == gates.max()
        assert routing.chosen[token].tolist() == above.tolist()
        again = torch.softmax(gates[above], dim=0)
        torch.testing.assert_close(routing.weights[token][above], again)


@pytest.mark.parametrize("tau", [0.0, 0.25, 0.37, 0.5, 0.9])
def test_percentile_fills_up_with_equal_gates(tau: float) -> None:
    """Where gates are equal, fewer than K are above the percentile: its equals are used, too."""
    logits = random_logits(200, 8, scale=0.7).round()
    routing = route(Percentile(tau, noise=0.0), logits)
    for gates, chosen in zip(routing.gates, routing.chosen, strict=True):
        assert gates[chosen].min() >= gates[~chosen].max()
        assert chosen[gates > torch.quantile(gates, tau, interpolation="linear")].all()
        assert chosen.sum() == Percentile(tau).active_bounds(8)[0]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_against_sorting(k: int) -> None:
    logits = random_logits(100, 5)
    routing = route(TopK(k), logits)
    for token, gates in enumerate(torch.softmax(logits, dim=1)):
        largest = sorted(range(5), key=lambda e: -gates[e])[:k]
        assert set(routing.chosen[token].nonzero().flatten().tolist()) == set(largest)
        divisor = gates[largest].sum() if k > 1 else 1.0
        torch.testing.assert_close(routing.weights[token][largest], gates[largest] / divisor)


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_gates_bias_and_weights_as_deepseek_v3_has_them(
    kind: str, k: int, renormalize: bool
) -> None:
    """The largest s + b are chosen; the weights are s, or s over the sum of the chosen s."""
    logits, bias = random_logits(100, 5), torch.tensor([0.3, 0.0, -0.4, 0.1, 0.0]).double()
    routing = route(TopK(k, gates=kind, renormalize=renormalize), logits, bias=bias)
    gates = 1 / (1 + torch.exp(-logits)) if kind == "sigmoid" else torch.softmax(logits, dim=1)
    torch.testing.assert_close(routing.gates, gates / gates.sum(dim=1, keepdim=True))
    for token, scores in enumerate(gates):
        largest = (scores + bias).argsort(descending=True)[:k]
        assert set(routing.chosen[token].nonzero().flatten().tolist()) == set(largest.tolist())
        divisor = scores[largest].sum() if renormalize and k > 1 else 1.0
        torch.testing.assert_close(routing.weights[token][largest], scores[largest] / divisor)


@settings(max_examples=100)
@given(st.floats(0.01, 1), st.integers(1, 12), st.floats(0, 8), st.integers(0, 1000))
def test_top_p_is_the_smallest_set_that_reaches_p(
    p: float, experts: int, scale: float, seed: int
) -> None:
    routing = route(TopP(p), random_logits(20, experts, seed, scale))
    for token in range(20):
        gates, chosen = routing.gates[token], routing.chosen[token]
        if not chosen.all():
            assert gates[chosen].sum() >= p - 1e-12
            assert gates[chosen].min() >= gates[~chosen].max() - 1e-12
        if chosen.sum() > 1:
            assert gates[chosen].sum() - gates[chosen].min() < p + 1e-12
        # Two further bounds of the set's size: by the largest gate and by the entropy.
        entropy = -(gates * gates.log()).nan_to_num().sum()
        assert chosen.sum() >= math.ceil(p / gates.max().item() - 1e-9)
        if p < 1:
            assert math.log(chosen.sum()) <= entropy / (1 - p) + 1e-9
    torch.testing.assert_close(
        routing.weights, torch.where(routing.chosen, routing.gates, torch.zeros(()).double())
    )


def test_top_p_varies_by_token_where_percentile_does_not() -> None:
    logits = random_logits(500, 8)
    assert route(TopP(0.7), logits).active.unique().numel() > 2
    assert route(Percentile(0.5), logits).active.unique().numel() == 1


@pytest.mark.parametrize(
    "router",
    [
        *(Percentile(0.5), TopK(2), TopK(1), TopP(0.7), Relative(0.3)),
        *(TopK(2, gates="sigmoid"), TopK(2, gates="sigmoid", renormalize=False)),
    ],
    ids=str,
)
def test_gradients_reach_the_router(router: Router) -> None:
    logits = random_logits(20, 6).requires_grad_()
    weights = route(router, logits).weights
    (weights * random_logits(20, 6, seed=1)).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
    assert torch.autograd.gradcheck(
        lambda z: route(router, z).weights, (random_logits(4, 5).requires_grad_(),)
    )


def test_the_noise_is_what_the_router_makes_of_normal_values() -> None:
    logits, noise = random_logits(200, 8, scale=0.1), random_logits(200, 8, seed=1, scale=1.0)
    noisy = route(TopK(2, noise=0.3), logits, noise)
    assert torch.equal(noisy.chosen, route(TopK(2, noise=0.6), logits, noise / 2).chosen)
    quiet = route(TopK(2, noise=0.3), logits)
    assert not torch.equal(noisy.chosen, quiet.chosen)
    assert torch.equal(noisy.gates, quiet.gates)


@settings(max_examples=40)
@given(router=ANY_ROUTER, experts=st.integers(1, 9), seed=st.integers(0, 1000))
def test_several_networks_are_routed_as_each_alone(router: Router, experts: int, seed: int) -> None:
    logits, noise, bias, thresholds = (
        torch.stack([random_logits(rows, experts, seed + place + 9 * number) for place in range(3)])
        for number, rows in enumerate((20, 20, 1, 1))
    )
    bias, thresholds = bias[:, 0] / 20, thresholds[:, 0, 0].abs()
    for threshold in (None, thresholds):
        together = route(router, logits, noise, bias, threshold)
        for place in range(3):
            own = None if threshold is None else threshold[place]
            alone = route(router, logits[place], noise[place], bias[place], own)
            of_seed = together.of_seed(place)
            assert torch.equal(of_seed.chosen, alone.chosen)
            assert torch.equal(of_seed.weights, alone.weights)
            assert torch.equal(of_seed.active, alone.active)


@settings(max_examples=100)
@given(st.floats(0, 1), st.integers(1, 12), st.floats(0, 8), st.integers(0, 1000))
def test_relative_against_the_rule_as_written(
    tau: float, experts: int, scale: float, seed: int
) -> None:
    routing = route(Relative(tau), random_logits(20, experts, seed, scale))
    for gates, chosen in zip(routing.gates, routing.chosen, strict=True):
        expected = [gate / gates.max() >= tau or gate == gates.max() for gate in gates]
        assert chosen.tolist() == expected


def test_a_token_of_equal_gates_uses_every_expert_by_relative_and_few_by_top_p() -> None:
    logits = torch.zeros(3, 10, dtype=torch.float64)
    assert route(Relative(0.9), logits).active.tolist() == [10] * 3
    assert route(TopP(0.05), logits).active.tolist() == [1] * 3


@settings(max_examples=100)
@given(st.floats(0.02, 1), st.integers(1, 12), st.floats(0, 8), st.integers(0, 1000))
def test_a_threshold_bounds_k(threshold: float, experts: int, scale: float, seed: int) -> None:
    """K <= floor(1 / t), as gates sum to 1; the largest gate is used at any threshold."""
    logits = random_logits(20, experts, seed, scale)
    router = Threshold(1.5)  # every layer of two experts or more has a controller
    routing = route(router, logits, threshold=torch.tensor(threshold))
    expected = routing.gates >= torch.tensor(threshold)
    expected.scatter_(1, routing.gates.argmax(dim=1, keepdim=True), True)
    assert torch.equal(routing.chosen, expected)
    assert routing.active.max() <= max(1, math.floor(1 / threshold + 1e-6))


@pytest.mark.parametrize("router", [TopP(target=2.0), Relative(), Threshold()], ids=str)
@settings(max_examples=50)
@given(target=st.floats(1, 9), seed=st.integers(0, 1000))
def test_the_threshold_of_a_batch_meets_the_target(router, target: float, seed: int) -> None:
    gates = torch.softmax(random_logits(40, 9, seed), dim=1)
    scores = score_experts(router, gates)
    used = int((scores >= threshold_for(scores, target)).sum())
    assert used == round(target * 40)
    # A larger gate is never passed over for a smaller one.
    order = gates.argsort(dim=1, descending=True)
    assert (scores.gather(1, order).diff(dim=1) <= 1e-12).all()


@pytest.mark.parametrize("router", [Percentile(0.5), TopK(2), TopP(0.6), Relative(), Threshold()])
def test_a_bias_decides_the_choice_and_not_the_weights(router: Router) -> None:
    router = Percentile(0.5, noise=0.0) if isinstance(router, Percentile) else router
    logits = random_logits(100, 6, scale=0.5)
    plain = route(router, logits)
    bias = torch.tensor([0.5, 0, 0, 0, 0, -0.5], dtype=torch.float64)
    biased = route(router, logits, bias=bias)
    assert biased.chosen[:, 0].sum() > plain.chosen[:, 0].sum()
    assert biased.chosen[:, 5].sum() < plain.chosen[:, 5].sum()
    assert torch.equal(biased.gates, plain.gates)
    if not isinstance(router, TopK | Percentile):
        assert torch.equal(biased.weights, biased.gates * biased.chosen)


@settings(max_examples=50)
@given(target=st.floats(1, 5), seed=st.integers(0, 100), kinds=st.integers(1, 4))
def test_where_scores_tie_the_nearer_side_is_taken(target: float, seed: int, kinds: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, kinds, (60,), generator=generator)
    scores = score_experts(Threshold(), torch.softmax(random_logits(kinds, 5, seed), dim=1)[kind])
    used = int((scores >= threshold_for(scores, target)).sum())
    possible = [int((scores >= value).sum()) for value in scores.unique()]
    assert abs(used - round(target * 60)) == min(abs(n - round(target * 60)) for n in possible)
