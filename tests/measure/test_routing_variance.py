import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.budgets import dense_baseline, held_routers
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.measure.per_sample_gradients import per_sample_gradient_noise
from dynamoe_search.measure.routing_variance import (
    VarianceResult,
    compare_routings,
    gradient_variance,
)
from dynamoe_search.models import Model
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    Percentile,
    Relative,
    Threshold,
    TopK,
    TopP,
)
from dynamoe_search.statistics.comparison import holm
from dynamoe_search.training.loop import train
from dynamoe_search.training.settings import CurvePoint, TrainingSettings

DATA = embedded_digits(seed=0)
NETWORK = Classifier(64, 10, 8, Experts(8, Schedule((4, 3))))
SETTINGS = TrainingSettings(epochs=4, batch=64, learning_rate=5e-3, evaluations=4)
GROUPS = ["network", "trunk", "router", "experts"]


@pytest.fixture(scope="module")
def found() -> VarianceResult:
    return gradient_variance(
        *(NETWORK, DATA, SETTINGS, Threshold(), Percentile(), 2, [3, 5, 8]), samples=64, every=2
    )


def made_up(ratios: list[float], quantity: str = "trace") -> pd.DataFrame:
    """One row per routing, seed and group; seeds differ much more than routings."""
    rows = []
    for (seed, ratio), group in product(enumerate(ratios), GROUPS):
        base = 10.0 ** (seed % 3)
        rows.append((seed, group, "fixed", base))
        rows.append((seed, group, "dynamic", base * ratio))
    return pd.DataFrame(rows, columns=["seed", "group", "routing", quantity])


@pytest.mark.slow
def test_the_rows_are_those_of_runs_made_here(found: VarianceResult) -> None:
    assert len(found.seeds) == 2 * 3 * 4
    assert len(found.measurements) == 2 * 3 * 2 * 7
    for routing, router in (("dynamic", Threshold()), ("fixed", Percentile())):
        held = held_routers(router, NETWORK.blocks.schedule, 2)
        network = replace(NETWORK, blocks=replace(NETWORK.blocks, router=held))
        tables: list[pd.DataFrame] = []

        def look(
            points: Sequence[CurvePoint], model: Model, tables: list[pd.DataFrame] = tables
        ) -> None:
            if points[0].fraction in (0.5, 1):
                tables.append(per_sample_gradient_noise(model, DATA.train, 64, seed=5))

        (result,) = train(network, DATA, SETTINGS, [5], on_evaluation=look).of_seeds
        rows = found.seeds[(found.seeds["routing"] == routing) & (found.seeds["seed"] == 5)]
        assert rows["group"].tolist() == GROUPS
        rows = rows.set_index("group")
        for group in GROUPS:
            of_group = [t[(t["group"] == group) | (group == "network")] for t in tables]
            trace, squared_norm = (
                np.mean([table[name].sum() for table in of_group])
                for name in ("trace", "squared_norm")
            )
            assert rows.loc[group, "trace"] == pytest.approx(trace, rel=1e-9)
            assert rows.loc[group, "squared_norm"] == pytest.approx(squared_norm, rel=1e-9)
            noise_scale = trace / squared_norm if squared_norm > 0 else math.inf
            assert rows.loc[group, "noise_scale"] == pytest.approx(noise_scale, rel=1e-9)
            assert rows.loc[group, "parameters"] == of_group[0]["parameters"].sum()
            assert rows.loc[group, "mean_active"] == pytest.approx(np.mean(result.mean_active))
            losses = [result.curve[1].loss, result.curve[3].loss]
            assert rows.loc[group, "loss"] == pytest.approx(np.mean(losses))
    assert found.seconds > 0


def test_mean_k_and_parameters_are_equal_and_said(found: VarianceResult) -> None:
    by_routing = found.seeds.groupby("routing")
    assert by_routing["parameters"].sum().nunique() == 1
    assert by_routing["mean_active"].mean().tolist() == pytest.approx([2, 2], abs=0.1)
    row = found.comparison.iloc[0]
    assert "with threshold the trace of the gradient's covariance is" in found.sentence
    assert f"{row['ratio']:.3g} times that with percentile" in found.sentence
    assert "3 paired seeds" in found.sentence
    assert "at a measured mean K of" in found.sentence
    assert "depends on the scale of the loss" in found.sentence
    assert found.verdict == row["verdict"]


@pytest.mark.slow
def test_networks_without_a_choice_do_not_differ() -> None:
    network = Classifier(64, 10, 8, Experts(8, Schedule((1, 1))))
    short = TrainingSettings(epochs=1, evaluations=1)
    found = gradient_variance(
        network, DATA, short, Relative(), TopK(), 1, range(3), "noise_scale", samples=32
    )
    row = found.comparison.iloc[0]
    assert (row["ratio"], row["low"], row["high"], row["p"]) == (1, 1, 1, 1)
    assert found.verdict == "undecided"
    assert found.sentence.startswith("Undecided: with relative the gradient's noise scale is 1 ")
    assert "scale of the loss" not in found.sentence
    # A router of one expert has no gradient, so there is nothing to compare.
    assert found.comparison.set_index("group").loc["router", "missing"] == 3


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([0.8, 0.82, 0.79, 0.81, 0.78, 0.8], "supported"),
        ([1.25, 1.22, 1.3, 1.2, 1.24, 1.28], "reversed"),
        ([0.8, 1.2, 0.9, 1.15, 0.85, 1.1], "undecided"),
        ([0.5], "undecided"),
    ],
)
@pytest.mark.parametrize("quantity", ["trace", "noise_scale"])
def test_the_three_verdicts(ratios: list[float], verdict: str, quantity: str) -> None:
    table = compare_routings(made_up(ratios, quantity), range(len(ratios)), quantity)
    assert table["verdict"].tolist() == [verdict] * 4
    assert table["ratio"].to_numpy() == pytest.approx(stats.gmean(ratios), rel=1e-9)
    if len(ratios) > 1:
        assert (table["low"] < table["ratio"]).all()
        assert (table["ratio"] < table["high"]).all()


@pytest.mark.slow
@settings(max_examples=20)
@given(ratios=st.lists(st.floats(0.2, 5), min_size=2, max_size=8), data=st.data())
def test_the_tests_are_of_logarithms_and_corrected(
    ratios: list[float], data: st.DataObject
) -> None:
    rows = made_up(ratios)
    rows["trace"] *= data.draw(
        st.lists(st.floats(0.5, 2), min_size=len(rows), max_size=len(rows)).map(np.array)
    )
    table = compare_routings(rows, range(len(ratios)), "trace").set_index("group")
    for group in GROUPS:
        values = rows[rows["group"] == group].pivot(index="seed", columns="routing", values="trace")
        logs = np.log(values)
        if np.ptp(logs["dynamic"] - logs["fixed"]) > 1e-6:
            expected = stats.ttest_rel(logs["dynamic"], logs["fixed"]).pvalue
            assert table.loc[group, "p"] == pytest.approx(expected, rel=1e-5)
        assert table.loc[group, "dynamic"] == pytest.approx(stats.gmean(values["dynamic"]))
    assert table.loc["network", "p_holm"] == table.loc["network", "p"]
    assert table["p_holm"][1:].tolist() == holm(table["p"][1:]).tolist()
    # The other way round, a ratio is its inverse, and what was supported is reversed.
    swapped = rows.assign(routing=rows["routing"].map({"dynamic": "fixed", "fixed": "dynamic"}))
    other = compare_routings(swapped, range(len(ratios)), "trace").set_index("group")
    assert (table["ratio"] * other["ratio"]).to_numpy() == pytest.approx(1)
    opposite = {"supported": "reversed", "reversed": "supported", "undecided": "undecided"}
    assert table["verdict"].map(opposite).tolist() == other["verdict"].tolist()


def test_what_is_not_a_number_is_a_missing_pair() -> None:
    rows = made_up([0.8, 0.82, 0.79, 0.81], "noise_scale")
    lost = (rows["seed"] == 1) & (rows["group"] == "network") & (rows["routing"] == "fixed")
    rows.loc[lost, "noise_scale"] = math.inf
    table = compare_routings(rows, range(6), "noise_scale")  # two more were never trained
    assert table["seeds"].tolist() == [3, 4, 4, 4]
    assert table["missing"].tolist() == [3, 2, 2, 2]
    assert table["ratio"][0] == pytest.approx(stats.gmean([0.8, 0.79, 0.81]))


@pytest.mark.slow
def test_runs_that_diverge(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = replace(SETTINGS, learning_rate=1e30)
    with pytest.raises(RunFailed, match="every training run diverged"):
        gradient_variance(NETWORK, DATA, wild, TopP(), TopK(), 2, range(2))

    def half_wild(*args: object, **others: object) -> object:
        return train(*args[:2], wild if args[3] == [1] else SETTINGS, *args[3:], **others)

    monkeypatch.setattr("dynamoe_search.measure.routing_variance.train", half_wild)
    found = gradient_variance(
        NETWORK, DATA, SETTINGS, TopP(), TopK(), 2, range(3), samples=32, every=4
    )
    assert found.comparison["missing"].tolist() == [1] * 4
    assert "1 of 3 pairs are missing: a training run diverged" in found.sentence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dynamic": Percentile()}, "dynamic is percentile and fixed is top_k"),
        ({"fixed": TopP()}, "dynamic is top_p and fixed is top_p"),
        ({"seeds": [1]}, "give at least 2, all different"),
        ({"seeds": [1, 2, 1]}, "give at least 2, all different"),
        ({"quantity": "variance"}, "choose from trace, noise_scale"),
        ({"active": 5}, "5 active experts per layer are not possible with top_p"),
        ({"network": dense_baseline(NETWORK, "total")}, "the network is dense"),
        ({"samples": 2000}, "from 2 to the 1,077"),
    ],
)
def test_what_is_no_comparison_is_refused(change: dict[str, object], message: str) -> None:
    asked = {"network": NETWORK, "data": DATA, "settings": SETTINGS, "dynamic": TopP()}
    asked |= {"fixed": TopK(), "active": 2, "seeds": [0, 1]}
    with pytest.raises(InvalidInput, match=message):
        gradient_variance(**(asked | change))
