import numpy as np
import pytest
from scipy import stats

from dynamoe_search.statistics.mixture import mixture_quantile


@pytest.mark.parametrize("degrees", [1, 2, 7, 30, 119, 5000])
@pytest.mark.parametrize("level", [0.025, 0.5, 0.975])
def test_of_one_component_it_is_students(degrees: int, level: float) -> None:
    means, scales = np.array([[2.0], [0.0], [-1.0]]), np.array([[0.5], [1.0], [1e-4]])
    found = mixture_quantile(level, means, scales, np.ones(1), degrees)
    expected = stats.t.ppf(level, degrees, means[:, 0], scales[:, 0])
    assert np.abs((found - expected) / scales[:, 0]).max() < 1e-4


@pytest.mark.parametrize("degrees", [3, 200])
def test_of_several_it_has_the_stated_probability_below_it(degrees: int) -> None:
    generator = np.random.default_rng(0)
    means, scales = generator.normal(0, 3, (40, 12)), generator.uniform(0.01, 2, (40, 12))
    weights = generator.dirichlet(np.ones(12))
    for level in (0.025, 0.3, 0.975):
        found = mixture_quantile(level, means, scales, weights, degrees)
        below = stats.t.cdf(found[:, None], degrees, means, scales) @ weights
        assert below == pytest.approx(np.full(40, level), abs=1e-4)


def test_without_noise_it_is_the_mean_and_of_unknown_noise_unknown() -> None:
    means = np.array([[1.0], [2.0]])
    assert mixture_quantile(0.025, means, 0 * means, np.ones(1), 3).tolist() == [1, 2]
    assert np.isnan(mixture_quantile(0.025, means, np.nan * means, np.ones(1), 3)).all()
