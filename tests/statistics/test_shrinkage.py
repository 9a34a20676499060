import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.statistics.shrinkage import expected_means, paired_means

TABLE = np.array([[1.0, 2.5, 2.0], [2.0, 3.0, 4.5], [0.5, 1.0, 2.5], [3.0, 3.5, 3.0]])


def test_the_analysis_of_variance_is_that_of_nested_linear_models() -> None:
    """Least squares with and without the candidates, by brute force."""
    candidates, seeds = TABLE.shape
    of_candidate = np.repeat(np.eye(candidates), seeds, axis=0)
    of_seed = np.tile(np.eye(seeds), (candidates, 1))

    def residual(design: np.ndarray) -> float:
        fitted = design @ np.linalg.lstsq(design, TABLE.ravel(), rcond=None)[0]
        return float(((TABLE.ravel() - fitted) ** 2).sum())

    full, without = residual(np.hstack([of_candidate, of_seed])), residual(of_seed)
    degrees = (candidates - 1) * (seeds - 1)
    ratio = ((without - full) / (candidates - 1)) / (full / degrees)
    found = paired_means(TABLE)
    assert found.means == pytest.approx(TABLE.mean(axis=1))
    assert found.error == pytest.approx(np.sqrt(full / degrees / seeds))
    assert found.p_value == pytest.approx(stats.f.sf(ratio, candidates - 1, degrees))


def test_effects_of_seeds_are_no_noise() -> None:
    shifted = paired_means(TABLE + np.array([100.0, -50.0, 7.0]))
    assert shifted.error == pytest.approx(paired_means(TABLE).error)
    assert shifted.p_value == pytest.approx(paired_means(TABLE).p_value)


def test_without_noise_any_difference_is_real() -> None:
    seeds = np.array([0.1, 0.7, 0.3])
    found = paired_means(np.array([[0.3], [0.4]]) + seeds)
    assert (found.error, found.p_value) == (0.0, 0.0)
    assert paired_means(np.array([[0.3], [0.3]]) + seeds).p_value == 1.0


@pytest.mark.parametrize("losses", [[[1.0], [2.0]], [[1.0, 3.0]]])
def test_one_seed_or_one_candidate_tells_nothing_of_noise(losses: list[list[float]]) -> None:
    found = paired_means(losses)
    assert found.means.tolist() == np.mean(losses, axis=1).tolist()
    assert np.isnan([found.error, found.p_value]).all()


def test_equal_candidates_rarely_differ_significantly() -> None:
    generator = np.random.default_rng(0)
    p_values = [
        paired_means(generator.normal(size=(8, 3)) + generator.normal(size=3)).p_value
        for _ in range(400)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=30),
    st.floats(0.01, 10) | st.just(0.0),
)
def test_expectations_keep_the_order_and_lie_within_the_means(means, error) -> None:
    means = np.sort(means)
    expected = expected_means(means, error)
    assert (np.diff(expected) >= -1e-9).all()
    assert means[0] - 1e-9 <= expected[0]
    assert expected[-1] <= means[-1] + 1e-9


def test_little_noise_changes_nothing() -> None:
    means = np.random.default_rng(1).normal(size=100)
    assert (expected_means(means, 0.0) == means).all()
    assert expected_means(means, 1e-6) == pytest.approx(means, abs=1e-4)


def test_normal_truths_are_drawn_to_their_mean_as_in_closed_form() -> None:
    """Of N(0, 1) with an error of 1, the expectation given a mean is half of it."""
    generator = np.random.default_rng(2)
    means = generator.normal(size=2000) + generator.normal(size=2000)
    found = expected_means(means, 1.0)
    middle = np.abs(means) < 2
    assert np.abs(found - means / 2)[middle].max() < 0.2


def test_two_kinds_are_separated_whatever_their_shape() -> None:
    """Most are 0 and some are 10: with an error of 1, each is expected to be its kind's value."""
    generator = np.random.default_rng(3)
    truths = np.where(np.arange(1000) % 10 == 0, 10.0, 0.0)
    found = expected_means(truths + generator.normal(size=1000), 1.0)
    # A linear rule could not: the scatter between kinds would leave the noise within them.
    assert np.sqrt(((found - truths) ** 2).mean()) < 0.25


def test_the_best_of_many_is_hardly_credited_with_its_luck() -> None:
    generator = np.random.default_rng(4)
    raw, expected = [], []
    for _ in range(200):
        truths = generator.normal(scale=0.5, size=100)
        means = truths + generator.normal(size=100)
        best = int(means.argmin())
        raw.append(means[best] - truths[best])
        expected.append(expected_means(means, 1.0)[best] - truths[best])
    assert np.mean(raw) < -1.5
    assert abs(np.mean(expected)) < 0.2 * abs(np.mean(raw))
