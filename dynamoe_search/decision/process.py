"""The model of losses that decisions rest on: a Gaussian process with seed effects and noise.

    y[c, s] = m + f(c) + g(c) + b[s] + e[c, s]

f is a Gaussian process over the features of a candidate with a Matérn 5/2 kernel (Rasmussen and
Williams 2006, section 4.2), g an independent deviation of each candidate (roughness, which no
smooth function shows), b ~ N(0, omega^2) what a seed does to all candidates, e ~ N(0, sigma^2)
noise, whose variance may differ between candidates by known ratios. What a candidate is worth is
mu(c) = m + f(c) + g(c).

m has a flat prior and sigma the prior 1 / sigma; both are integrated in closed form, as in
`dynamoe_search.statistics.two_way`. The other four parameters are integrated by adaptive importance
sampling. With few candidates and seeds the data say little about them, and a bound at the one
likeliest point would not hold. scikit-learn's process has no seed effects and only this one point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.linalg import solve_triangular

from dynamoe_search.decision.seed_groups import SeedGroups

Floats = NDArray[np.float64]

_ROUNDS, _POINTS = 4, 64  # of the importance sampling
_LEAST_EFFECTIVE = 16  # points, in the rounds on the way
_WIDER = 1.3  # a proposal than what was found, so that it covers the tails
_LEAST_NOISE = 1e-14  # of the variance of the losses: what arithmetic leaves
_MOST_SHARE = 1 - 1e-5  # a deviation of 64,000 sigma; with more, no digit of sigma is left


@dataclass(frozen=True)
class Hyperparameters:
    """The parameters of the process, with deviations over sigma.

    Parameters
    ----------
    smooth, rough, seed : float
        The deviations of f, g and b, over sigma.
    length : float
        Of the kernel, in the unit of the distances.
    """

    smooth: float
    rough: float
    seed: float
    length: float

    @staticmethod
    def at(point: Floats) -> Hyperparameters:
        """The parameters at a point where the prior is standard normal; shape (4,).

        The deviation of f + g over sigma is log-normal around 1, with deviation 1 of its logarithm.
        So it is neither 0, where the first candidates happen to be alike, nor very large: tails as
        heavy as Cauchy's decided what to train. The share of g in the variance of f + g has the
        median 0.1 and is above 0.6 in one case of ten; the length is log-normal around 1.5 with
        deviation 0.7. In recorded benchmarks these are about 1, 0.01 and 1.5 to 3. The deviation of
        b over sigma has the half-Cauchy prior of scale 1 (Gelman 2006).
        """
        share = special.ndtr(-1.3 + 1.2 * point[1])
        smooth, rough = np.exp(point[0]) * np.sqrt([1 - share, share])
        seed = np.tan(np.pi / 2 * min(special.ndtr(point[2]), _MOST_SHARE))
        return Hyperparameters(smooth, rough, float(seed), float(1.5 * np.exp(0.7 * point[3])))

    def kernel(self, squares: Floats) -> Floats:
        """The covariance of f at squared distances, over sigma^2."""
        steps = np.sqrt(5 / self.length**2 * squares)
        return np.asarray(self.smooth**2 * (1 + steps + steps**2 / 3) * np.exp(-steps))


@dataclass(frozen=True, eq=False)
class Solution:
    """The process with known parameters, given losses. Deviations are over sigma.

    Below, C is the number of candidates with losses, and B of seed groups; the effects are m and
    the mean of b over each group.

    Parameters
    ----------
    parameters : Hyperparameters
    log_likelihood : float
        With m, all effects and sigma integrated; up to a constant.
    lower : ndarray of float64, shape (C, C)
        The Cholesky factor of the covariance of candidates' mean losses, without that of effects.
    design : ndarray of float64, shape (C, 1 + B)
        How these means depend on the effects, divided by `lower`.
    residuals : ndarray of float64, shape (C,)
        The means without the expected effects, divided by `lower`.
    effects : ndarray of float64, shape (1 + B,)
    covariance : ndarray of float64, shape (1 + B, 1 + B)
        Of the effects.
    variance : float
        The estimate of sigma^2.
    """

    parameters: Hyperparameters
    log_likelihood: float
    lower: Floats
    design: Floats
    residuals: Floats
    effects: Floats
    covariance: Floats
    variance: float


def solve(
    groups: SeedGroups, squares: Floats, parameters: Sequence[Hyperparameters]
) -> list[Solution]:
    """Solve the equations of the process at some points, by Henderson's for the effects.

    With sigma^2 V the covariance of the n losses and Q their generalized sum of squares around m,
    the likelihood with m and sigma integrated is |V|^(-1/2) (1' V^-1 1)^(-1/2) Q^(-(n - 1) / 2), up
    to a constant (Harville 1974). It falls into what lies within seed groups, and their means.

    Parameters
    ----------
    groups : SeedGroups
    squares : ndarray of float64, shape (C, C)
        The squared distances of the candidates' features.
    parameters : sequence of Hyperparameters
        Many are solved at once, since for few candidates most of the time is overhead.
    """
    rough, of_seed = np.array([(one.rough, one.seed) for one in parameters]).T[:, :, None]
    seeds = groups.weights
    number = seeds.sum(axis=1)
    share = seeds / number[:, None]
    means = (share * groups.means).sum(axis=1)
    within = groups.means - means[:, None]
    covariance = np.stack([one.kernel(squares) for one in parameters])
    own = np.arange(len(means))
    covariance[:, own, own] += rough**2 + 1 / number
    lower = np.linalg.cholesky(covariance)
    columns = np.column_stack([np.ones(len(means)), share, means])
    solved = np.stack([solve_triangular(one, columns, lower=True) for one in lower])
    design, target = solved[:, :, :-1], solved[:, :, -1]
    # In units of their deviation, so that it may be 0.
    units = np.column_stack([np.ones(len(parameters)), of_seed / np.sqrt(groups.sizes)])
    normal, right = design.mT @ design, (target[:, None] @ design)[:, 0]
    normal[:, 1:, 1:] += np.diag(seeds.sum(axis=0)) - seeds.T @ share
    right[:, 1:] += (seeds * within).sum(axis=0)
    normal, right = normal * units[:, :, None] * units[:, None], right * units
    normal[:, 1:, 1:] += np.eye(len(groups.sizes))
    inverse = np.linalg.inv(normal)
    scaled = (inverse @ right[:, :, None])[:, :, 0]
    spread = 1 + of_seed**2 * seeds.sum(axis=0) / groups.sizes
    squares_left = (target**2).sum(axis=1) - (right * scaled).sum(axis=1)
    squares_left += (seeds * within**2).sum() + groups.noise.sum()
    squares_left += (groups.between / spread).sum(axis=1)
    variance = np.maximum(squares_left / groups.degrees, _LEAST_NOISE)
    determinants = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    determinants += np.linalg.slogdet(normal)[1] + np.log(number).sum()
    determinants += ((groups.sizes - 1) * np.log(spread)).sum(axis=1)
    logs = -0.5 * (determinants + groups.degrees * np.log(variance))
    effects = scaled * units
    residuals = target - (design @ effects[:, :, None])[:, :, 0]
    of_effects = inverse * units[:, :, None] * units[:, None]
    every = zip(
        *(parameters, logs.tolist(), lower, design, residuals, effects, of_effects),
        variance.tolist(),
        strict=True,
    )
    return [Solution(*one) for one in every]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a solved process tells of all candidates, of which the first C have losses.

    Below, P is the number of candidates. All but `mean` is over sigma.

    Parameters
    ----------
    solution : Solution
    explained : ndarray of float64, shape (C, P)
        The covariance with the candidates that have losses, divided by `solution.lower`.
    reach : ndarray of float64, shape (P, 1 + B)
        How the expected losses depend on the effects.
    mean, variance : ndarray of float64, shape (P,)
        Of mu of each candidate.
    """

    solution: Solution
    explained: Floats
    reach: Floats
    mean: Floats
    variance: Floats

    def covariance(self, squares: Floats, some: NDArray[np.intp]) -> Floats:
        """The covariances of mu of all candidates with that of some; shape (P, J).

        Parameters
        ----------
        squares : ndarray of float64, shape (P, J)
            The squared distances of their features.
        some : ndarray of int, shape (J,)
            Their places.
        """
        parameters, of_effects = self.solution.parameters, self.reach @ self.solution.covariance
        found = parameters.kernel(squares)
        found[some, np.arange(len(some))] += parameters.rough**2
        found += of_effects @ self.reach[some].T - self.explained.T @ self.explained[:, some]
        return found

    def of_effects(self, some: NDArray[np.intp]) -> Floats:
        """The covariances of mu of some candidates with the effects of groups; shape (J, B)."""
        return np.asarray((self.reach[some] @ self.solution.covariance)[:, 1:])


def predict(solution: Solution, squares: Floats) -> Prediction:
    """What a solved process tells of all candidates.

    Parameters
    ----------
    solution : Solution
    squares : ndarray of float64, shape (C, P)
        The squared distances of the features of all candidates to the first C.
    """
    parameters = solution.parameters
    kernel = parameters.kernel(squares)
    own = np.arange(len(squares))
    kernel[own, own] += parameters.rough**2
    explained = solve_triangular(solution.lower, kernel, lower=True, check_finite=False)
    reach = -explained.T @ solution.design
    reach[:, 0] += 1
    variance = parameters.smooth**2 + parameters.rough**2 - (explained**2).sum(axis=0)
    variance += ((reach @ solution.covariance) * reach).sum(axis=1)
    mean = solution.effects[0] + explained.T @ solution.residuals
    return Prediction(solution, explained, reach, mean, np.maximum(variance, 0))


def sample_hyperparameters(
    groups: SeedGroups, squares: Floats, number: int
) -> list[tuple[float, Hyperparameters]]:
    """Draw parameters from their posterior: points with their weights, which sum to 1.

    Adaptive multiple importance sampling (Cornuet, Marin, Mira and Robert 2012): in each round
    scrambled Sobol points of a normal proposal, at first of the prior, then of the moments of all
    points so far; each point counts by its posterior density over the mean density of all
    proposals. On the way the likelihood is tempered, so that some points always count.

    Parameters
    ----------
    groups, squares
        As in `solve`.
    number : int
        The number of points, drawn by systematic resampling; equal ones are merged.
    """
    uniform = stats.qmc.Sobol(4, rng=0).random(_ROUNDS * _POINTS)
    normal = special.ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)).reshape(_ROUNDS, _POINTS, 4)
    middle, root = np.zeros(4), np.eye(4)
    points, logs, densities = np.empty((0, 4)), np.empty(0), np.empty((0, 0))
    proposals: list[tuple[Floats, Floats]] = []
    weights = np.empty(0)
    for part in normal:
        proposals.append((middle, root))
        new = middle + part @ root.T
        points = np.concatenate([points, new])
        solutions = solve(groups, squares, [Hyperparameters.at(point) for point in new])
        found = np.array([one.log_likelihood for one in solutions])
        logs = np.append(logs, found - 0.5 * (new**2).sum(axis=1))
        densities = np.stack([_log_normal(points, *proposal) for proposal in proposals])
        mixture = special.logsumexp(densities, axis=0)
        weights = _tempered(logs - mixture)
        middle = weights @ points
        apart = points - middle
        covariance = (apart * weights[:, None]).T @ apart + 1e-4 * np.eye(4)
        root = np.asarray(_WIDER * np.linalg.cholesky(covariance), np.float64)
    final = special.softmax(logs - mixture)
    levels = (np.arange(number) + 0.5) / number
    drawn, counts = np.unique(np.searchsorted(final.cumsum(), levels), return_counts=True)
    drawn = np.minimum(drawn, len(points) - 1)
    return [
        (float(n / number), Hyperparameters.at(points[i]))
        for i, n in zip(drawn, counts, strict=True)
    ]


def _log_normal(points: Floats, middle: Floats, root: Floats) -> Floats:
    standard = solve_triangular(root, (points - middle).T, lower=True)
    return np.asarray(-0.5 * (standard**2).sum(axis=0) - np.log(np.diag(root)).sum())


def _tempered(logs: Floats) -> Floats:
    """Weights of the largest power of at most 1 with which enough points count."""
    power = 1.0
    while True:
        weights = special.softmax(power * logs)
        if 1 / (weights @ weights) >= min(_LEAST_EFFECTIVE, len(logs)) or power < 1e-6:
            return np.asarray(weights)
        power *= 0.8
