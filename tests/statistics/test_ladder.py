"""Ladders whose exponents are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.ladder import compute_multipliers, fit_difference

FLOPS = np.array([1e12, 8e12, 6.4e13])
LADDERS = 300
# Of 300 intervals of exactly 95 % as many hold, with 99.9 %.
LEAST, MOST = stats.binom.ppf([0.0005, 0.9995], LADDERS, 0.95) / LADDERS


def ladder(
    truth: np.ndarray, seeds: int, generator: np.random.Generator, noise: float = 0.004
) -> np.ndarray:
    """Differences by seed: noise that is unequal over scales, and partly shared by them."""
    unequal = noise * np.linspace(1.5, 0.5, len(truth))
    own = generator.normal(size=(seeds, len(truth))) * unequal
    return truth + own + noise / 2 * generator.normal(size=(seeds, 1))


@settings(max_examples=25, deadline=None)
@given(
    exponent=st.floats(-0.8, 0.8),
    size=st.sampled_from([-0.05, 0.02]),
    scales=st.integers(3, 5),
)
def test_a_power_law_without_noise_is_recovered(exponent: float, size: float, scales: int) -> None:
    flops = 1e12 * 8.0 ** np.arange(scales)
    truth = size * (flops / 1e13) ** exponent
    differences = truth * np.array([[0.9], [1.0], [1.1]])
    fit = fit_difference(flops, differences)
    assert fit.exponent.value == pytest.approx(exponent, abs=1e-4)
    assert fit.exponent.low - 1e-3 <= exponent <= fit.exponent.high + 1e-3
    assert fit.keeps_sign
    at = 1e15
    expected = size * (at / 1e13) ** exponent
    assert fit.power_at(at).value == pytest.approx(expected, rel=1e-3)


def test_the_exponent_is_that_of_least_squares() -> None:
    differences = ladder(0.05 * (FLOPS / 1e13) ** -0.3, 6, np.random.default_rng(1))
    scaled = FLOPS / 1e13
    (_, expected), _ = optimize.curve_fit(
        lambda c, a, b: a * c**b, scaled, differences.mean(axis=0), p0=(0.05, -0.3)
    )
    assert fit_difference(FLOPS, differences).exponent.value == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("exponent", "seeds"), [(-0.3, 4), (0.1, 8)])
def test_intervals_hold_as_often_as_they_say(exponent: float, seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    truth = 0.03 * (FLOPS / 1e13) ** exponent
    at = 1e15
    predicted = 0.03 * (at / 1e13) ** exponent
    held = np.zeros(3)
    for _ in range(LADDERS):
        fit = fit_difference(FLOPS, ladder(truth, seeds, generator))
        power = fit.power_at(at)
        held += (
            fit.exponent.low <= exponent <= fit.exponent.high,
            power.low <= predicted <= power.high,
            fit.p_power >= 0.05,
        )
    held /= LADDERS
    assert LEAST <= held[0] <= MOST
    assert held[1] >= LEAST
    assert held[2] >= LEAST - 0.03  # it takes the exponent as if it were known


def test_a_line_and_its_test_hold_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    truth = 0.01 - 0.004 * np.log10(FLOPS / 1e13)
    held = np.zeros(3)
    for _ in range(LADDERS):
        fit = fit_difference(FLOPS, ladder(truth, 5, generator))
        line = fit.line_at(1e17)
        held += (
            fit.slope.low <= -0.004 <= fit.slope.high,
            line.low <= 0.01 - 0.004 * 4 <= line.high,
            fit.p_line >= 0.05,
        )
    assert (held / LADDERS >= LEAST).all()
    assert (held / LADDERS <= MOST).all()


def test_the_slope_is_that_of_a_regression_and_signs_may_change() -> None:
    differences = ladder(np.array([0.02, 0.0, -0.02]), 5, np.random.default_rng(2), 0.001)
    fit = fit_difference(FLOPS, differences)
    expected = stats.linregress(np.log10(FLOPS), differences.mean(axis=0)).slope
    assert fit.slope.value == pytest.approx(expected)
    assert not fit.keeps_sign
    per_seed = [stats.linregress(np.log10(FLOPS), row).slope for row in differences]
    interval = stats.t.interval(0.95, 4, np.mean(per_seed), stats.sem(per_seed))
    assert (fit.slope.low, fit.slope.high) == pytest.approx(interval)


def test_curvature_is_seen() -> None:
    bent = ladder(np.array([0.0, 0.05, 0.0]), 6, np.random.default_rng(5))
    assert fit_difference(FLOPS, bent).p_line < 0.01
    single = stats.ttest_1samp(bent @ np.array([1, -2, 1]), 0).pvalue
    assert fit_difference(FLOPS, bent).p_line == pytest.approx(single)


def test_noise_alone_bounds_no_exponent() -> None:
    noise = ladder(np.zeros(3), 6, np.random.default_rng(7))
    fit = fit_difference(FLOPS, noise)
    assert fit.exponent.high == math.inf
    assert fit.power_at(1e20).high == math.inf


def test_multipliers_hold_as_often_as_they_say() -> None:
    generator = np.random.default_rng(4)
    slope, true = 0.05, 1.3
    held = np.zeros(3)
    for _ in range(LADDERS):
        reference = np.exp(0.5 - slope * np.log(FLOPS / 1e13) + ladder(np.zeros(3), 5, generator))
        losses = reference * np.exp(ladder(np.full(3, -slope * math.log(true)), 5, generator))
        found = compute_multipliers(FLOPS, reference, losses)
        held += [one.low <= true <= one.high for one in found]
    assert (held / LADDERS >= LEAST).all()
    assert (held / LADDERS <= MOST).all()


def test_a_reference_that_does_not_improve_bounds_no_multiplier() -> None:
    reference = np.array([[1.0, 1.01, 1.0], [1.0, 0.99, 1.001], [1.0, 1.0, 0.999]])
    found = compute_multipliers(FLOPS, reference, reference * 0.9)[0]
    assert (found.low, found.high) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("flops", "differences", "message"),
    [
        (FLOPS[:2], np.ones((4, 2)), "at least 3 scales"),
        (FLOPS, np.ones((1, 3)), "with 2 seeds"),
        (FLOPS[::-1], np.ones((4, 3)), "increase"),
        (FLOPS, np.full((4, 3), np.nan), "not finite"),
        (FLOPS, np.ones(3), "a row per seed"),
    ],
)
def test_what_is_no_ladder_is_refused(
    flops: np.ndarray, differences: np.ndarray, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit_difference(flops, differences)


def test_impossible_arguments_are_refused() -> None:
    fit = fit_difference(FLOPS, ladder(np.ones(3), 3, np.random.default_rng(0)))
    with pytest.raises(InvalidInput, match="above 0 and finite"):
        fit.power_at(0)
    with pytest.raises(InvalidInput, match="losses must be above 0"):
        compute_multipliers(FLOPS, np.ones((3, 3)), np.zeros((3, 3)))
