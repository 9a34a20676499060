"""Boundaries against published constants, the multivariate normal law, and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.statistics.group_sequential import (
    _EDGES,
    LEVELS,
    _boundaries,
    _steps,
    critical_value,
    nominal_level,
    sequential_p_value,
    spent,
)

# Two-sided error rate of 5 %, five looks at equal distances (Jennison and Turnbull 2000, tables 2.1
# and 2.3). That both sides are crossed is so rare that one side alone has half of it.
POCOCK, O_BRIEN_FLEMING = 2.413, 2.040


def chance_to_cross(scores: np.ndarray, counts: np.ndarray) -> float:
    """That any of the normal statistics of sums of so many values is above its score."""
    smaller, larger = np.minimum.outer(counts, counts), np.maximum.outer(counts, counts)
    normal = stats.multivariate_normal(
        cov=np.sqrt(smaller / larger), abseps=1e-6, releps=1e-6, seed=0
    )
    return 1 - float(normal.cdf(scores))


@pytest.mark.slow
def test_the_oracle_knows_the_constants_of_the_literature() -> None:
    counts = np.arange(1, 6)
    assert chance_to_cross(np.full(5, POCOCK), counts) == pytest.approx(0.025, abs=1e-4)
    scores = O_BRIEN_FLEMING * np.sqrt(5 / counts)
    assert chance_to_cross(scores, counts) == pytest.approx(0.025, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("error_rate", [0.025, 0.005])
def test_with_many_values_it_is_the_normal_law(error_rate: float) -> None:
    counts = (200, 400, 600, 800, 1000)
    for number in range(1, 6):
        looks = counts[:number]
        levels = [nominal_level(error_rate, looks[: k + 1], 1000) for k in range(number)]
        expected = error_rate * spent(looks[-1], 1000)
        found = chance_to_cross(stats.norm.isf(levels), np.array(looks))
        assert found == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("error_rate", [0.0025, 0.05])
def test_with_few_values_against_simulation(error_rate: float) -> None:
    looks, repetitions = (3, 5, 6, 9, 16), 400_000
    values = np.random.default_rng(0).standard_normal((repetitions, looks[-1]))
    crossed = np.zeros(repetitions, dtype=bool)
    for number, count in enumerate(looks, start=1):
        some = values[:, :count]
        statistic = some.mean(axis=1) / some.std(axis=1, ddof=1) * math.sqrt(count)
        crossed |= statistic >= critical_value(error_rate, looks[:number], 16)
        expected = error_rate * float(spent(count, 16))
        error = 4 * (expected / repetitions) ** 0.5
        assert crossed.mean() == pytest.approx(expected, abs=0.02 * expected + error)


@given(st.integers(2, 80), st.integers(1, 16))
@settings(max_examples=25)
def test_a_step_keeps_the_law_of_the_t_statistic(count: int, more: int) -> None:
    """Normal scores of t statistics are normal at every count."""
    normal = np.diff(stats.norm.cdf(_EDGES), prepend=0, append=1)
    chances = _steps(count, more)
    assert (chances > -1e-12).all()
    assert chances.sum(axis=1) == pytest.approx(1)
    assert normal @ chances == pytest.approx(normal, abs=1e-3)


@given(st.integers(2, 40), st.floats(-3, 8))
def test_one_look_is_a_t_test_of_what_is_spent(count: int, statistic: float) -> None:
    expected = stats.t.sf(statistic, count - 1) / spent(count, 40)
    found = sequential_p_value(statistic, (count,), 40)
    if expected < 0.45:
        assert found == pytest.approx(max(expected, LEVELS[0]), rel=0.02)
    else:
        assert found >= 0.4


@pytest.mark.parametrize("looks", [(4, 8, 12, 16), (2, 3, 5, 30), (8,), (64, 128, 192, 256)])
def test_the_higher_the_error_rate_the_lower_the_boundary(looks: tuple[int, ...]) -> None:
    for number in range(1, len(looks) + 1):
        scores = _boundaries(looks[:number], 64)[0]
        assert (np.diff(scores) < 0).all()


@given(st.floats(1e-6, 0.4))
def test_p_values_belong_to_the_boundaries(error_rate: float) -> None:
    looks = (4, 8, 12)
    critical = critical_value(error_rate, looks, 24)
    assert sequential_p_value(critical, looks, 24) == pytest.approx(error_rate, rel=1e-6)
    assert nominal_level(error_rate, looks, 24) == pytest.approx(stats.t.sf(critical, 11))


def test_p_values_at_the_edges() -> None:
    found = sequential_p_value([np.nan, np.inf, 1e9, 0.0, -5.0, -np.inf], (4, 8), 16)
    assert np.isnan(found[0])
    assert found[1:].tolist() == pytest.approx([LEVELS[0]] * 2 + [1.0] * 3)


def test_looks_that_were_not_planned_change_nothing_before_them() -> None:
    """What is spent depends on the planned number alone, so more values may follow."""
    assert spent([0, 24], 64).tolist() == [0, 0.5]
    assert (np.diff(spent(np.arange(1, 2000), 64)) > 0).all()
    assert spent(10**6, 64) < 1
    later = critical_value(0.025, (16, 32, 64, 128), 64)
    assert math.isfinite(later)
    assert nominal_level(0.025, (16, 32, 64, 128), 64) > 0.025 * (1 - float(spent(64, 64)))
