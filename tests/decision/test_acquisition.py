from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.decision import acquisition
from dynamoe_search.decision.acquisition import next_run, runs_to_decide
from dynamoe_search.decision.posterior import fit_posterior
from tests.decision.made_up import study


def exact(means, slopes):
    """E[min(means + slopes Z)], by integration between all points where two lines meet."""
    order = [(a, b) for a, b in zip(means, slopes, strict=True)]
    meets = {
        (other[0] - one[0]) / (one[1] - other[1])
        for one in order
        for other in order
        if one[1] != other[1]
    }
    ends = [-np.inf, *sorted(meets), np.inf]
    total = 0.0
    for low, high in pairwise(ends):
        middle = np.clip((np.clip(low, -50, 50) + np.clip(high, -50, 50)) / 2, -50, 50)
        a, b = min(order, key=lambda line: line[0] + line[1] * middle)
        total += a * (stats.norm.cdf(high) - stats.norm.cdf(low))
        total += b * (stats.norm.pdf(low) - stats.norm.pdf(high))
    return total


@pytest.fixture(scope="module")
def posterior():
    results, features, _ = study(tried=8, untried=30, blocks=1)
    return fit_posterior(results, features)


@pytest.mark.slow
def test_the_knowledge_gradient_is_that_of_exact_integration(posterior):
    belief = posterior.belief.with_new_group(4)
    is_tried = posterior.is_tried[posterior.joint]
    options = np.array([0, 3, 12, 30])
    found = acquisition._worth(belief, is_tried, options, 1)
    covariance, variance = belief.of_mean_loss(options)
    for place, option in enumerate(options):
        gains = []
        for point in range(len(belief.weights)):
            lines = np.append(np.flatnonzero(is_tried), option)
            slopes = covariance[point, lines, place] / np.sqrt(variance[point, place])
            means = belief.mean[point, lines]
            gains.append(belief.mean[point, is_tried].min() - exact(means, slopes))
        assert found[place] == pytest.approx(belief.weights @ gains, rel=0.05, abs=2e-5)


def test_what_a_run_brings_is_what_conditioning_on_its_losses_gives(posterior):
    """The update of the belief is that of a normal vector, observed once with noise."""
    belief = posterior.belief.with_new_group(4)
    for option in (2, 20):
        group = int(belief.next_groups(np.array([option]))[0])
        row = np.zeros(belief.covariance.shape[1])
        row[[option, len(belief.has) + group]] = 1
        found = belief.after([option])
        for point, whole in enumerate(belief.covariance):
            noise = belief.noise[point] ** 2 * belief.relative_noise[option] / belief.sizes[group]
            gain = whole @ row / (row @ whole @ row + noise)
            wanted = whole - np.outer(gain, whole @ row)
            count = len(wanted)
            assert found.covariance[point, :count, :count] == pytest.approx(wanted)
        assert found.has[option, group]
        assert not found.has[:, -1].any()  # there is always a new group


def test_a_new_posterior_has_the_variance_that_was_foreseen():
    """Of two candidates' difference, where the parameters of the process stay the same."""
    results, features, _ = study(tried=8, untried=0, blocks=2)
    first = results[~((results["candidate"] == "c003") & (results["seed"] >= 4))]
    before, after = fit_posterior(first, features), fit_posterior(results, features)
    place = int(before.candidates.get_indexer(["c003"])[0])
    belief = before.belief.with_new_group(4)
    assert belief.next_groups(np.array([place]))[0] == 1
    foreseen = belief.after([place])

    def deviation(one):
        covariance = np.tensordot(one.weights, one.covariance, 1)
        return np.sqrt(covariance[place, place] + covariance[0, 0] - 2 * covariance[place, 0])

    assert deviation(foreseen) < deviation(belief)
    assert deviation(foreseen) == pytest.approx(deviation(after.belief), rel=0.2)


def test_the_choice_is_deterministic_and_leaves_out_what_may_not_be_trained(posterior):
    first = next_run(posterior)
    assert first == next_run(posterior)
    second = next_run(posterior, excluded=[first])
    assert second not in (None, first)
    assert next_run(posterior, excluded=list(posterior.candidates)) is None


def test_runs_under_way_are_taken_into_account(posterior):
    """Ten workers that ask at once do not all train the same candidate."""
    running: list[str] = []
    for _ in range(10):
        chosen = next_run(posterior, running)
        assert chosen is not None
        running.append(chosen)
    assert len(set(running)) > 4


def test_a_dear_candidate_is_not_trained_where_a_cheap_one_tells_as_much(posterior):
    first = next_run(posterior)
    place = posterior.candidates.get_loc(first)
    costs = np.where(np.arange(len(posterior.costs)) == place, 1000.0, 1.0)
    assert next_run(replace(posterior, costs=costs)) != first


def test_infeasible_candidates_are_not_trained():
    results, features, _ = study(tried=8, untried=30, blocks=1)
    first = next_run(fit_posterior(results, features))
    without = fit_posterior(results, features, feasible=pd.Series({first: False}))
    assert next_run(without) != first


def test_the_number_of_runs_grows_with_what_is_asked(posterior):
    bound = posterior.bound()
    numbers = [runs_to_decide(posterior, share * bound, most=200) for share in (1.01, 0.7, 0.4)]
    assert numbers[0] == 0
    assert numbers[1] is not None
    assert numbers[2] > numbers[1] > 0
    assert runs_to_decide(posterior, 1e-9, most=20) is None


def test_half_the_bound_takes_three_times_the_runs(posterior):
    """2^(1 / 0.6) is 3.17, and there were 8 runs; those under way are part of what it takes."""
    margin = posterior.bound() / 2
    assert runs_to_decide(posterior, margin) == 18
    assert runs_to_decide(posterior, margin, running=["c000"] * 3) == 15


@pytest.mark.slow
def test_the_policy_decides_and_its_bound_holds():
    """Small studies of known truth, by the real policy: a first sign that bounds hold."""
    held, regrets = [], []
    for seed in range(6):
        results, features, truth = study(tried=5, untried=60, blocks=1, seed=seed)
        rng = np.random.default_rng(seed)
        of_seeds = 0.02 * rng.standard_normal(80)
        blocks = dict.fromkeys(truth.index[:5], 1)
        for _ in range(20):
            posterior = fit_posterior(results, features)
            if posterior.bound() <= 0.01:
                break
            name = next_run(posterior)
            assert name is not None
            block = blocks.get(name, 0)
            blocks[name] = block + 1
            seeds = np.arange(4 * block, 4 * block + 4)
            losses = truth[name] + of_seeds[seeds] + 0.01 * rng.standard_normal(4)
            more = pd.DataFrame({"candidate": name, "seed": seeds + 100, "loss": losses})
            results = pd.concat([results, more], ignore_index=True)
        posterior = fit_posterior(results, features)
        regrets.append(truth[posterior.best] - truth.min())
        held.append(regrets[-1] <= posterior.bound())
    assert sum(held) >= 5
    assert np.mean(regrets) < 0.01
