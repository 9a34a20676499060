"""The choice of an active schedule, and its comparison with an even one."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.interop.active_choice import choose_active, compare_choice
from dynamoe_search.schedules import Schedule


def sensitivities(difference: np.ndarray, flops: list[int], trained: int = 2) -> pd.DataFrame:
    """A table of layers with so many FLOPs for one expert; NaN leaves a number out."""
    rows = [
        {
            "layer": 2 * place,
            "active": count + 1,
            "trained": count + 1 == trained,
            "flops": (count + 1) * flops[place],
            "difference": difference[place, count],
        }
        for place, count in product(*map(range, difference.shape))
    ]
    return pd.DataFrame(rows).dropna()


@pytest.mark.parametrize("seed", range(5))
def test_layers_of_different_cost_share_the_flops_of_the_even_schedule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flops, difference = rng.integers(1, 9, 4).tolist(), rng.normal(size=(4, 4))
    difference[:, 1] = 0
    difference[1, 2] = np.nan
    choice = choose_active(sensitivities(difference, flops), mean=2.5)
    assert choice.layers == (0, 2, 4, 6)
    assert choice.even.total == 10
    assert choice.trained == Schedule((2, 2, 2, 2))
    budget = sum(price * count for price, count in zip(flops, choice.even, strict=True))
    sums = {
        counts: sum(difference[place, count - 1] for place, count in enumerate(counts))
        for counts in product(range(1, 5), repeat=4)
        if sum(price * count for price, count in zip(flops, counts, strict=True)) <= budget
    }
    best = min((value, counts) for counts, value in sums.items() if not np.isnan(value))
    assert choice.chosen.counts == best[1]
    assert choice.predicted["chosen"] == pytest.approx(best[0])
    assert choice.flops["even"] == budget >= choice.flops["chosen"]


def test_what_was_not_measured_is_not_predicted() -> None:
    table = sensitivities(np.array([[0.1, 0.0], [0.2, 0.0]]), [1, 1])
    assert np.isnan(choose_active(table, mean=3).predicted["even"])
    gaps = sensitivities(np.array([[0.1, 0.0, np.nan, -0.3], [0.2, 0.0, np.nan, -0.1]]), [1, 1])
    choice = choose_active(gaps, mean=3)
    assert choice.chosen.counts == (4, 2)
    assert np.isnan(choice.predicted["even"])


@pytest.mark.parametrize(
    ("mean", "message"),
    [(0.5, "make 1; it must be"), (1.3, "make 2.6; it must be"), (float("nan"), "must be")],
)
def test_a_mean_that_is_no_number_of_experts_is_refused(mean: float, message: str) -> None:
    table = sensitivities(np.array([[0.1, 0.0], [0.2, 0.0]]), [1, 1])
    with pytest.raises(InvalidInput, match=message):
        choose_active(table, mean)
    with pytest.raises(InvalidInput, match="no column 'flops'"):
        choose_active(table.drop(columns="flops"), 2)


def losses(rng: np.random.Generator, change: float, documents: int = 30) -> pd.DataFrame:
    trained = rng.normal(2.0, 0.5, documents)
    even = trained + rng.normal(0.1, 0.01, documents)
    chosen = even + rng.normal(change, 0.01, documents)
    return pd.DataFrame({"trained": trained, "even": even, "chosen": chosen})


@pytest.mark.parametrize(
    ("change", "verdict"), [(-0.05, "better"), (0.05, "worse"), (0.0, "equivalent")]
)
def test_the_comparison_is_paired_by_document(change: float, verdict: str) -> None:
    choice = choose_active(sensitivities(np.array([[0.01, 0.0, 0], [0.5, 0.0, -0.4]]), [7, 7]), 2)
    assert choice.chosen.counts == (1, 3)
    table = losses(np.random.default_rng(0), change)
    rows = compare_choice(choice, table).set_index("name")
    assert rows["active"].to_dict() == {"trained": "2-2", "even": "2-2", "chosen": "1-3"}
    assert rows["loss"].to_dict() == pytest.approx(table.mean().to_dict())
    assert rows.loc["chosen", "predicted"] == pytest.approx(table["trained"].mean() - 0.39)
    found = rows.loc["chosen"]
    assert found["difference"] == pytest.approx((table["chosen"] - table["even"]).mean())
    assert found["p_value"] == pytest.approx(stats.ttest_rel(table["chosen"], table["even"])[1])
    assert found["low"] < found["difference"] < found["high"]
    assert found["verdict"] == verdict
    assert rows.loc[["trained", "even"], "difference"].isna().all()


def test_a_loss_that_is_not_finite_is_no_comparison() -> None:
    choice = choose_active(sensitivities(np.array([[0.01, 0.0, 0], [0.5, 0.0, -0.4]]), [7, 7]), 2)
    table = losses(np.random.default_rng(0), 0.0)
    table.loc[3, "chosen"] = np.nan
    with pytest.raises(RunFailed, match="the chosen schedule, 1-3, is not finite"):
        compare_choice(choice, table)


def test_the_even_schedule_itself_is_not_compared() -> None:
    choice = choose_active(sensitivities(np.array([[0.4, 0.0], [0.5, 0.0]]), [7, 7]), 2)
    rows = compare_choice(choice, losses(np.random.default_rng(0), 0.0)).set_index("name")
    assert rows["verdict"].tolist() == ["", "", "the same"]
    assert rows["p_value"].isna().all()
