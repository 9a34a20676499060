import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.claims.source import CLAIMS, DYNAMIC, FIXED, SourceClaim, Unit
from dynamoe_search.claims.verdicts import (
    VERDICTS,
    advantage_p_value,
    judge,
    least_advantage_interval,
    seeds_for_a_verdict,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.comparison import (
    difference_p_value,
    equivalence_p_value,
    holm,
    seeds_to_decide,
    studentized_interval,
)

UNIT = Unit("images", "digits", "paper")
LOSS, ACCURACY, CURVE = (claim for claim in CLAIMS if claim.about == "images")
BEST = next(claim for claim in CLAIMS if claim.about == "tiny")
TINY = Unit("tiny", "text", "paper")
# Deviations of about 0.001 that sum to 0.
NOISE = np.array([1, -1, 0.5, -0.5, 0.8, -0.8, 1.2, -1.2]) / 1000


def made_up(means: dict[str, float], outcome: str = "test_loss", noise: float = 1.0):
    """One training run per baseline and seed; seeds differ much more than baselines do."""
    rows = []
    for place, (baseline, mean) in enumerate(means.items()):
        own = noise * np.roll(NOISE, place)
        rows += [
            (f"candidate {baseline}", baseline, seed, True, mean + 0.3 * seed + own[seed])
            for seed in range(len(NOISE))
        ]
    return pd.DataFrame(rows, columns=["candidate", "baseline", "block", "ended", outcome])


def judged(table: pd.DataFrame, claim: SourceClaim = LOSS, unit: Unit = UNIT) -> pd.Series:
    return judge([unit], {unit: table}, [claim]).iloc[0]


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=9, unique=True))
def test_against_one_rival_it_is_the_paired_t_test(values: list[int]) -> None:
    assert advantage_p_value([values]) == pytest.approx(difference_p_value(values))
    assert least_advantage_interval([values]) == studentized_interval(values)


@given(
    st.lists(
        st.lists(st.integers(-9, 9), min_size=4, max_size=4, unique=True), min_size=2, max_size=4
    )
)
def test_against_several_it_is_made_of_one_sided_tests(values: list[list[int]]) -> None:
    better = [stats.ttest_1samp(row, 0, alternative="greater").pvalue for row in values]
    worse = [stats.ttest_1samp(row, 0, alternative="less").pvalue for row in values]
    expected = min(1, 2 * max(better), 2 * len(values) * min(worse))
    p = float(advantage_p_value(values))
    assert p == pytest.approx(expected)
    low, high = least_advantage_interval(values)
    least = np.mean(values, axis=1).min()
    assert low <= least <= high
    # The interval and the test say the same.
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (low > 0 or high < 0)


@pytest.mark.parametrize(
    ("truth", "most_supported", "most_refuted"),
    [
        # As good as all others, or as one of them while better than the rest: neither is true.
        ([0.0] * 6, 0.025, 0.025),
        ([0.0] + [5.0] * 5, 0.025, 0.025),
        # Not the best: to support it is wrong.
        ([-0.3] + [5.0] * 5, 0.025, 1.0),
        # The best: to refute it is wrong.
        ([0.3] * 6, 1.0, 0.025),
    ],
)
def test_the_best_of_all_is_rarely_found_wrongly(
    truth: list[float], most_supported: float, most_refuted: float
) -> None:
    generator = np.random.default_rng(1)
    losses = generator.normal(size=(4000, 7, 8))
    losses[:, 1:] += np.array(truth)[:, None]
    advantages = losses[:, 1:] - losses[:, :1]
    found = advantage_p_value(advantages) <= 0.05
    favors = advantages.mean(axis=-1).min(axis=-1) > 0
    error = 3 * math.sqrt(0.025 / 4000)
    assert (found & favors).mean() <= most_supported + error
    assert (found & ~favors).mean() <= most_refuted + error
    if truth == [0.0] + [5.0] * 5:
        assert (found & favors).mean() > 0.01  # the test is no more careful than it must be


@pytest.mark.parametrize("truth", [[0.0] * 6, [0.5, 5, 5, 5, 5, 5], [-1.0, -1.0, 0, 0, 3, 3]])
def test_the_interval_covers_the_least_advantage(truth: list[float]) -> None:
    generator = np.random.default_rng(2)
    covered = []
    for _ in range(1500):
        losses = generator.normal(size=(7, 8))
        losses[1:] += np.array(truth)[:, None]
        low, high = least_advantage_interval(losses[1:] - losses[0])
        covered.append(low <= min(truth) <= high)
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 1500)


def test_verdicts_of_known_truths() -> None:
    better = judged(made_up({"descending": 1.0, "uniform": 1.02}))
    assert better["verdict"] == "supported"
    assert better["effect"] == pytest.approx(0.02)
    assert better["low"] < 0.02 < better["high"]
    assert (better["seeds"], better["missing"], better["planned"]) == (8, 0, 8)
    assert better["rival_mean"] - better["mean"] == pytest.approx(0.02)
    assert not better["within_margin"]
    worse = judged(made_up({"descending": 1.02, "uniform": 1.0}))
    assert (worse["verdict"], worse["effect"]) == ("not supported", pytest.approx(-0.02))
    same = judged(made_up({"descending": 1.0, "uniform": 1.0}))
    assert (same["verdict"], same["within_margin"]) == ("equivalent", True)
    small = judged(made_up({"descending": 1.0, "uniform": 1.004}))
    assert (small["verdict"], small["within_margin"]) == ("supported", True)
    noisy = judged(made_up({"descending": 1.0, "uniform": 1.005}, noise=30))
    assert noisy["verdict"] == "undecided"
    table = made_up({"descending": 1.0, "uniform": 1.005}, noise=30).pivot(
        index="block", columns="baseline", values="test_loss"
    )
    differences = table["uniform"] - table["descending"]
    assert noisy["deviation"] == pytest.approx(differences.std())
    assert noisy["seeds_to_decide"] == seeds_to_decide(0.005, differences.std(), 0.01)
    assert noisy["p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert noisy["p_equivalence"] == pytest.approx(float(equivalence_p_value(differences, 0.01)))


def test_of_accuracy_more_is_better() -> None:
    table = made_up({"descending": 0.92, "uniform": 0.9}, "test_accuracy")
    found = judged(table, ACCURACY)
    assert (found["verdict"], found["effect"]) == ("supported", pytest.approx(0.02))
    table = made_up({DYNAMIC: -0.5, FIXED: 0.0}, "log_trace")
    variance = next(claim for claim in CLAIMS if claim.outcome == "log_trace")
    assert judged(table, variance, Unit("routing", "digits", "uniform"))["verdict"] == "supported"


def test_the_best_of_all_must_beat_each_one() -> None:
    means = {name: 1.1 + 0.01 * place for place, name in enumerate(BEST.rivals)}
    best = judged(made_up({"descending": 1.0, **means}), BEST, TINY)
    assert (best["verdict"], best["rival"]) == ("supported", BEST.rivals[0])
    assert best["effect"] == pytest.approx(0.1)
    beaten = judged(made_up({"descending": 1.0, **means, "wave": 0.9}), BEST, TINY)
    assert (beaten["verdict"], beaten["rival"]) == ("not supported", "wave")
    equal = judged(made_up({"descending": 1.0, **means, "wave": 1.0}, noise=4), BEST, TINY)
    assert (equal["verdict"], equal["rival"]) == ("undecided", "wave")
    alike = judged(made_up(dict.fromkeys(PATTERNS_AND_UNIFORM, 1.0)), BEST, TINY)
    assert alike["verdict"] == "equivalent"


def test_the_seeds_that_would_decide_among_several() -> None:
    generator = np.random.default_rng(5)

    def with_moments(means: list[float], deviations: list[float]) -> np.ndarray:
        noise = generator.normal(size=(len(means), 8))
        noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(
            axis=1, ddof=1, keepdims=True
        )
        return np.array(means)[:, None] + np.array(deviations)[:, None] * noise

    def alone(mean: float, deviation: float, level: float) -> int | None:
        return seeds_to_decide(mean, deviation, 1e-12, level)

    # The closest rival takes the most seeds to beat.
    found = seeds_for_a_verdict(with_moments([1.0, 0.5], [1.0, 1.0]), 0.01, 0.01)
    assert found == alone(0.5, 1.0, 0.01) > alone(1.0, 1.0, 0.01)
    # To be worse than one is enough, but either could have been it.
    found = seeds_for_a_verdict(with_moments([-1.0, -0.5, 3.0], [1.0, 1.0, 1.0]), 0.01, 0.03)
    assert found == alone(-1.0, 1.0, 0.01)
    # To be equivalent takes all. As good as one and better than another is no verdict.
    found = seeds_for_a_verdict(with_moments([0.0, 0.0], [0.01, 0.03]), 0.01, 0.05)
    assert found == seeds_to_decide(0.0, 0.03, 0.01)
    assert seeds_for_a_verdict(with_moments([1.0, 0.0], [1e-3, 1e-3]), 0.01, 0.05) is None
    one = with_moments([0.005], [0.02])
    assert seeds_for_a_verdict(one, 0.01, 0.05) == seeds_to_decide(0.005, 0.02, 0.01, 0.05)


def test_a_candidate_is_not_its_own_rival() -> None:
    means = {"descending": 1.0, **dict.fromkeys(BEST.rivals, 1.1)}
    table = made_up(means)
    of_wave = table["baseline"] == "wave"
    table.loc[of_wave, ["candidate", "test_loss"]] = table.loc[
        table["baseline"] == "descending", ["candidate", "test_loss"]
    ].to_numpy()
    assert judged(table, BEST, TINY)["verdict"] == "supported"
    # Where there is no other, the two are the same.
    pair = made_up({"descending": 1.0, "uniform": 1.0}).assign(candidate="4-4")
    pair["test_loss"] = 0.3 * pair["block"]
    found = judged(pair)
    assert (found["verdict"], found["effect"], found["p"]) == ("equivalent", 0, 1)


def test_a_verdict_waits_for_all_planned_runs() -> None:
    table = made_up({"descending": 1.0, "uniform": 1.02})
    table.loc[3, ["ended", "test_loss"]] = [False, np.nan]
    waiting = judged(table)
    assert (waiting["verdict"], waiting["planned"]) == ("not run yet", 8)
    assert pd.isna(waiting["seeds"])
    assert math.isnan(waiting["p"])
    # A failed run leaves a pair out; others of the unit do not matter.
    table.loc[3, "ended"] = True
    other = made_up({"wave": 1.0}).assign(ended=False)
    found = judged(pd.concat([table, other]))
    assert (found["verdict"], found["seeds"], found["missing"]) == ("supported", 7, 1)
    none = judged(table.assign(test_loss=math.inf))
    assert (none["verdict"], none["seeds"], none["missing"]) == ("undecided", 0, 8)
    assert pd.isna(none["seeds_to_decide"])
    one = judged(table[table["block"] == 0])
    assert (one["verdict"], one["seeds"]) == ("undecided", 1)


def test_the_correction_counts_what_was_not_run() -> None:
    conditions = ("paper", "parameters", "compute")
    units = [Unit("images", data, one) for data in ("mnist", "cifar10") for one in conditions]
    table = made_up({"descending": 1.0, "uniform": 1.02})
    table = table.assign(curve_loss=table["test_loss"], test_accuracy=-table["test_loss"])
    found = judge(units, {units[1]: table})
    primary = found[found["family"] == "primary"]
    assert len(primary) == 12
    assert len(found) == 18
    assert found["family"].is_monotonic_increasing
    run = primary[primary["verdict"] != "not run yet"]
    assert run["condition"].tolist() == ["parameters"] * 2
    for p in ("p", "p_equivalence"):
        expected = holm([*run[p], *[math.nan] * 10])[:2]
        assert run[f"{p}_holm"].tolist() == pytest.approx(expected.tolist())
    assert set(found["verdict"]) <= set(VERDICTS)
    assert (judge(units, {})["verdict"] == "not run yet").all()


@pytest.mark.slow
def test_whole_folders_rarely_report_false_differences() -> None:
    """Nine questions, all baselines equal: 5 % of folders report a false difference."""
    generator = np.random.default_rng(3)
    units = [Unit("images", data, one) for data, one in product("abc", ("x", "y", "z"))]
    template = made_up({"descending": 1.0, "uniform": 1.0})
    wrong = 0
    folders = 80
    for _ in range(folders):
        tables = {
            unit: template.assign(test_loss=generator.normal(size=len(template))) for unit in units
        }
        verdicts = judge(units, tables, [LOSS])["verdict"]
        wrong += int(verdicts.isin(["supported", "not supported"]).any())
    assert wrong / folders <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / folders)


def test_differences_at_the_margin_are_rarely_equivalent() -> None:
    """Of six rivals one differs by the margin, which is the hardest case."""
    generator = np.random.default_rng(4)
    losses = 0.004 * generator.normal(size=(4000, 7, 8))
    losses[:, 3] += 0.01
    p = equivalence_p_value(losses[:, 1:] - losses[:, :1], 0.01).max(axis=-1)
    assert 0.02 < (p <= 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


def test_mistakes_in_tables_are_refused() -> None:
    table = made_up({"descending": 1.0, "uniform": 1.0})
    with pytest.raises(InvalidInput, match="of digits, paper, have no column 'ended'"):
        judged(table.drop(columns="ended"))
    with pytest.raises(InvalidInput, match="have no 'uniform'; found: descending"):
        judged(table[table["baseline"] == "descending"])
    with pytest.raises(InvalidInput, match="have descending, block 0, twice"):
        judged(pd.concat([table, table.head(1)]))
    with pytest.raises(InvalidInput, match="no column 'curve_loss'"):
        judged(table, replace(CURVE, family="secondary"))
