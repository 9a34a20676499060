import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from dynamoe_search.decision.draws import draw_losses
from dynamoe_search.decision.posterior import fit_posterior
from dynamoe_search.decision.process import Hyperparameters, predict, solve
from dynamoe_search.decision.seed_groups import loss_table, sum_up
from dynamoe_search.errors import InvalidInput
from tests.decision.made_up import study


def test_the_regret_is_that_of_draws_from_the_whole_covariance_matrix():
    """At one point of the parameters, with all candidates drawn jointly by brute force."""
    results, features, _ = study(tried=6, untried=30)
    groups = sum_up(loss_table(results))
    squares = cdist(features, features, "sqeuclidean")
    parameters = [Hyperparameters(2, 0.5, 1, 1.5)]
    one = predict(solve(groups, squares[:6, :6], parameters)[0], squares[:6])
    everyone = np.arange(36)
    whole = one.covariance(squares, everyone)
    rng = np.random.default_rng(1)
    brute = (
        one.mean
        + rng.standard_normal((40_000, 36)) @ np.linalg.cholesky(one.solution.variance * whole).T
    )
    best = int(one.mean[:6].argmin())
    wanted = np.quantile(brute[:, best] - brute.min(axis=1), [0.25, 0.5, 0.95])
    joint = np.append(np.arange(6), 6 + np.argsort(one.mean[6:])[:10])
    for some in (everyone, joint):
        draws, least = draw_losses([(1.0, one)], groups, [whole[:, some]], some, 1.0, 0)
        found = np.quantile(draws[:, best] - least.min(axis=1), [0.25, 0.5, 0.95])
        assert found == pytest.approx(wanted, rel=0.1)
        assert draws.mean(axis=0) == pytest.approx(one.mean, abs=0.15)


def test_copies_of_a_candidate_are_further_draws_of_what_is_its_own():
    results, features, _ = study(tried=3, untried=1)
    groups = sum_up(loss_table(results))
    far = 100 * cdist(features, features, "sqeuclidean")  # no candidate tells of another
    parameters = [Hyperparameters(0, 3.0, 0.5, 1)]
    one = predict(solve(groups, far[:3, :3], parameters)[0], far[:3])
    some = np.arange(4)
    draws, least = draw_losses([(1.0, one)], groups, [one.covariance(far, some)], some, 9.0, 0)
    assert (least[:, :3] == draws[:, :3]).all()
    sigma = np.sqrt(one.solution.variance)
    rng = np.random.default_rng(0)
    wanted = 3.0 * sigma * rng.standard_normal((20_000, 9)).min(axis=1).mean()
    assert (least[:, 3] - one.mean[3]).mean() == pytest.approx(wanted, rel=0.05)


def test_the_best_is_found_and_its_regret_is_bounded():
    results, features, truth = study(tried=20, untried=100)
    posterior = fit_posterior(results, features)
    regret = truth[posterior.best] - truth.min()
    assert posterior.best in set(results["candidate"])
    assert truth[posterior.best] - truth[:20].min() < 0.005
    assert regret <= posterior.bound()
    assert 0 <= posterior.expected_regret() <= posterior.bound()
    table = posterior.table()
    assert table["best"].sum() == pytest.approx(1)
    assert (table["loss_low"] < table["loss"]).all()
    assert (table["loss"] < table["loss_high"]).all()
    # What is not trained is predicted, better than by the mean of all.
    untried = table[~table["tried"]]
    errors = untried["loss"] - truth[untried.index] - (table["loss"] - truth)[table["tried"]].mean()
    assert errors.std() < 0.6 * truth[untried.index].std()


def test_intervals_hold():
    """Of what each candidate is worth beside another, 95 % in many studies."""
    held = []
    for seed in range(12):
        results, features, truth = study(tried=8, untried=12, blocks=1, seed=seed)
        posterior = fit_posterior(results, features)
        differences = posterior.draws - posterior.draws[:, [0]]
        low, high = np.quantile(differences, [0.025, 0.975], axis=0)
        wanted = (truth - truth[posterior.candidates[0]])[posterior.candidates]
        held.append(((low <= wanted) & (wanted <= high))[1:].mean())
    assert np.mean(held) > 0.9


@settings(max_examples=5)
@given(st.randoms(use_true_random=False), st.floats(-5, 5), st.sampled_from([0.01, 1.0, 30.0]))
def test_order_shift_and_scale_of_losses_do_not_matter(random, shift, scale):
    results, features, _ = study(tried=5, untried=10, blocks=1)
    wanted = fit_posterior(results, features)
    order = list(range(len(results)))
    random.shuffle(order)
    other = results.iloc[order].assign(loss=lambda table: shift + scale * table["loss"])
    found = fit_posterior(other, features)
    assert list(found.candidates) == list(wanted.candidates)
    assert found.best == wanted.best
    assert found.bound() == pytest.approx(scale * wanted.bound(), rel=1e-3)
    assert found.expected == pytest.approx(
        shift + scale * wanted.expected, rel=1e-4, abs=1e-4 * scale
    )


def test_more_seeds_lower_the_bound_and_more_noise_raises_it():
    def bound(**options):
        results, features, _ = study(untried=0, tried=12, **options)
        return fit_posterior(results, features).bound()

    assert bound(blocks=8) < bound(blocks=2) < bound(blocks=2, noise=0.05)


def test_a_larger_family_has_a_larger_bound():
    results, features, _ = study()
    posterior = fit_posterior(results, features)
    larger = fit_posterior(results, features, family_size=100_000)
    assert larger.bound() > posterior.bound()
    assert (posterior.family_size, larger.family_size) == (70, 100_000)


def test_only_feasible_candidates_are_taken_and_compared_with():
    results, features, truth = study(untried=0)
    first = fit_posterior(results, features).best
    posterior = fit_posterior(results, features, feasible=pd.Series({first: False}))
    assert posterior.best != first
    assert posterior.bound() < truth[posterior.best] - truth[first] + 0.02
    nothing = fit_posterior(results, features, feasible=pd.Series(False, features.index))
    assert nothing.best == first


def test_the_cheapest_within_a_margin_is_found():
    results, features, truth = study(untried=0, blocks=8, noise=0.002)
    order = truth.sort_values().index
    costs = pd.Series(np.arange(len(order), 0, -1.0), order)  # the better, the dearer
    posterior = fit_posterior(results, features, costs=costs)
    margin = float(truth[order[3]] - truth[order[0]]) + 0.003
    surely = posterior.within(margin)
    allowed = surely.index[surely >= 0.95]
    assert posterior.cheapest(margin) == costs[allowed].idxmin()
    assert posterior.cheapest(margin) != posterior.best
    assert posterior.cheapest(-1.0) is None


def test_very_many_candidates_are_thinned():
    results, features, truth = study(tried=400, untried=800, blocks=1)
    posterior = fit_posterior(results, features)
    assert posterior.is_tried.sum() == 300
    assert len(posterior.candidates) == 800
    assert truth[posterior.best] - truth[:400].min() < 0.01


def test_losses_that_are_not_finite_are_left_out():
    results, features, _ = study(tried=5, untried=0, blocks=1)
    lost = results.assign(loss=results["loss"].where(results.index != 3, np.inf))
    found = fit_posterior(lost, features)
    assert found.expected == pytest.approx(fit_posterior(results.drop(3), features).expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda results, features: (results.drop(columns="seed"), features), "seed is not there"),
        (lambda results, features: (results[:1], features), "at least two"),
        (lambda results, features: (results, features[1:]), "no row for c000"),
        (lambda results, features: (results, features * np.nan), "not finite"),
    ],
)
def test_what_is_missing_is_said(change, message):
    with pytest.raises(InvalidInput, match=message):
        fit_posterior(*change(*study(tried=3, untried=2)[:2]))
