import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from dynamoe_search.decision.process import (
    Hyperparameters,
    predict,
    sample_hyperparameters,
    solve,
)
from dynamoe_search.decision.seed_groups import sum_up

NOISE = np.array([1.0, 0.3, 2.0, 1.0, 0.7, 4.0, 1.1])
"""Its variances, relative."""
PARAMETERS = Hyperparameters(smooth=1.3, rough=0.4, seed=0.8, length=0.9)


def made_up(missing: float = 0.3, candidates: int = 7, seeds: int = 6, seed: int = 0):
    """A table of losses with holes, and features of these candidates and of four others."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((candidates + 4, 3))
    values = 2 + rng.standard_normal((candidates, 1)) + rng.standard_normal((1, seeds))
    values = values + 0.5 * rng.standard_normal((candidates, seeds))
    values[rng.random(values.shape) < missing] = np.nan
    values[:, 0] = np.nan_to_num(values[:, 0], nan=2.0)
    return pd.DataFrame(values), features


class Dense:
    """The process over single losses, with one large covariance matrix and no shortcut."""

    def __init__(self, losses, features, parameters, noise=NOISE):
        values = losses.to_numpy()
        self.rows, self.columns = np.nonzero(np.isfinite(values))
        self.y = values[self.rows, self.columns]
        apart = cdist(features, features)
        steps = np.sqrt(5) * apart / parameters.length
        self.prior = parameters.smooth**2 * (1 + steps + steps**2 / 3) * np.exp(-steps)
        self.prior = self.prior + parameters.rough**2 * np.eye(len(features))
        same_seed = self.columns[:, None] == self.columns
        self.V = self.prior[np.ix_(self.rows, self.rows)] + parameters.seed**2 * same_seed
        self.V = self.V + np.diag(noise[self.rows])
        self.inverse = np.linalg.inv(self.V)
        self.information = self.inverse.sum()
        self.m = self.inverse.sum(axis=0) @ self.y / self.information
        rest = self.y - self.m
        self.quadratic = rest @ self.inverse @ rest

    def log_likelihood(self):
        determinants = np.linalg.slogdet(self.V)[1] + np.log(self.information)
        return -0.5 * (determinants + (len(self.y) - 1) * np.log(self.quadratic))

    def posterior(self):
        cross = self.prior[:, self.rows]
        mean = self.m + cross @ self.inverse @ (self.y - self.m)
        reach = 1 - cross @ self.inverse.sum(axis=1)
        covariance = self.prior - cross @ self.inverse @ cross.T
        return mean, covariance + np.outer(reach, reach) / self.information


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.6])
def test_the_posterior_is_that_of_one_large_covariance_matrix(missing):
    losses, features = made_up(missing)
    groups, dense = sum_up(losses, NOISE), Dense(losses, features, PARAMETERS)
    squares = cdist(features[: len(losses)], features, "sqeuclidean")
    solution = solve(groups, squares[:, : len(losses)], [PARAMETERS])[0]
    found = predict(solution, squares)
    some = np.array([9, 0, 3])
    covariance = found.covariance(cdist(features, features[some], "sqeuclidean"), some)
    mean, wanted = dense.posterior()
    assert groups.center + groups.scale * found.mean == pytest.approx(mean, abs=1e-9)
    assert found.variance == pytest.approx(np.diag(wanted), abs=1e-9)
    assert covariance == pytest.approx(wanted[:, some], abs=1e-9)
    quadratic = solution.variance * groups.degrees * groups.scale**2
    assert quadratic == pytest.approx(dense.quadratic, rel=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_likelihood_is_that_of_one_large_covariance_matrix(missing):
    losses, features = made_up(missing)
    squares = cdist(features[: len(losses)], features[: len(losses)], "sqeuclidean")
    others = [PARAMETERS, Hyperparameters(0.2, 1.1, 0.0, 2.5), Hyperparameters(2.0, 0.0, 3.0, 0.3)]
    found = [one.log_likelihood for one in solve(sum_up(losses, NOISE), squares, others)]
    dense = [Dense(losses, features, one).log_likelihood() for one in others]
    assert np.diff(found) == pytest.approx(np.diff(dense), abs=1e-8)


def test_without_seed_effects_it_is_the_process_of_scikit_learn():
    losses, features = made_up(0.0)
    parameters = Hyperparameters(smooth=1.3, rough=0.0, seed=0.0, length=0.9)
    squares = cdist(features[: len(losses)], features, "sqeuclidean")
    groups = sum_up(losses)
    found = predict(solve(groups, squares[:, : len(losses)], [parameters])[0], squares)
    vague = 1e6  # for a flat prior on m
    kernel = ConstantKernel(1.3**2) * Matern(0.9, nu=2.5) + ConstantKernel(vague)
    process = GaussianProcessRegressor(kernel, alpha=1 / losses.shape[1], optimizer=None)
    process.fit(features[: len(losses)], losses.mean(axis=1))
    mean, deviation = process.predict(features, return_std=True)
    assert groups.center + groups.scale * found.mean == pytest.approx(mean, abs=1e-4)
    assert np.sqrt(found.variance) == pytest.approx(deviation, abs=1e-4)


def brute_force():
    """The posterior's moments by a plain sum over many points of the prior."""
    losses, features = made_up(0.3)
    squares = cdist(features[: len(losses)], features[: len(losses)], "sqeuclidean")
    points = np.random.default_rng(1).standard_normal((5_000, 4))
    parameters = [Hyperparameters.at(point) for point in points]
    solutions = solve(sum_up(losses), squares, parameters)
    logs = np.array([one.log_likelihood for one in solutions])
    weights = np.exp(logs - logs.max())
    table = np.log([[p.smooth**2 + p.rough**2, p.seed, p.length] for p in parameters])
    return sum_up(losses), squares, weights / weights.sum() @ table


@pytest.mark.slow
def test_sampled_parameters_have_the_moments_of_their_posterior():
    groups, squares, wanted = brute_force()
    drawn = sample_hyperparameters(groups, squares, 256)
    assert sum(weight for weight, _ in drawn) == pytest.approx(1)
    table = [[p.smooth**2 + p.rough**2, p.seed, p.length] for _, p in drawn]
    found = np.array([weight for weight, _ in drawn]) @ np.log(table)
    assert found == pytest.approx(wanted, abs=0.25)


@pytest.mark.parametrize("seeds", [2, 4])
def test_losses_without_noise_can_be_solved(seeds):
    """However small the noise is taken to be, candidates come out in their order."""
    _, features = made_up(candidates=17, seeds=seeds)
    exact = pd.DataFrame(features[:17, :1] + np.arange(seeds))
    exact.iloc[:-1, seeds // 2 :] = np.nan  # the last candidate alone has another block
    squares = cdist(features[:17], features[:17], "sqeuclidean")
    groups = sum_up(exact)
    for point in itertools.product((4.5, 9.0), (-9.0, 0.0, 9.0), (0.0, 4.5, 9.0), (-3.0, 0.0)):
        parameters = [Hyperparameters.at(np.array(point))]
        found = predict(solve(groups, squares, parameters)[0], squares)
        assert (np.argsort(found.mean) == np.argsort(features[:17, 0])).all(), point
