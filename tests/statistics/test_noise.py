import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.statistics.noise import NoiseCheck, check_noise

CANDIDATES = np.repeat(np.arange(14), [4] * 5 + [3] * 4 + [2] * 3 + [1] * 2)
BLOCKS = pd.Series(CANDIDATES).groupby(CANDIDATES).cumcount()


def check(noise: np.ndarray) -> NoiseCheck:
    effects = 0.7 * CANDIDATES + 0.9 * BLOCKS.to_numpy()
    found = check_noise(pd.Series(effects + noise), pd.Series(CANDIDATES), BLOCKS)
    assert found is not None
    assert (found.values, found.candidates) == (38, 12)
    return found


@pytest.mark.slow
def test_p_values_of_normal_noise_are_uniform() -> None:
    generator = np.random.default_rng(0)
    found = [check(generator.normal(size=len(CANDIDATES))) for _ in range(150)]
    for name in ("kurtosis_p", "bartlett_p"):
        assert stats.kstest([getattr(one, name) for one in found], "uniform").pvalue > 0.01
    assert np.mean([one.excess_kurtosis for one in found]) == pytest.approx(0, abs=0.2)


def test_heavy_tails_are_seen() -> None:
    noise = np.random.default_rng(1).normal(size=len(CANDIDATES))
    noise[5] = 12.0
    found = check(noise)
    assert found.excess_kurtosis > 2
    assert found.kurtosis_p < 0.01


def test_unequal_noise_is_seen() -> None:
    noise = np.random.default_rng(2).normal(size=len(CANDIDATES))
    assert check(noise).bartlett_p > 0.05
    assert check(noise * np.where(CANDIDATES % 2 == 0, 0.05, 1.0)).bartlett_p < 0.01


def test_units_change_nothing() -> None:
    noise = np.random.default_rng(4).normal(size=len(CANDIDATES))
    assert check(noise) == check(noise)
    effects = pd.Series(0.7 * CANDIDATES + 0.9 * BLOCKS.to_numpy() + noise)
    scaled = check_noise(1e6 + 1e3 * effects, pd.Series(CANDIDATES), BLOCKS)
    assert scaled is not None
    assert scaled.kurtosis_p == check(noise).kurtosis_p
    assert scaled.bartlett_p == check(noise).bartlett_p


def test_too_little_to_test() -> None:
    once = pd.Series([1.0, 2.0, 3.0])
    assert check_noise(once, pd.Series(list("abc")), pd.Series([0, 0, 0])) is None
    one = check_noise(once, pd.Series(list("aab")), pd.Series([0, 1, 0]))
    assert one is None
    equal = pd.Series([1.0, 2.0, 2.0, 3.0])
    assert check_noise(equal, pd.Series(list("aabb")), pd.Series([0, 1, 0, 1])) is None
