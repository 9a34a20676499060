"""The noise of paired losses, and what a number of seeds can show."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.power import (
    POWER,
    detectable_difference,
    paired_noise,
    seeds_to_detect,
)

SIZES = st.tuples(st.integers(2, 6), st.integers(2, 6))


def table(losses: np.ndarray) -> pd.DataFrame:
    """Losses of shape (candidates, seeds) as results."""
    candidates, seeds = np.indices(losses.shape)
    return pd.DataFrame(
        {"candidate": candidates.ravel(), "seed": seeds.ravel(), "loss": losses.ravel()}
    )


def drawn(sizes: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(sizes)


@settings(max_examples=20)
@given(SIZES, st.integers(0, 99))
def test_the_noise_is_what_candidates_and_seeds_do_not_explain(sizes, seed) -> None:
    """The residuals of a regression on a dummy variable for each candidate and each seed."""
    results = table(drawn(sizes, seed))
    design = pd.get_dummies(results[["candidate", "seed"]].astype(str)).to_numpy(float)
    loss = results["loss"].to_numpy()
    rest = loss - design @ np.linalg.lstsq(design, loss, rcond=None)[0]
    degrees = len(loss) - np.linalg.matrix_rank(design)
    found = paired_noise(results)
    assert found.degrees == degrees
    assert found.deviation == pytest.approx(np.sqrt(2 * rest @ rest / degrees))


def test_of_two_candidates_it_is_the_deviation_of_their_differences() -> None:
    losses = drawn((2, 7), seed=0)
    found = paired_noise(table(losses))
    assert found.deviation == pytest.approx(np.std(losses[0] - losses[1], ddof=1))
    chances = stats.chi2.cdf(6 * (found.deviation / np.array([found.high, found.low])) ** 2, 6)
    assert chances == pytest.approx([0.025, 0.975])


@settings(max_examples=20)
@given(SIZES, st.integers(0, 99))
def test_what_a_candidate_or_a_seed_does_to_all_losses_changes_nothing(sizes, seed) -> None:
    losses, shifts = drawn(sizes, seed), 100 * drawn((2, 6), seed + 1)
    moved = losses + shifts[0, : sizes[0], None] + shifts[1, : sizes[1]]
    assert paired_noise(table(moved)).deviation == pytest.approx(
        paired_noise(table(losses)).deviation
    )


def test_seeds_that_not_all_candidates_have_are_left_out() -> None:
    whole = table(drawn((3, 4), seed=0))
    more = pd.DataFrame({"candidate": [0], "seed": [9], "loss": [50.0]})
    assert paired_noise(pd.concat([whole, more])) == paired_noise(whole)


@pytest.mark.parametrize("sizes", [(1, 5), (5, 1)])
def test_noise_takes_two_candidates_and_two_seeds(sizes) -> None:
    with pytest.raises(InvalidInput, match="two candidates with two seeds in common"):
        paired_noise(table(drawn(sizes, seed=0)))


@pytest.mark.parametrize("seeds", [3, 16])
def test_a_detectable_difference_is_shown_in_four_of_five_simulated_studies(seeds) -> None:
    difference, studies = detectable_difference(0.01, seeds), 20_000
    noise = 0.01 * np.random.default_rng(seeds).standard_normal((studies, seeds))
    test = stats.ttest_1samp(difference + noise, 0, axis=1)
    shown = ((test.pvalue <= 0.05) & (test.statistic > 0)).mean()
    assert shown == pytest.approx(POWER, abs=4 * np.sqrt(POWER * (1 - POWER) / studies))


def test_it_grows_with_the_noise_and_falls_with_the_seeds() -> None:
    found = [detectable_difference(0.01, seeds) for seeds in (2, 4, 16, 64, 1000)]
    assert found == sorted(found, reverse=True)
    assert detectable_difference(0.03, 4) == pytest.approx(3 * found[1])
    # With many seeds it is that of the normal distribution.
    normal = (stats.norm.ppf(0.975) + stats.norm.ppf(POWER)) * 0.01 / np.sqrt(1000)
    assert found[-1] == pytest.approx(normal, rel=0.01)


@settings(max_examples=30)
@given(st.floats(0.1, 20))
def test_the_seeds_to_detect_are_the_fewest(ratio) -> None:
    seeds = seeds_to_detect(0.01, 0.01 / ratio)
    assert detectable_difference(0.01, seeds) <= 0.01 / ratio
    assert seeds == 2 or detectable_difference(0.01, seeds - 1) > 0.01 / ratio
