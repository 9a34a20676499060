import numpy as np
import optuna
import pytest
from scipy import stats

from dynamoe_search.schedules import FAMILIES, PATTERNS_AND_UNIFORM, Mixture, make_family
from dynamoe_search.search.space import encode, suggest


def asked(study: optuna.Study, family, depth: int, wanted: dict | None = None) -> dict:
    if wanted is not None:
        study.enqueue_trial(wanted)
    return suggest(study.ask(), family.search_space(depth))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("pattern", PATTERNS_AND_UNIFORM)
def test_what_is_encoded_comes_back(name: str, pattern: str) -> None:
    family = make_family(name, total=24)
    parameters = family.locate(pattern, depth=6).parameters
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = asked(study, family, 6, encode(parameters, family.search_space(6)))
    assert found == pytest.approx(parameters, abs=1e-12)
    # No warning of a value outside its range, and nothing left to chance.
    assert study.trials[0].params == pytest.approx(encode(parameters, family.search_space(6)))


def test_mixtures_are_uniform_on_their_simplex() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    draws = [asked(study, Mixture(), 6) for _ in range(1500)]
    for pattern in PATTERNS_AND_UNIFORM:
        shares = np.array([draw[pattern] for draw in draws])
        # Each share of a uniform point among seven is distributed as Beta(1, 6).
        assert stats.kstest(shares, stats.beta(1, 6).cdf).pvalue > 0.001
    assert np.allclose([sum(draw.values()) for draw in draws], 1)
