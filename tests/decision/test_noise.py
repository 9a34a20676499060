import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.decision.noise import relative_noise


def made_up(variances, seeds, seed=0):
    """Losses of candidates that differ, on seeds with effects, with noise of these variances."""
    rng = np.random.default_rng(seed)
    shape = len(variances), seeds
    effects = rng.standard_normal((shape[0], 1)) + rng.standard_normal((1, seeds))
    return pd.DataFrame(effects + np.sqrt(variances)[:, None] * rng.standard_normal(shape))


def test_with_many_seeds_it_is_the_variance():
    variances = np.exp(np.random.default_rng(1).standard_normal(40))
    found = relative_noise(made_up(variances, seeds=3_000))
    assert np.std(np.log(found / variances)) < 0.1


def test_equal_noise_is_hardly_told_apart():
    found = [relative_noise(made_up(np.ones(30), seeds=4, seed=seed)) for seed in range(20)]
    assert np.median(np.std(np.log(found), axis=1)) < 0.2


def test_with_few_seeds_it_is_nearer_to_the_truth_than_the_variance_itself():
    errors = []
    for seed in range(10):
        variances = np.exp(np.random.default_rng(seed).standard_normal(30))
        losses = made_up(variances, seeds=4, seed=seed)
        found = [relative_noise(losses), losses.sub(losses.mean()).var(axis=1), np.ones(30)]
        errors.append([np.std(np.log(one / variances)) for one in found])
    squeezed, alone, equal = np.mean(errors, axis=0)
    assert squeezed < min(alone, equal)


@settings(max_examples=20)
@given(st.integers(0, 100), st.floats(0.01, 100.0))
def test_the_unit_of_losses_does_not_matter(seed, scale):
    losses = made_up(np.geomspace(0.1, 10, 9), seeds=4, seed=seed)
    losses = losses.mask(np.random.default_rng(seed).random(losses.shape) < 0.2)
    assert relative_noise(scale * losses) == pytest.approx(relative_noise(losses))


@pytest.mark.parametrize("losses", [np.ones((6, 4)), np.eye(2), np.arange(3.0)[:, None]])
def test_where_nothing_is_known_of_it_all_are_equal(losses):
    assert (relative_noise(pd.DataFrame(losses)) == 1).all()


def test_where_most_candidates_have_no_noise_the_others_have_more():
    exact = np.zeros((6, 4))
    exact[:2] = [[1, -1, 1, -1], [-1, 1, -1, 1]]
    found = relative_noise(pd.DataFrame(exact))
    assert np.isfinite(found).all()
    assert found[:2].min() > found[2:].max() > 0
