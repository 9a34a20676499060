import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.statistics.intervals import (
    half_width,
    pooled_noise,
    studentized_range,
)


def test_pooled_noise_is_the_residual_of_a_one_way_analysis() -> None:
    generator = np.random.default_rng(0)
    groups = pd.Series(list("aaabbcdddd"))
    values = pd.Series(generator.normal(size=10))
    noise = pooled_noise(values, groups)
    by_hand = [values[groups == g].var(ddof=1) * (n - 1) for g, n in (("a", 3), ("b", 2), ("d", 4))]
    assert noise.degrees == 6
    assert noise.deviation == pytest.approx((sum(by_hand) / 6) ** 0.5)


@pytest.mark.slow
def test_intervals_against_scipy_and_their_coverage() -> None:
    generator = np.random.default_rng(1)
    values = pd.Series(generator.normal(size=6))
    noise = pooled_noise(values, pd.Series(["a"] * 6))
    low, high = stats.t.interval(0.95, 5, loc=values.mean(), scale=stats.sem(values))
    assert half_width(noise, 6) == pytest.approx((high - low) / 2)

    covered = 0
    for _ in range(600):
        groups = pd.Series(np.repeat(np.arange(5), 3))
        drawn = pd.Series(generator.normal(size=15))
        noise = pooled_noise(drawn, groups)
        covered += abs(drawn[:3].mean()) <= half_width(noise, 3)
    assert 0.92 < covered / 600 < 0.98


@pytest.mark.parametrize(
    ("groups", "degrees", "expected"),
    [(3, 10, 3.88), (10, 20, 5.01), (12, 60, 4.81), (20, 5, 8.21)],
)
def test_the_studentized_range_is_that_of_tables(
    groups: int, degrees: int, expected: float
) -> None:
    """Upper 5 % points as statistics textbooks print them."""
    assert studentized_range(groups, degrees) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("groups", "degrees"), [(3, 1), (66, 120), (2000, 40)])
def test_the_studentized_range_is_scipys(groups: int, degrees: int) -> None:
    expected = stats.studentized_range.ppf(0.95, groups, degrees)
    assert studentized_range(groups, degrees) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("degrees", [1, 9, 3000])
def test_the_studentized_range_of_two_means_is_students(degrees: int) -> None:
    assert studentized_range(2, degrees) == pytest.approx(2**0.5 * stats.t.ppf(0.975, degrees))


def test_nothing_is_known_where_nothing_was_trained_twice() -> None:
    noise = pooled_noise(pd.Series([1.0, 2.0]), pd.Series(["a", "b"]))
    assert noise.degrees == 0
    assert np.isnan(noise.deviation)
    assert np.isnan(half_width(noise, [1, 1])).all()
