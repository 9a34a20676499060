"""The posterior of the two-way model, against dense algebra and direct integration."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.statistics.shrinkage import paired_means
from dynamoe_search.statistics.two_way import TwoWay, estimate_means, fit_two_way

SMALL = pd.DataFrame(
    {
        "value": [1.0, 1.3, 1.1, 2.1, 2.2, 3.2, 1.4, 1.9],
        "candidate": list("aaabbcdd"),
        "block": [0, 1, 2, 0, 1, 1, 0, 2],
    }
)


SEEDS = np.array([0.0, 30.0, -50.0, 7.0])


def fitted(table: pd.DataFrame) -> TwoWay:
    return fit_two_way(table["value"], table["candidate"], table["block"])


def same(of: pd.Series) -> np.ndarray:
    return (of.to_numpy()[:, None] == of.to_numpy()).astype(float)


def integrated(table: pd.DataFrame, points: int = 70) -> tuple[np.ndarray, ...]:
    """By dense algebra at each point of a wide and fine grid of log ratios.

    The weights, and the candidates' locations, scales and covariances over sigma^2.
    """
    values, n = table["value"].to_numpy(), len(table)
    names = sorted(set(table["candidate"]))
    of = np.array([names.index(name) for name in table["candidate"]])
    mine = np.eye(len(names))[of]
    logs, found = [], []
    grid = np.linspace(np.log(1e-3), np.log(1e3), points)
    for log_tau in grid:
        for log_omega in grid:
            tau, omega = np.exp(log_tau), np.exp(log_omega)
            seeds = omega**2 * same(table["block"]) + np.eye(n)
            inverse = np.linalg.inv(tau**2 * same(table["candidate"]) + seeds)
            precision = inverse.sum()
            middle = inverse.sum(axis=0) @ values / precision
            residual = values - middle
            variance = residual @ inverse @ residual / (n - 1)
            _, determinant = np.linalg.slogdet(inverse)
            likelihood = 0.5 * (determinant - np.log(precision) - (n - 1) * np.log(variance))
            prior = sum(np.log(x / (1 + x**2)) for x in (tau, omega))
            # What candidates are worth, m + a, given the values.
            own = tau**2 * mine.T @ inverse
            located = middle + own @ residual
            rest = np.ones(len(names)) - own @ np.ones(n)
            covariance = tau**2 * np.eye(len(names)) - own @ mine * tau**2
            covariance += np.outer(rest, rest) / precision
            logs.append(likelihood + prior)
            found.append((located, variance * covariance))
    weights = np.exp(np.array(logs) - max(logs))
    return (weights / weights.sum(), *(np.array(part) for part in zip(*found, strict=True)))


def test_the_posterior_is_that_of_direct_integration() -> None:
    weights, located, covariances = integrated(SMALL)
    posterior = fitted(SMALL)
    means = posterior.means()
    assert means["mean"].to_numpy() == pytest.approx(weights @ located, abs=2e-3)
    scales = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    for end, level in (("low", 0.025), ("high", 0.975)):
        ends = means[end].to_numpy()
        below = weights @ stats.t.cdf(ends, 7, located, scales)
        assert below == pytest.approx(np.full(4, level), abs=2e-3)
    for reference in range(4):
        between = located - located[:, [reference]]
        inside = (
            np.diagonal(covariances, axis1=1, axis2=2)
            + covariances[:, [reference], [reference]]
            - 2 * covariances[:, reference]
        )
        squares = weights @ (inside + between**2) - (weights @ between) ** 2
        assert posterior.deviations(reference)[0] == pytest.approx(np.sqrt(squares), rel=5e-3)


def table_of(losses: np.ndarray) -> pd.DataFrame:
    candidates, blocks = losses.shape
    return pd.DataFrame(
        {
            "value": losses.ravel(),
            "candidate": np.repeat(np.arange(candidates), blocks),
            "block": np.tile(np.arange(blocks), candidates),
        }
    )


def test_a_balanced_table_has_the_noise_of_its_analysis_of_variance() -> None:
    generator = np.random.default_rng(1)
    losses = (
        generator.normal(0, 1, (40, 1))
        + generator.normal(0, 3, 6)
        + generator.normal(0, 0.5, (40, 6))
    )
    posterior, found = fitted(table_of(losses)), paired_means(losses)
    assert posterior.noise == pytest.approx(found.error * 6**0.5, rel=0.01)
    # Differences of means shrink by n tau^2 / (n tau^2 + sigma^2), and scatter by their error.
    ratio = posterior.means()["mean"].diff()[1:] / np.diff(found.means)
    expected = 1 - found.error**2 / found.means.var(ddof=1)
    assert ratio.to_numpy() == pytest.approx(np.full(39, expected), rel=0.01)
    scatter = found.error * (2 * expected) ** 0.5
    assert np.median(posterior.deviations(0)[0, 1:]) == pytest.approx(scatter, rel=0.02)


def test_seeds_that_all_share_are_no_noise() -> None:
    generator = np.random.default_rng(2)
    losses = generator.normal(0, 0.5, (12, 1)) + generator.normal(0, 0.1, (12, 4))
    calm, rough = fitted(table_of(losses)), fitted(table_of(losses + SEEDS))
    assert rough.noise == pytest.approx(calm.noise, rel=0.06)
    assert rough.deviations(3) == pytest.approx(calm.deviations(3), rel=0.06)
    # But the mean over all seeds is less sure.
    widths = [(one.means()["high"] - one.means()["low"]).mean() for one in (calm, rough)]
    assert widths[1] > 50 * widths[0]


def test_one_candidate_has_the_interval_of_students_t() -> None:
    values = [1.0, 2.0, 4.0]
    found = fitted(pd.DataFrame({"value": values, "candidate": "a", "block": range(3)})).means()
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found.iloc[0].tolist() == pytest.approx([np.mean(values), low, high], abs=1e-4)


def unbalanced(generator: np.random.Generator) -> pd.DataFrame:
    blocks = generator.integers(1, 5, size=9)
    blocks[0] = 4
    table = pd.DataFrame({"candidate": np.repeat(np.arange(9), blocks)})
    table["block"] = table.groupby("candidate").cumcount()
    seeds = generator.normal(0, 0.2, 4)
    table["value"] = generator.normal(size=9)[table["candidate"]] + seeds[table["block"]]
    return table.assign(value=table["value"] + generator.normal(0, 0.1, len(table)))


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_units_and_order_change_nothing(
    seed: int, shift: float, factor: float, is_negated: bool
) -> None:
    table = unbalanced(np.random.default_rng(seed))
    factor = -factor if is_negated else factor
    other = table.assign(value=shift + factor * table["value"]).sample(frac=1, random_state=seed)
    found, scaled = fitted(table), fitted(other)
    ends = ["mean", "high", "low"] if is_negated else ["mean", "low", "high"]
    expected = shift + factor * found.means()
    size = abs(factor) * 1e-4
    assert scaled.means()[ends].to_numpy() == pytest.approx(expected.to_numpy(), abs=size)
    assert scaled.deviations(0) == pytest.approx(abs(factor) * found.deviations(0), rel=1e-4)
    assert scaled.margins(0) == pytest.approx(abs(factor) * found.margins(0), rel=1e-4)


@settings(max_examples=12)
@given(st.integers(0, 10_000))
def test_a_mean_lies_between_its_own_values_and_those_of_all(seed: int) -> None:
    table = unbalanced(np.random.default_rng(seed))
    found = fitted(table)
    means = found.means()
    assert (means["low"] < means["mean"]).all()
    assert (means["mean"] < means["high"]).all()
    assert np.abs(np.diag(found.margins(np.arange(9)))).max() == 0
    assert found.margins(np.arange(9)) == pytest.approx(found.margins(np.arange(9)).T)
    assert found.expected(found.counts, table.groupby("candidate")["value"].sum()) == pytest.approx(
        means["mean"].to_numpy()
    )


def test_more_blocks_draw_a_mean_less_towards_the_others() -> None:
    generator = np.random.default_rng(5)
    table = table_of(generator.normal(0, 1, (30, 4)) + 0.4 * generator.normal(size=(30, 1)))
    posterior = fitted(table)
    counts = np.tril(np.ones((4, 4)))
    expected = posterior.expected(counts, -3.0 * counts.sum(axis=1))
    assert (np.diff(expected) < 0).all()
    assert -3 < expected[-1] < expected[0] < posterior.center


def test_where_nothing_was_trained_twice_means_are_plain() -> None:
    table = pd.DataFrame({"value": [1.0, 2.0, 5.0], "candidate": list("abc"), "block": 0})
    posterior = fitted(table)
    means = posterior.means()
    assert means["mean"].tolist() == pytest.approx([1, 2, 5])
    assert means[["low", "high"]].isna().all(axis=None)
    assert np.isinf(posterior.margins(0)).all()
    assert np.isnan(posterior.noise)


def test_equal_values_stay_equal() -> None:
    """(x + x + x) / 3 is not always x."""
    table = pd.DataFrame({"value": 0.1, "candidate": list("aaab"), "block": [0, 1, 2, 0]})
    assert (estimate_means(table["value"], table["candidate"], table["block"]) == 0.1).all(
        axis=None
    )
    assert (fitted(table).margins(0) == 0).all()
    apart = table.assign(value=[0.1] * 3 + [3e9])
    found = estimate_means(apart["value"], apart["candidate"], apart["block"])
    assert found.loc["a"].tolist() == [0.1] * 3
    assert found.loc["b"].tolist() == [3e9] * 3


@pytest.mark.parametrize("gap", [0.01, 1.0, 1e6])
def test_differences_that_are_the_same_on_every_seed_are_known(gap: float) -> None:
    seeds = np.array([0.0, 3.0, 1.0])
    posterior = fitted(table_of(np.array([[0.0], [gap], [3 * gap]]) + seeds))
    means = posterior.means()["mean"].to_numpy()
    assert np.diff(means) == pytest.approx([gap, 2 * gap], rel=0.01)
    assert (posterior.margins(0)[0, 1:] < 0.1 * gap).all()


def test_infinite_and_missing_values() -> None:
    table = pd.DataFrame(
        {
            "value": [1.0, 1.1, np.inf, 1.0, np.nan, 2.0, 2.2, np.nan],
            "candidate": list("aabbccde"),
            "block": [0, 1] * 3 + [0, 0],
        }
    )
    found = estimate_means(table["value"], table["candidate"], table["block"])
    assert np.isinf(found.loc["b"]).all()
    assert np.isfinite(found.loc[["a", "c", "d"]]).all(axis=None)
    assert found.loc["e"].isna().all()
    unknown = estimate_means(table["value"] * np.nan, table["candidate"], table["block"])
    assert unknown.isna().all(axis=None)


def test_thousands_of_candidates_and_dozens_of_blocks() -> None:
    generator = np.random.default_rng(7)
    truths = generator.normal(0, 1, 3000)
    table = pd.DataFrame({"candidate": np.repeat(np.arange(3000), 2)})
    table["block"] = generator.integers(0, 2, len(table)) + 2 * (table.index % 2)
    table["value"] = truths[table["candidate"]] + generator.normal(0, 1, len(table))
    means = fitted(table).means()
    inside = (means["low"] < truths) & (truths < means["high"])
    assert 0.93 < inside.mean() < 0.97
    wide = (
        generator.normal(0, 1, (20, 1))
        + generator.normal(0, 1, 36)
        + generator.normal(size=(20, 36))
    )
    assert fitted(table_of(wide)).noise == pytest.approx(1, rel=0.1)


@pytest.mark.slow
def test_intervals_cover_for_ratios_of_every_size() -> None:
    """Also of the best: what picked it does not matter."""
    generator = np.random.default_rng(8)
    for tau, omega in ((0.0, 0.5), (0.3, 1.0), (1.0, 0.0), (3.0, 3.0)):
        covered = []
        for _ in range(150):
            truths = generator.normal(0, tau, 20)
            table = unbalanced_of(truths, omega, generator)
            means = fitted(table).means()
            inside = ((means["low"] < truths) & (truths < means["high"])).to_numpy()
            covered.append((inside.mean(), inside[means["mean"].argmin()]))
        every, best = np.mean(covered, axis=0)
        assert every > 0.93
        assert best > 0.89, (tau, omega)  # 0.95 less three standard errors


def unbalanced_of(truths: np.ndarray, omega: float, generator: np.random.Generator) -> pd.DataFrame:
    blocks = generator.choice([1, 1, 1, 4], size=len(truths))
    blocks[:2] = 4
    table = pd.DataFrame({"candidate": np.repeat(np.arange(len(truths)), blocks)})
    table["block"] = table.groupby("candidate").cumcount()
    seeds = generator.normal(0, omega, 4)
    noise = generator.normal(size=len(table))
    return table.assign(value=truths[table["candidate"]] + seeds[table["block"]] + noise)
