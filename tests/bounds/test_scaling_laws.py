"""Each law against what its paper states, as far as the constants that it prints are exact."""

import math
from dataclasses import replace

import pytest
from scipy.optimize import brentq, minimize_scalar

from dynamoe_search.bounds import scaling_laws
from dynamoe_search.bounds.budget import ExpertBudget
from dynamoe_search.bounds.extrapolation import extrapolate_budget
from dynamoe_search.bounds.scaling_laws import (
    LAWS,
    Extrapolation,
    abnar,
    clark,
    krajewski,
    ling,
    ludziejewski,
    marin,
    marin_best_size,
    sldbench,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.specification import Relative, TopK

# Krajewski et al., table 2: active parameters, tokens, granularity, loss.
TABLE_2 = [
    (100e6, 4.37e9, 8, 3.133),
    (1e9, 28.94e9, 16, 2.491),
    (3e9, 72.90e9, 16, 2.245),
    (7e9, 137.60e9, 32, 2.076),
    (70e9, 941.07e9, 32, 1.694),
    (300e9, 2.96e12, 64, 1.503),
    (1e12, 7.94e12, 64, 1.367),
]
# Ludziejewski et al., table 4: at E experts the law is m N^mu + n D^nu + c.
TABLE_4 = {
    1: (30.3640, -0.1817, 53.9838, -0.1965),
    2: (27.7982, -0.1780, 66.8401, -0.2065),
    4: (24.8462, -0.1731, 87.7022, -0.2192),
    8: (21.8330, -0.1676, 119.9126, -0.2338),
    16: (19.0159, -0.1617, 167.5073, -0.2494),
    32: (16.5424, -0.1557, 234.6726, -0.2652),
}
# Ludziejewski et al., table 1: the best active parameters for so many FLOPs and experts.
TABLE_1 = [
    (1e20, 1, 1.7e9),
    (1e20, 8, 990e6),
    (1e20, 32, 669e6),
    (1e21, 1, 5.7e9),
    (1e21, 16, 3.3e9),
    (1e22, 4, 15.8e9),
    (1e22, 32, 12.2e9),
]

# Marin, experiments/grug/moe/README.md: the best run for so many FLOPs, macro loss and c4_en bits.
MEASURED_BY_MARIN = [
    (1e18, 3.5273, 1.0658),
    (3e18, 3.3398, 1.0122),
    (1e19, 3.1494, 0.9541),
    (3e19, 3.0066, 0.9123),
    (1e20, 2.8509, 0.8665),
    (3e20, 2.7222, 0.8289),
    (1e21, 2.599, 0.7923),  # outside of the fit
]


def test_clark_gives_the_papers_example_of_an_effective_parameter_count() -> None:
    """A base of 5 million with 128 experts is as good as 55 million dense."""
    loss = clark(5e6, 128).value
    exponent = brentq(lambda x: clark(10**x, 1).value - loss, 6, 9)
    assert 10**exponent == pytest.approx(55e6, rel=0.07)


@pytest.mark.parametrize(("routing", "stated"), [("s_base", 937e9), ("rl_r", 85e9), ("hash", 83e9)])
def test_clarks_experts_stop_helping_where_stated_as_far_as_rounding_lets_us_know(
    routing: str, stated: float
) -> None:
    law = scaling_laws._CLARK[routing]
    lowest = 10 ** (-(law.b + 0.0005) / (law.c + 0.0005))
    highest = 10 ** (-(law.b - 0.0005) / (law.c - 0.0005))
    assert lowest < stated < highest
    cutoff = 10 ** (-law.b / law.c)
    assert clark(cutoff, 64, routing).value == pytest.approx(clark(cutoff, 2, routing).value)
    assert clark(cutoff / 10, 64, routing).value < clark(cutoff / 10, 2, routing).value


def test_clarks_experts_saturate() -> None:
    few, more, most = (clark(1e8, experts).value for experts in (1e3, 1e5, 1e7))
    assert few > more > most > clark(1e8, 1e9).value - 1e-9
    assert more - most < 0.01 * more


@pytest.mark.parametrize(("active", "tokens", "granularity", "loss"), TABLE_2)
def test_krajewski_gives_the_losses_of_the_papers_table(
    active: float, tokens: float, granularity: float, loss: float
) -> None:
    total = active * (8 * 64 + 4) / 12  # d^2 of a block: 8 E + 4 in all, 12 active
    assert krajewski(total, tokens, granularity).value == pytest.approx(loss, rel=0.01)


@pytest.mark.parametrize("experts", TABLE_4)
def test_ludziejewski_gives_the_papers_law_at_each_number_of_experts(experts: int) -> None:
    m, mu, n, nu = TABLE_4[experts]
    for active, tokens in ((1e8, 1e10), (1e9, 2e10), (2.7e9, 8e10)):
        stated = m * active**mu + n * tokens**nu + 1.3637
        found = ludziejewski(active, tokens, experts).value
        assert found == pytest.approx(stated, rel=0.003)


@pytest.mark.parametrize(("flops", "experts", "stated"), TABLE_1)
def test_ludziejewski_gives_the_papers_best_sizes(
    flops: float, experts: int, stated: float
) -> None:
    best = minimize_scalar(
        lambda x: ludziejewski(math.exp(x), flops / 6 / math.exp(x), experts).value,
        bounds=(math.log(1e8), math.log(1e11)),
        method="bounded",
    )
    assert math.exp(best.x) == pytest.approx(stated, rel=0.03)


def test_abnars_best_network_grows_with_sparsity_and_its_active_part_shrinks() -> None:
    def best_size(sparsity: float) -> float:
        best = minimize_scalar(
            lambda x: abnar(math.exp(x), 1e20 / 6 / math.exp(x) / (1 - sparsity), sparsity).value,
            bounds=(math.log(1e7), math.log(1e12)),
            method="bounded",
        )
        return math.exp(best.x)

    sparsities = (0, 0.25, 0.5, 0.75, 0.9, 0.95)
    total = [best_size(sparsity) for sparsity in sparsities]
    active = [size * (1 - sparsity) for size, sparsity in zip(total, sparsities, strict=True)]
    assert total == sorted(total)
    assert active == sorted(active, reverse=True)


def test_abnar_by_hand() -> None:
    # N = D = 10^10 and S = 0: 16612.5 / 10^5.962 + 5455.67 / 10^3.954 + c + 17.26 / 10^1.595 + e
    expected = 0.018132 + 0.606513 + 0.4598 + 0.438577 + 0.94
    assert abnar(1e10, 1e10, 0).value == pytest.approx(expected, abs=2e-5)


def test_ling_gives_the_papers_leverage_and_best_granularity() -> None:
    assert ling(activation=0.031, granularity=12, flops=1e22).value > 7
    best = minimize_scalar(lambda g: -ling(0.031, g, 1e20).value, bounds=(2, 60), method="bounded")
    assert 8 < best.x < 13  # "around 12"
    leverage = [ling(0.031, 2, flops).value for flops in (1e18, 1e19, 1e20, 1e21)]
    assert leverage == sorted(leverage)
    assert ling(1, 2, 1e20).value == pytest.approx(1, abs=0.01)  # a dense network's


@pytest.mark.parametrize(("flops", "macro", "bits"), [(1e21, 2.606, 0.7923), (1e23, 2.252, 0.6854)])
def test_marin_gives_the_stated_projections(flops: float, macro: float, bits: float) -> None:
    assert marin(flops).value == pytest.approx(macro, abs=0.0005)
    assert marin(flops, measure="c4_en").value == pytest.approx(bits, abs=0.0003)


@pytest.mark.parametrize(("flops", "macro", "bits"), MEASURED_BY_MARIN)
def test_marin_gives_the_measured_losses(flops: float, macro: float, bits: float) -> None:
    assert marin(flops).value == pytest.approx(macro, abs=0.008)
    assert marin(flops, measure="c4_en").value == pytest.approx(bits, abs=0.0025)


@pytest.mark.parametrize("flops", [1e18, 1e20, 3e20])
def test_marins_best_sizes_use_its_flops(flops: float) -> None:
    active_parameters, tokens = marin_best_size(flops)
    assert 6 * active_parameters * tokens == pytest.approx(flops, rel=0.02)


def test_sldbench_by_hand() -> None:
    # D = 10^8 and E = 1: 43.476 / 10^1.59192; with 32 experts a factor of 2^-0.3699 more
    assert sldbench(1e8, 1).value == pytest.approx(1.617 + 1.11257, abs=1e-4)
    assert sldbench(1e8, 32).value == pytest.approx(1.617 + 1.11257 * 0.77384, abs=1e-4)


CALLS = [
    ("clark", lambda: clark(1e8, 64), lambda: clark(1e6, 1000)),
    ("krajewski", lambda: krajewski(1e9, 5e10, 4), lambda: krajewski(1e8, 1e9, 32, 8)),
    ("ludziejewski", lambda: ludziejewski(5e8, 1e10, 8), lambda: ludziejewski(5e6, 1e6, 64)),
    ("abnar", lambda: abnar(5e9, 3e10, 0.9), lambda: abnar(1e6, 1e6, 0.99)),
    ("ling", lambda: ling(0.05, 8, 1e20), lambda: ling(0.001, 32, 1e22)),
    ("marin", lambda: marin(1e20), lambda: marin(1e21, experts=8, active_experts=2)),
    ("sldbench", lambda: sldbench(2e8, 16), lambda: sldbench(1e9, 128)),
]


@pytest.mark.parametrize(("law", "inside", "outside"), CALLS, ids=[call[0] for call in CALLS])
def test_results_are_extrapolated_and_warn_outside_the_range(law: str, inside, outside) -> None:
    found = inside()
    assert isinstance(found, Extrapolation)
    assert found.label == "extrapolated"
    assert found.law == law
    assert found.warnings == ()
    warnings = outside().warnings
    assert len(warnings) == len(LAWS[law].fitted)
    assert all("fitted from" in warning for warning in warnings)
    assert "arXiv" in LAWS[law].source or "github.com" in LAWS[law].source


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clark(0, 4), "parameters is 0"),
        (lambda: clark(1e8, 4, "base"), "routing is 'base'"),
        (lambda: krajewski(1e8, math.inf, 4), "tokens is inf"),
        (lambda: ludziejewski(1e8, 1e9, -1), "experts is -1"),
        (lambda: abnar(1e8, 1e9, 1.0), "sparsity is 1.0"),
        (lambda: ling(0, 4, 1e20), "activation is 0"),
        (lambda: marin(0), "flops is 0"),
        (lambda: marin(1e20, measure="c4"), "measure is 'c4'"),
        (lambda: marin_best_size(-1), "flops is -1"),
        (lambda: sldbench(1e8, 0), "experts is 0"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def test_a_budget_is_extrapolated_by_its_means() -> None:
    budget = ExpertBudget(12, 96, width=512, hidden=2048, router=TopK(k=2))
    parameters, active = 96 * (512 + 2 * 512 * 2048), 96 * 512 + 24 * 2 * 512 * 2048
    found = extrapolate_budget(budget, tokens=1e9)
    assert found == [
        clark(12 * 2 * 512 * 2048, 8),
        krajewski(parameters, 1e9, granularity=1, expansion=8),
        ludziejewski(active, 1e9, 8),
        abnar(parameters, 1e9, 0.75),
        ling(0.25, 0.5, 6e9 * active),
        marin(6e9 * active, 8, 2),
        marin(6e9 * active, 8, 2, "c4_en"),
        sldbench(12 * 2 * 512 * 2048, 8),
    ]
    everything = extrapolate_budget(replace(budget, router=Relative()), tokens=1e9)
    assert everything[3] == abnar(parameters, 1e9, 0)
