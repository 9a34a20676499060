import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.claims_errors import AT_MARGIN, World, score
from dynamoe_search.claims.source import CLAIMS, DYNAMIC, FIRST_DENSE, FIXED, Claim, Unit
from dynamoe_search.claims.verdicts import LOOKS, VERDICTS, judge
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.comparison import ERROR_RATE, holm
from dynamoe_search.statistics.sequential import find

UNIT = Unit("images", "digits", "paper")
LOSS, ACCURACY, CURVE = (claim for claim in CLAIMS if claim.about == "images")
BEST = next(claim for claim in CLAIMS if claim.about == "tiny")
TINY = Unit("tiny", "text", "paper")
DENSE_FIRST = next(claim for claim in CLAIMS if claim.better == FIRST_DENSE)
PLACEMENT = Unit("placement", "text", "compute")
# Deviations of about 0.001 that sum to 0, in each half, too.
NOISE = np.array([1, -1, 0.5, -0.5, 0.8, -0.8, 1.2, -1.2]) / 1000


def made_up(
    means: dict[str, float], outcome: str = "test_loss", noise: float = 1.0, seeds: int = 8
) -> pd.DataFrame:
    """One training run per baseline and seed; seeds differ much more than baselines do."""
    rows = []
    for number, (baseline, mean) in enumerate(means.items()):
        own = np.resize(noise * np.roll(NOISE, number), seeds)
        rows += [
            (f"candidate {baseline}", baseline, place, mean + 0.3 * place + own[place])
            for place in range(seeds)
        ]
    return pd.DataFrame(rows, columns=["candidate", "baseline", "place", outcome])


def judged(table: pd.DataFrame, claim: Claim = LOSS, unit: Unit = UNIT) -> pd.Series:
    return judge([unit], {unit: table}, [claim]).iloc[0]


def test_verdicts_of_known_truths() -> None:
    better = judged(made_up({"descending": 1.0, "uniform": 1.02}))
    assert better["verdict"] == "supported"
    assert better["effect"] == pytest.approx(0.02)
    assert better["low"] < 0.02 < better["high"]
    assert (better["seeds"], better["missing"]) == (8, 0)
    assert not better["within_margin"]
    assert better["contenders"] == ("descending",)  # the rival is beaten
    worse = judged(made_up({"descending": 1.02, "uniform": 1.0}))
    assert (worse["verdict"], worse["effect"]) == ("not supported", pytest.approx(-0.02))
    same = judged(made_up({"descending": 1.0, "uniform": 1.0}))
    assert (same["verdict"], same["within_margin"]) == ("equivalent", True)
    small = judged(made_up({"descending": 1.0, "uniform": 1.004}, noise=0.2))
    assert (small["verdict"], small["within_margin"]) == ("supported", True)
    noisy = judged(made_up({"descending": 1.0, "uniform": 1.005}, noise=30))
    assert noisy["verdict"] == "undecided"
    assert noisy["seeds_to_decide"] > 100
    assert noisy["contenders"] == ("descending", "uniform")


@pytest.mark.parametrize(("gap", "noise"), [(0.004, 1.0), (-0.003, 4.0)])
def test_against_one_rival_it_is_as_a_confirmation_finds(gap: float, noise: float) -> None:
    table = made_up({"descending": 1.0, "uniform": 1.0 + gap}, noise=noise)
    found = judged(table)
    losses = table.pivot(index="place", columns="baseline", values="test_loss")
    differences = (losses["uniform"] - losses["descending"]).to_numpy()
    looks = [find(differences[:n], 0.01, (4, 8)[: n // 4], LOOKS.planned) for n in (4, 8)]
    assert found["p"] == pytest.approx(min(look["p_difference"] for look in looks))
    assert found["p_equivalence"] == pytest.approx(min(look["p_equivalence"] for look in looks))
    assert (found["low"], found["high"]) == pytest.approx((looks[1]["low"], looks[1]["high"]))
    assert found["deviation"] == pytest.approx(differences.std(ddof=1))


def test_a_verdict_stays_as_seeds_are_added() -> None:
    table = made_up({"descending": 1.0, "uniform": 1.02}, seeds=12)
    first = judged(table[table["place"] < 8])
    table.loc[(table["place"] >= 8) & (table["baseline"] == "uniform"), "test_loss"] -= 0.05
    later = judged(table)
    assert first["verdict"] == later["verdict"] == "supported"
    assert later["p"] <= first["p"]
    assert later["effect"] < first["effect"]
    # Between two looks nothing counts.
    pd.testing.assert_series_equal(first, judged(table[table["place"] < 10]))


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
    # One rival refutes it, though the others were hardly trained.
    table = made_up({"descending": 1.12, **means}, seeds=12)
    few = table[(table["place"] < 4) | table["baseline"].isin(["descending", BEST.rivals[0]])]
    refuted = judged(few, BEST, TINY)
    assert (refuted["verdict"], refuted["rival"]) == ("not supported", BEST.rivals[0])
    assert refuted["refuter"] == BEST.rivals[0]
    # As good as the best rival: the others, which it beats, do not count.
    equal = judged(made_up({"descending": 1.1, **means}), BEST, TINY)
    assert equal["verdict"] == "equivalent"
    # Unknown of one rival: neither supported nor equivalent.
    unknown = judged(made_up({"descending": 1.0, **dict(list(means.items())[1:])}), BEST, TINY)
    assert unknown["verdict"] == "undecided"


def test_a_claim_that_allows_the_margin() -> None:
    def verdict(cost: float) -> str:
        table = made_up({FIRST_DENSE: 1.0 + cost, "uniform": 1.0}, noise=0.5)
        return str(judged(table, DENSE_FIRST, PLACEMENT)["verdict"])

    assert [verdict(cost) for cost in (-0.02, 0.0, 0.006, 0.01, 0.014)] == [
        *["supported"] * 3,
        "undecided",
        "not supported",
    ]


def test_rivals_that_are_the_same_network_do_not_count() -> None:
    means = dict.fromkeys(PATTERNS_AND_UNIFORM, 1.1) | {"descending": 1.0, "wave": 1.0}
    table = made_up(means)
    same = table["baseline"].isin(["descending", "wave"])
    losses = table.loc[table["baseline"] == "descending", "test_loss"].to_numpy()
    table.loc[same, "candidate"] = "4-4"
    table.loc[same, "test_loss"] = np.tile(losses, 2)
    assert judged(table, BEST, TINY)["verdict"] == "supported"
    table["candidate"], table["test_loss"] = "4-4", np.tile(losses, len(means))
    assert judged(table, BEST, TINY)["verdict"] == "equivalent"


def test_corrections_are_made_over_each_family() -> None:
    units = [Unit("images", f"set {number}", "paper") for number in range(12)]
    generator = np.random.default_rng(0)
    runs = {}
    for unit in units[:-2]:
        gap = generator.uniform(0, 0.02)
        table = made_up({"descending": 1.0, "uniform": 1.0 + gap}, noise=3)
        table["curve_loss"] = generator.permutation(table["test_loss"])
        runs[unit] = table.assign(test_accuracy=-table["test_loss"])
    found = judge(units, runs)
    assert found["family"].tolist() == ["primary"] * 24 + ["secondary"] * 12
    for family, rows in found.groupby("family"):
        assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p"]).tolist()), family
        not_run = rows["verdict"] == "not run yet"
        assert not_run.sum() == (4 if family == "primary" else 2)
        is_shown = (rows["p_holm"] <= ERROR_RATE) & (rows["effect"] > 0)
        assert (rows["verdict"] == "supported").tolist() == is_shown.tolist()
    assert set(found["verdict"]) <= set(VERDICTS)


def test_runs_that_failed_are_missing_pairs() -> None:
    table = made_up({"descending": 1.0, "uniform": 1.02}, seeds=12)
    table.loc[(table["baseline"] == "uniform") & (table["place"] == 2), "test_loss"] = np.nan
    found = judged(table)
    assert (found["seeds"], found["missing"], found["verdict"]) == (11, 1, "supported")
    nothing = judged(table.assign(test_loss=np.nan))
    assert (nothing["seeds"], nothing["verdict"]) == (0, "not run yet")


def test_tables_that_cannot_be_judged() -> None:
    table = made_up({"descending": 1.0, "uniform": 1.02})
    with pytest.raises(InvalidInput, match="have no column 'test_loss'"):
        judged(table.drop(columns="test_loss"))
    with pytest.raises(InvalidInput, match="have descending, place 0, twice"):
        judged(pd.concat([table, table.head(1)]))


@pytest.mark.slow
@pytest.mark.parametrize("world", [World(), World(others=0.02), World(AT_MARGIN)])
def test_verdicts_of_a_folder_rarely_err(world: World) -> None:
    found = score(world, repetitions=40)
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 40)
    assert found.false_difference <= most
    assert found.false_equivalence <= most
    assert found.decided > 0.99
