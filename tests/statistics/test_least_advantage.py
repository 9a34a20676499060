import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.statistics.comparison import seeds_to_decide
from dynamoe_search.statistics.group_sequential import sequential_p_value
from dynamoe_search.statistics.least_advantage import (
    least_advantage_interval,
    least_p_values,
    of_least_advantage,
    one_sided_p_values,
    seeds_needed,
    seeds_to_show,
)
from dynamoe_search.statistics.sequential import Looks

LOOKS = Looks(every=4, planned=16, most=16)
EIGHT = st.lists(st.integers(-9, 9), min_size=8, max_size=8, unique=True)


@settings(max_examples=20)
@given(EIGHT, st.integers(-3, 3))
def test_a_p_value_is_the_least_over_all_looks(values: list[int], center: int) -> None:
    above, below = one_sided_p_values(values, center, (4, 8), planned=16)
    by_look = []
    for counts in ((4,), (4, 8)):
        some = values[: counts[-1]]
        statistic = stats.ttest_1samp(some, center).statistic
        by_look.append([sequential_p_value(s * statistic, counts, 16) for s in (1, -1)])
    assert (above, below) == pytest.approx(tuple(np.min(by_look, axis=0)))
    # What was found stays as pairs are added.
    first = one_sided_p_values(values[:4], center, (4,), planned=16)
    assert above <= first[0]
    assert below <= first[1]


@settings(max_examples=20)
@given(st.lists(EIGHT, min_size=1, max_size=3))
def test_the_interval_and_the_tests_agree(rows: list[list[int]]) -> None:
    advantages = [np.array(row, dtype=float) for row in rows]
    low, high = least_advantage_interval(advantages, LOOKS)
    assert low <= np.mean(rows, axis=1).min() <= high
    above, below = of_least_advantage(*least_p_values(advantages, 0.0, LOOKS))
    if low > 0.01:  # a boundary is interpolated between levels
        assert above <= 0.0251
    if high < -0.01:
        assert below <= 0.0251


def test_missing_pairs_and_rivals_of_different_lengths() -> None:
    values = np.array([1.0, np.nan, 1.2, 0.9, 1.1, 1.3, np.nan, 1.0])
    short = np.array([2.0, 2.1, 1.9, 2.2, np.nan, np.nan, np.nan, np.nan])
    above, _ = least_p_values([values, short], 0.0, LOOKS)
    pairs = values[np.isfinite(values)]
    assert above[0] == one_sided_p_values(pairs, 0.0, (3, 6), 16)[0]
    assert above[1] == one_sided_p_values(short[:4], 0.0, (4,), 16)[0]
    nothing = np.full(8, np.nan)
    assert of_least_advantage(*least_p_values([values, nothing], 0.0, LOOKS))[0] == 1
    assert least_advantage_interval([values, nothing], LOOKS)[0] == -math.inf
    assert least_advantage_interval([nothing], LOOKS) == (-math.inf, math.inf)


def test_one_rival_refutes_and_all_support() -> None:
    above, below = of_least_advantage([0.001, 0.3, 0.01], [1.0, 0.02, 0.9])
    assert (above, below) == (0.3, pytest.approx(0.06))


@pytest.mark.parametrize(
    ("truth", "most_above", "most_below"),
    [
        # As good as all others, or as one of them: it is neither better nor worse.
        ([0.0] * 3, 0.025, 0.025),
        ([0.0, 2.0, 2.0], 0.025, 0.025),
        # One rival is better; or it is the best.
        ([-0.3, 2.0, 2.0], 0.025, 1.0),
        ([0.3] * 3, 1.0, 0.025),
    ],
)
def test_errors_are_rare_over_all_looks(
    truth: list[float], most_above: float, most_below: float
) -> None:
    generator = np.random.default_rng(1)
    losses = generator.normal(size=(2000, 4, 16))
    losses[:, 1:] += np.array(truth)[:, None]
    advantages = losses[:, 1:] - losses[:, :1]
    sides = one_sided_p_values(advantages, 0.0, (4, 8, 12, 16), 16)
    above, below = of_least_advantage(*sides)
    error = 3 * math.sqrt(0.025 / 2000)
    assert (above <= 0.025).mean() <= most_above + error
    assert (below <= 0.025).mean() <= most_below + error
    if truth == [0.0, 2.0, 2.0]:
        assert (above <= 0.025).mean() > 0.01  # no more careful than it must be


def test_the_seeds_that_a_verdict_takes() -> None:
    for distance, level in ((0.5, 0.025), (1.0, 0.001), (0.2, 0.0005)):
        exact = seeds_to_decide(distance, 1.0, 1e-12, 2 * level)
        assert seeds_to_show(distance, 1.0, level) == pytest.approx(exact, abs=1.1)
    # The best of two: both must be beaten.
    best = seeds_needed([1.0, 0.5], [1.0, 1.0], 0.0, 0.1, 0.025)
    assert best.to_bound == seeds_to_show(0.5, 1.0, 0.025)
    assert best.to_refute == math.inf
    # The second is better: it alone refutes, at half of the level.
    worse = seeds_needed([1.0, -0.5], [1.0, 1.0], 0.0, 0.1, 0.025)
    assert (worse.rival, worse.to_refute) == (1, seeds_to_show(0.5, 1.0, 0.0125))
    assert worse.to_bound == math.inf
    # Within the margin: no rival is better by more, and one is not worse by more.
    same = seeds_needed([0.0, 9.0], [0.1, 0.1], 0.0, 0.1, 0.025)
    assert same.to_bound == seeds_to_show(0.1, 0.1, 0.025)
    assert seeds_needed([0.0, 9.0], [0.1, 0.1], 0.0, None, 0.025).to_bound == math.inf
