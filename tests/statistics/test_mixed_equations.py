"""The mixed model equations against dense linear algebra."""

import numpy as np
import pytest

from dynamoe_search.statistics.mixed_equations import CrossProducts, solve_mixed_equations

CANDIDATES = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 4])
BLOCKS = np.array([0, 1, 2, 0, 2, 1, 0, 1, 0, 1, 2])
VALUES = np.random.default_rng(0).normal(size=11)
RATIOS = np.array([[0.5, 0.8], [1e-3, 2.0], [3.0, 1e-3], [100.0, 50.0]])


def products() -> CrossProducts:
    counts = np.zeros((5, 3))
    np.add.at(counts, (CANDIDATES, BLOCKS), 1)
    totals = np.bincount(CANDIDATES, VALUES)
    deviations = VALUES - (totals / counts.sum(axis=1))[CANDIDATES]
    return CrossProducts.of(counts, totals, deviations, BLOCKS)


def same(of: np.ndarray) -> np.ndarray:
    return (of[:, None] == of).astype(float)


def dense(tau: float, omega: float) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Everything from the covariance of the values, with sigma = 1."""
    covariance = tau**2 * same(CANDIDATES) + omega**2 * same(BLOCKS) + np.eye(11)
    inverse, ones = np.linalg.inv(covariance), np.ones(11)
    precision = ones @ inverse @ ones
    middle = ones @ inverse @ VALUES / precision
    residual = VALUES - middle
    variance = residual @ inverse @ residual / 10
    likelihood = -0.5 * (
        np.linalg.slogdet(covariance)[1] + np.log(precision) + 10 * np.log(variance)
    )
    # Given m, the seeds' effects are regressed on the values; m adds its own uncertainty.
    gain = omega**2 * np.eye(3)[BLOCKS].T @ inverse
    by_middle = np.append(1.0, -gain @ ones)
    spread = np.zeros((4, 4))
    spread[1:, 1:] = omega**2 * (np.eye(3) - gain @ np.eye(3)[BLOCKS])
    spread += np.outer(by_middle, by_middle) / precision
    return float(likelihood), np.append(middle, gain @ residual), spread, float(variance)


def test_solutions_are_those_of_dense_algebra() -> None:
    solved = solve_mixed_equations(products(), RATIOS, least=0.0)
    expected = [dense(*pair) for pair in RATIOS]
    for place, (likelihood, effects, covariance, variance) in enumerate(expected):
        found = solved.log_likelihood[place] - solved.log_likelihood[0]
        assert found == pytest.approx(likelihood - expected[0][0], abs=1e-6)
        assert solved.effects[place] == pytest.approx(effects, abs=1e-8)
        assert solved.covariance[place] == pytest.approx(covariance, rel=1e-6)
        assert solved.variance[place] == pytest.approx(variance)


def test_the_most_likely_ratios_of_a_balanced_table_are_those_of_its_analysis_of_variance() -> None:
    """Restricted maximum likelihood has a closed form there, from the mean squares."""
    candidates, blocks = 8, 5
    generator = np.random.default_rng(3)
    table = (
        generator.normal(0, 2, (candidates, 1))
        + generator.normal(0, 1.5, (1, blocks))
        + generator.normal(size=(candidates, blocks))
    )
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    noise = (residual**2).sum() / ((candidates - 1) * (blocks - 1))
    tau = table.mean(axis=1).var(ddof=1) - noise / blocks
    omega = table.mean(axis=0).var(ddof=1) - noise / candidates
    expected = np.sqrt(np.array([tau, omega]) / noise)
    deviations = (table - table.mean(axis=1, keepdims=True)).ravel()
    sums = CrossProducts.of(
        np.ones((candidates, blocks)),
        table.sum(axis=1),
        deviations,
        np.tile(np.arange(blocks), candidates),
    )
    around = expected * np.exp(np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) * 0.02)
    solved = solve_mixed_equations(sums, around, least=0.0)
    # sigma is integrated, which does not move the maximum over the ratios.
    assert solved.log_likelihood.argmax() == 0
    assert solved.variance[0] == pytest.approx(noise)
