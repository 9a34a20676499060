"""Ladders as tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.scales import compare_scales, fit_ladder
from tests.report.made_up import ladder

ROOT = Path(__file__).parents[2]


def test_differences_are_paired_by_seed() -> None:
    results = ladder()
    table = compare_scales(results).set_index(["label", "scale"])
    for scale in (1, 2, 3):
        rows = results[results["scale"] == scale].pivot(
            index="seed", columns="label", values="loss"
        )
        expected = stats.ttest_rel(rows["pyramid"], rows["uniform"])
        found = table.loc["pyramid", scale]
        assert found["difference"] == pytest.approx(np.mean(rows["pyramid"] - rows["uniform"]))
        interval = expected.confidence_interval()
        assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
        assert found["seeds"] == 4
    assert (table.loc["uniform", "difference"] == 0).all()


def test_the_law_and_the_compute_are_those_of_the_ladder() -> None:
    results = ladder(exponent=-0.2)
    found = fit_ladder(results)["pyramid"]
    assert found.exponent.value == pytest.approx(-0.2, abs=0.05)
    assert found.flops.tolist() == [1e9, 8e9, 6.4e10]
    table = compare_scales(results).set_index(["label", "scale"])
    pyramid = table.loc["pyramid", 3]
    assert pyramid["multiplier_low"] < pyramid["multiplier"] < pyramid["multiplier_high"]
    assert pyramid["multiplier"] > 1


def test_the_same_candidate_has_no_law() -> None:
    results = ladder()
    same = results[results["label"] == "uniform"].assign(label="wave")
    both = pd.concat([results, same])
    assert "wave" not in fit_ladder(both)
    table = compare_scales(both)
    assert (table.loc[table["label"] == "wave", "difference"] == 0).all()


def test_a_ladder_that_is_not_complete_is_compared_as_far_as_it_goes() -> None:
    results = ladder()
    part = results[(results["scale"] < 3) | (results["label"] == "uniform")]
    assert "pyramid" not in fit_ladder(part)
    table = compare_scales(part).set_index(["label", "scale"])
    assert ("pyramid", 3) not in table.index
    assert table.loc[("pyramid", 2), "low"] < 0
    assert np.isnan(table.loc[("pyramid", 2), "multiplier"])
    # A seed that lacks at one scale is left out of the fit, and of no other scale's comparison.
    first = results["seed"].min()
    lacks = results.drop(results.index[(results["scale"] == 2) & (results["seed"] == first)])
    assert len(fit_ladder(lacks)["pyramid"].differences) == 3
    assert compare_scales(lacks).set_index(["label", "scale"]).loc[("pyramid", 1), "seeds"] == 4


@pytest.mark.parametrize("study", ["digits", "text-ladder"])
def test_the_tables_of_the_documents(study: str) -> None:
    results = pd.read_csv(ROOT / "studies" / study / "ladder-seeds.csv")
    table = compare_scales(results)
    kept = pd.read_csv(ROOT / "studies" / study / "ladder.csv")
    pd.testing.assert_frame_equal(table, kept, check_dtype=False)
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    for label, fit in fit_ladder(results).items():
        rows = table[table["label"] == label]
        cells = [
            f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
            for row in rows.itertuples()
        ]
        cells.append(f"{fit.slope.value:+.3f} ({fit.slope.low:+.3f} to {fit.slope.high:+.3f})")
        assert f"| {label} | {' | '.join(cells)} |" in page


def test_a_reference_without_results_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"no results of 'wave'.*it has uniform, pyramid"):
        compare_scales(ladder(), "wave")
