"""All pairs of candidates from the same seeds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.statistics.pairwise import compare_pairs


def losses_of(generator: np.random.Generator, merits: np.ndarray, seeds: int) -> pd.DataFrame:
    noise = generator.normal(size=(len(merits), seeds))
    of_seed = generator.normal(0, 5, size=seeds)
    return pd.DataFrame(merits[:, None] + of_seed + noise)


@pytest.mark.slow
def test_equal_candidates_differ_significantly_in_a_twentieth_of_tables() -> None:
    generator = np.random.default_rng(0)
    wrong = sum(
        compare_pairs(losses_of(generator, np.zeros(5), 4)).distinguishable > 0 for _ in range(600)
    )
    assert 0.03 < wrong / 600 < 0.07


def test_wide_differences_are_significant() -> None:
    generator = np.random.default_rng(1)
    found = compare_pairs(losses_of(generator, np.array([0.0, 0.1, 20.0, 40.0]), seeds=6))
    assert (found.pairs, found.distinguishable) == (6, 5)
    assert found.p_value < 1e-6
    assert found.reliability > 0.99
    assert found.error == pytest.approx(1 / np.sqrt(6), rel=0.4)


def test_the_spread_of_many_equals_is_mostly_noise() -> None:
    found = compare_pairs(losses_of(np.random.default_rng(2), np.zeros(100), seeds=5))
    assert found.distinguishable == 0
    assert found.reliability < 0.4


def test_a_pair_alone_differs_as_in_students_test() -> None:
    generator = np.random.default_rng(3)
    for _ in range(40):
        losses = losses_of(generator, np.array([0.0, 1.0]), seeds=6)
        found, p_value = compare_pairs(losses), stats.ttest_rel(*losses.to_numpy()).pvalue
        assert found.distinguishable == found.distinguishable_alone == (p_value < 0.05)
    many = compare_pairs(losses_of(generator, np.zeros(200), seeds=6))
    assert many.distinguishable_alone / many.pairs == pytest.approx(0.05, abs=0.02)
    assert many.difference_alone == pytest.approx(stats.t.isf(0.025, 995) * 2**0.5 * many.error)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.1, 10))
def test_effects_of_seeds_change_nothing(seed: int, shift: float, scale: float) -> None:
    losses = losses_of(np.random.default_rng(seed), np.linspace(0, 4, 6), seeds=3)
    of_seed = np.array([shift, 0, -2 * shift])
    found, other = compare_pairs(losses), compare_pairs(scale * (losses + of_seed))
    assert other.distinguishable == found.distinguishable
    assert other.difference == pytest.approx(scale * found.difference)
    assert other.p_value == pytest.approx(found.p_value, rel=1e-6)
