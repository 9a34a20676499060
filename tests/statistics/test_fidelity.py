from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.statistics.fidelity import (
    compute_saved,
    kendall_interval,
    rank_correlations,
)

RUNGS = (0.1, 0.3)


def run_of(
    candidate: str, seed: int, losses: list[float], state: str = "complete", run: int = 0
) -> dict[str, object]:
    """A row of `Study.training_runs`, of a run with these losses at 10 %, 30 %, 100 %."""
    curve = [
        {"fraction": fraction, "samples": round(1000 * fraction), "loss": loss, "accuracy": 0.5}
        for fraction, loss in zip((*RUNGS, 1.0), losses, strict=False)
    ]
    complete = state == "complete"
    return {
        "candidate": candidate,
        "run": run,
        "block": seed // 2,
        "seed": seed,
        "state": state,
        "fraction": curve[-1]["fraction"] if curve else float("nan"),
        "curve": curve or None,
        "validation_loss": losses[-1] if complete else float("nan"),
        "training_flops": 1000.0 * curve[-1]["fraction"] if curve else float("nan"),
    }


def random_runs(generator: np.random.Generator, candidates: int, seeds: int) -> pd.DataFrame:
    quality = generator.normal(size=candidates)
    return pd.DataFrame(
        run_of(
            f"candidate {number}",
            seed,
            [3 + quality[number] + generator.normal(0, scale) for scale in (1.0, 0.5, 0.3)],
        )
        for number in range(candidates)
        for seed in range(seeds)
    )


def tau_by_counting(first: list[float], second: list[float]) -> float:
    """Kendall's tau-b from its definition."""
    pairs = list(combinations(range(len(first)), 2))
    signs = [(np.sign(first[i] - first[j]), np.sign(second[i] - second[j])) for i, j in pairs]
    untied = [sum(bool(pair[side]) for pair in signs) for side in (0, 1)]
    return float(sum(a * b for a, b in signs) / np.sqrt(untied[0] * untied[1]))


def test_tau_is_that_of_means_over_seeds() -> None:
    runs = random_runs(np.random.default_rng(0), candidates=9, seeds=3)
    table = rank_correlations(runs.sample(frac=1, random_state=1))
    assert table["fraction"].tolist() == list(RUNGS)
    assert table["candidates"].tolist() == [9, 9]
    for rung in (0, 1):
        early = runs["curve"].map(lambda curve, rung=rung: curve[rung]["loss"])
        means = early.groupby(runs["candidate"]).mean().tolist()
        final = runs.groupby("candidate")["validation_loss"].mean().tolist()
        assert table["tau"][rung] == pytest.approx(tau_by_counting(means, final))
        low, high = kendall_interval(table["tau"][rung], 9)
        assert (table["tau_low"][rung], table["tau_high"][rung]) == (low, high)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_ties_count_as_in_tau_b(losses: list[tuple[int, int]]) -> None:
    early, final = ([float(pair[side]) for pair in losses] for side in (0, 1))
    runs = pd.DataFrame(
        run_of(str(number), 0, [first, 9.0, last])
        for number, (first, last) in enumerate(zip(early, final, strict=True))
    )
    tau = rank_correlations(runs)["tau"][0]
    if len(set(early)) == 1 or len(set(final)) == 1:
        assert np.isnan(tau)
    else:
        assert tau == pytest.approx(tau_by_counting(early, final))


def test_what_noise_allows_is_known_from_two_seeds_of_the_same_candidates() -> None:
    generator = np.random.default_rng(2)
    runs = random_runs(generator, candidates=7, seeds=2)
    once = random_runs(generator, candidates=4, seeds=1)
    once["candidate"] = "once " + once["candidate"]
    table = rank_correlations(pd.concat([runs, once], ignore_index=True))
    assert table["candidates"].tolist() == [11, 11]
    assert table["seed_candidates"].tolist() == [7, 7]
    first, second = (runs[runs["seed"] == number] for number in (0, 1))
    final = tau_by_counting(first["validation_loss"].tolist(), second["validation_loss"].tolist())
    assert table["seed_tau"].tolist() == pytest.approx([final, final])
    for rung in (0, 1):
        both_ways = [
            tau_by_counting(
                [curve[rung]["loss"] for curve in look["curve"]], end["validation_loss"].tolist()
            )
            for look, end in ((first, second), (second, first))
        ]
        assert table["early_seed_tau"][rung] == pytest.approx(np.mean(both_ways))


def test_too_few_candidates_show_nothing() -> None:
    generator = np.random.default_rng(3)
    four = rank_correlations(random_runs(generator, candidates=4, seeds=2))
    assert four["tau"].notna().all()
    unknown = ["tau_low", "tau_high", "early_seed_tau", "seed_tau", "seed_low"]
    assert four[unknown].isna().all(axis=None)
    five = rank_correlations(random_runs(generator, candidates=5, seeds=2))
    assert five.notna().all(axis=None)
    assert rank_correlations(random_runs(generator, 1, 2))["tau"].isna().all()


def test_only_complete_runs_with_a_curve_count() -> None:
    runs = random_runs(np.random.default_rng(4), candidates=6, seeds=1)
    others = [
        run_of("pruned", 0, [1.0, 0.5], state="pruned"),
        run_of("running", 0, [], state="running"),
        {**run_of("of an older version", 0, [2.0, 1.0, 0.1]), "curve": None},
    ]
    table = rank_correlations(pd.concat([runs, pd.DataFrame(others)], ignore_index=True))
    pd.testing.assert_frame_equal(table, rank_correlations(runs))
    assert rank_correlations(pd.DataFrame(others)).empty


def test_evaluations_at_slightly_different_moments_are_one_rung() -> None:
    """Training to equal FLOPs, steps do not end at the same fractions."""
    runs = random_runs(np.random.default_rng(5), candidates=6, seeds=1)
    expected = rank_correlations(runs)
    for number, curve in enumerate(runs["curve"]):
        curve[0]["fraction"] += 0.002 * number
    table = rank_correlations(runs)
    assert table["tau"].tolist() == expected["tau"].tolist()
    assert table["fraction"].tolist() == pytest.approx([0.105, 0.3])


@pytest.mark.parametrize("count", [5, 8, 15, 60])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95, 0.99])
def test_the_interval_covers_tau_as_often_as_it_says(count: int, correlation: float) -> None:
    """Of normal pairs tau is (2 / pi) arcsin(correlation)."""
    generator = np.random.default_rng(6)
    x, noise = generator.normal(size=(2, 1000, count))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    i, j = np.triu_indices(count, 1)
    taus = (np.sign(x[:, i] - x[:, j]) * np.sign(y[:, i] - y[:, j])).mean(axis=1)
    low, high = kendall_interval(taus, count)
    tau = 2 / np.pi * np.arcsin(correlation)
    covered = np.mean((low <= tau) & (tau <= high))
    assert covered > 0.9
    if count == 60 and correlation < 0.99:
        assert covered < 0.98  # else it would be wider than it need be


def test_perfect_agreement_of_a_few_is_not_certainty() -> None:
    low, high = kendall_interval([1.0, -1.0], [6, 6])
    assert low[0] < 0.8
    assert (low[0], high[0]) == pytest.approx((-high[1], -low[1]))
    assert (low >= -1).all()
    assert (high <= 1).all()


def test_compute_saved_by_hand() -> None:
    runs = pd.DataFrame(
        [
            run_of("a", 0, [3.0, 2.0, 1.0], run=0),
            run_of("b", 0, [3.0, 2.0, 1.0], run=1),
            run_of("c", 0, [4.0], state="pruned", run=2),
            run_of("d", 0, [3.5, 3.0], state="pruned", run=3),
            run_of("e", 0, [], state="diverged", run=4),
        ]
    )
    savings = compute_saved(runs)
    assert (savings.runs, savings.pruned) == (4, 2)
    assert savings.spent == pytest.approx(2400)
    assert savings.pruned_in_full == pytest.approx(2000)
    assert savings.saved == pytest.approx(1600)
    assert savings.share == pytest.approx(0.4)
    # Of blocks of two seeds each, the runs are as many, and the FLOPs are twice as many.
    double = compute_saved(pd.concat([runs, runs.assign(seed=1)]))
    assert (double.runs, double.pruned) == (4, 2)
    assert (double.spent, double.saved) == (2 * savings.spent, 2 * savings.saved)
    nothing = compute_saved(runs[runs["state"] == "diverged"])
    assert (nothing.runs, nothing.spent, nothing.share) == (0, 0.0, 0.0)


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=8))
def test_saved_and_spent_are_what_all_would_have_cost(fractions: list[float]) -> None:
    runs = pd.DataFrame(
        {
            "run": range(1 + len(fractions)),
            "state": ["complete", *["pruned"] * len(fractions)],
            "fraction": [1.0, *fractions],
            "training_flops": [7.0, *(7.0 * fraction for fraction in fractions)],
        }
    )
    savings = compute_saved(runs)
    assert savings.spent + savings.saved == pytest.approx(7.0 * len(runs))
    assert -1e-9 <= savings.share < 1
