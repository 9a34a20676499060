"""What a sampler is fitted to is enough, and always the same."""

from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from dynamoe_search.plan.search_section import MOST_FITTED
from dynamoe_search.search.thinning import ThinnedStudy, thin

MINIMIZE = [StudyDirection.MINIMIZE]


def trial_of(value: float, violation: float | None = None) -> FrozenTrial:
    return create_trial(
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        value=value,
        constraints=None if violation is None else {"c": violation},
    )


def values_of(trials: Sequence[FrozenTrial]) -> list[float]:
    return [trial.values[0] for trial in trials]


@pytest.mark.slow
@given(st.integers(1, 2000), st.integers(25, 400), st.integers(0, 2**31))
def test_the_best_are_kept_and_the_others_evenly(count: int, most: int, seed: int) -> None:
    values = np.random.default_rng(seed).permutation(count).astype(float)
    kept = values_of(thin([trial_of(value) for value in values], MINIMIZE, most))
    assert len(kept) == min(count, most)
    assert kept == [value for value in values if value in set(kept)]  # in their own order
    assert set(kept) >= set(range(min(25, count)))
    ranks = np.sort(kept)[25:]
    if len(ranks) > 1:
        gap = (count - 26) / (len(ranks) - 1)
        assert np.abs(ranks - (25 + gap * np.arange(len(ranks)))).max() <= 0.5


def test_what_is_maximized_misses_a_constraint_or_was_pruned() -> None:
    trials = [trial_of(float(value)) for value in range(100)]
    highest = thin(trials, [StudyDirection.MAXIMIZE], 25)
    assert values_of(highest) == list(range(75, 100))
    trials = [trial_of(float(value), violation=25.0 - value) for value in range(100)]
    assert values_of(thin(trials, MINIMIZE, 25)) == list(range(25, 50))
    pruned = [create_trial(state=TrialState.PRUNED, intermediate_values={1: 0.0})] * 50
    assert all(trial.state == TrialState.COMPLETE for trial in thin(pruned + trials, MINIMIZE, 25))


@pytest.mark.slow
def test_a_sampler_proposes_the_same_as_on_the_whole_study_until_there_are_too_many() -> None:
    whole = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    thinned = ThinnedStudy(whole)
    for number in range(3 * MOST_FITTED):
        trial = whole.ask()
        x = trial.suggest_float("x", 0, 1)
        thinned.add(whole.tell(trial, (x - 0.3) ** 2))
        held = len(thinned.study.get_trials(states=(TrialState.COMPLETE,)))
        assert held <= MOST_FITTED
        if number in (20, 100, MOST_FITTED - 1):
            proposed = thinned.ask(optuna.samplers.TPESampler(seed=number), suggest)
            whole.sampler = optuna.samplers.TPESampler(seed=number)
            suggest(asked := whole.ask())
            whole.tell(asked, state=TrialState.FAIL)
            assert proposed == asked.params
            whole.sampler = optuna.samplers.RandomSampler(seed=number)
    assert thinned.study.best_value == whole.best_value


@pytest.mark.slow
def test_far_more_trials_leave_the_proposals_alike() -> None:
    whole = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    thinned = ThinnedStudy(whole)
    for _ in range(2_000):
        trial = whole.ask()
        thinned.add(whole.tell(trial, (trial.suggest_float("x", 0, 1) - 0.3) ** 2))
    from_all, from_some = [], []
    for seed in range(40):
        from_some.append(thinned.ask(optuna.samplers.TPESampler(seed=seed), suggest)["x"])
        whole.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = whole.ask()
        from_all.append(trial.suggest_float("x", 0, 1))
        whole.tell(trial, state=TrialState.FAIL)
    assert np.mean(from_some) == pytest.approx(0.3, abs=0.01)
    assert np.mean(from_all) == pytest.approx(np.mean(from_some), abs=0.01)


def suggest(trial: optuna.Trial) -> None:
    trial.suggest_float("x", 0, 1)
