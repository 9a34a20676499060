import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.pareto import make_pareto_table, pareto_front
from dynamoe_search.statistics.two_way import estimate_means, fit_two_way


def made_up_runs(
    losses: dict[str, list[float]], flops: dict[str, float], **columns: object
) -> pd.DataFrame:
    rows = [
        {
            "candidate": candidate,
            "schedule": candidate.split()[0],
            "settings": candidate.partition(" ")[2],
            "pattern": "uniform" if candidate == "3-3" else "",
            "group": "uniform" if candidate == "3-3" else "searched",
            "seed": block,
            "state": "complete",
            "validation_loss": loss,
            "flops_per_token": flops[candidate],
            "feasible": True,
        }
        for candidate, values in losses.items()
        for block, loss in enumerate(values)
    ]
    unfinished = {**rows[0], "state": "running", "validation_loss": math.nan, "feasible": False}
    return pd.DataFrame([*rows, unfinished]).assign(**columns).astype({"seed": "Int64"})


def dominates(point: list[float], other: list[float], minimize: list[bool]) -> bool:
    """From the definition, a number at a time."""
    no_worse, better = True, False
    for a, b, less_is_better in zip(point, other, minimize, strict=True):
        if math.isnan(a) or math.isnan(b):
            return False
        if a != b:
            ahead = a < b if less_is_better else a > b
            no_worse, better = no_worse and ahead, better or ahead
    return no_worse and better


FEW_VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, math.nan])


@st.composite
def points_and_directions(draw: st.DrawFn) -> tuple[np.ndarray, list[bool]]:
    shape = draw(st.tuples(st.integers(0, 12), st.integers(1, 4)))
    elements = st.one_of(FEW_VALUES, st.floats(-5, 5))
    values = draw(arrays.arrays(np.float64, shape, elements=elements))
    return values, draw(st.lists(st.booleans(), min_size=shape[1], max_size=shape[1]))


@given(points_and_directions())
def test_the_front_is_that_of_the_definition(given_points: tuple[np.ndarray, list[bool]]) -> None:
    values, minimize = given_points
    points = values.tolist()
    expected = [
        not any(map(math.isnan, point))
        and not any(dominates(other, point, minimize) for other in points)
        for point in points
    ]
    assert pareto_front(values, minimize).tolist() == expected


def test_of_thousands_of_points() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(4000, 2))
    order = np.argsort(values[:, 0])
    lowest_before = np.minimum.accumulate(np.append(np.inf, values[order, 1]))[:-1]
    expected = np.zeros(4000, dtype=bool)
    expected[order] = values[order, 1] < lowest_before
    assert pareto_front(values, [True, True]).tolist() == expected.tolist()


def test_equal_points_are_all_on_the_front_or_none() -> None:
    values = [[1, 2], [1, 2], [2, 3], [2, 3], [0, 9]]
    assert pareto_front(values, [True, True]).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0], [2.0]]])
def test_shapes_that_do_not_fit(values: list[object]) -> None:
    with pytest.raises(InvalidInput, match="with 2 columns as in minimize"):
        pareto_front(values, [True, True])


RUNS = made_up_runs(
    {
        "4-2 k=2": [1.00, 1.02],
        "3-3": [1.03, 1.02, 1.01],
        "2-4": [1.50, 1.52],
        "5-1": [1.20, 1.22],
    },
    {"4-2 k=2": 900.5, "3-3": 900.1, "2-4": 950.0, "5-1": 700.0},
)


def test_a_row_a_candidate_the_front_first() -> None:
    table = make_pareto_table(RUNS, ["loss", "active_flops"])
    assert table["candidate"].tolist() == ["4-2 k=2", "3-3", "5-1", "2-4"]
    assert table["settings"].tolist() == ["k=2", "", "", ""]
    assert table["pattern"].tolist() == ["", "uniform", "", ""]
    assert table["group"].tolist() == ["searched", "uniform", "searched", "searched"]
    keys = ["candidate", "schedule", "settings", "pattern", "group", "seeds"]
    assert table.columns[:6].tolist() == keys
    assert table["seeds"].tolist() == [2, 3, 2, 2]
    assert table["on_front"].tolist() == [True, True, True, False]
    assert table["maybe_on_front"].tolist() == [True, True, True, False]
    complete = RUNS[RUNS["state"] == "complete"]
    estimates = estimate_means(
        complete["validation_loss"], complete["candidate"], complete["seed"]
    ).loc[table["candidate"]]
    assert (table[["loss", "loss_low", "loss_high"]].to_numpy() == estimates.to_numpy()).all()
    assert table["loss"].tolist() == pytest.approx([1.01, 1.02, 1.21, 1.51], abs=0.01)


def test_equal_flops_stay_equal_whatever_the_blocks() -> None:
    """(x + x + x) / 3 is not always x."""
    flops = 0.1
    assert np.mean([flops] * 3) != flops
    runs = made_up_runs(
        {"a": [1.0, 1.01], "b": [2.0, 2.01, 2.02], "c": [1.02]},
        {"a": flops, "b": flops, "c": flops},
    )
    table = make_pareto_table(runs, ["loss", "active_flops"]).set_index("candidate")
    assert (table["active_flops"] == flops).all()
    assert (table["active_flops_high"] == table["active_flops_low"]).all()
    # With equal FLOPs the loss alone decides; c is indistinguishable from a, and b is not.
    assert table["on_front"].to_dict() == {"a": True, "b": False, "c": False}
    assert table["maybe_on_front"].to_dict() == {"a": True, "b": False, "c": True}


def test_any_lead_counts_where_there_is_no_noise() -> None:
    runs = made_up_runs(
        {"a": [1.0, 1.01], "b": [2.0, 2.01], "c": [2.0, 2.01]},
        {"a": 100.0, "b": 100.0 + 1e-9, "c": 99.0},
    )
    table = make_pareto_table(runs, ["loss", "active_flops"]).set_index("candidate")
    assert table["maybe_on_front"].to_dict() == {"a": True, "b": False, "c": True}


def test_a_candidate_that_is_dominated_by_less_than_noise_may_be_on_the_front() -> None:
    """Where the lead of another passes what is significant, a candidate changes sides."""
    flops = {"a": 1.0, "b": 2.0, "c": 0.5}
    verdicts = []
    for shift in np.linspace(0, 1, 21):
        losses = {"a": [1.0, 1.1, 1.1], "c": [9.0, 9.1, 9.0], "b": [1.1 + shift, 1.1 + shift, 1.2]}
        runs = made_up_runs(losses, flops)
        complete = runs[runs["state"] == "complete"]
        posterior = fit_two_way(
            complete["validation_loss"], complete["candidate"], complete["seed"]
        )
        lead = posterior.means()["mean"].diff()["b"]
        table = make_pareto_table(runs, ["loss", "active_flops"]).set_index("candidate")
        assert not table["on_front"]["b"]
        assert table["maybe_on_front"]["b"] == (lead <= posterior.margins(0)[0, 1])
        verdicts.append(bool(table["maybe_on_front"]["b"]))
    assert set(verdicts) == {False, True}


def test_of_unknown_noise_everything_may_be_on_the_front() -> None:
    runs = made_up_runs({"a": [1.0], "b": [2.0]}, {"a": 1.0, "b": 2.0})
    table = make_pareto_table(runs, ["loss", "active_flops"])
    assert table["on_front"].tolist() == [True, False]
    assert table["maybe_on_front"].tolist() == [True, True]
    assert table[["loss_low", "active_flops_high"]].isna().all(axis=None)


def test_the_infeasible_are_not_on_the_front_and_dominate_none() -> None:
    runs = made_up_runs(
        {"a": [1.0, 1.01, 1.02], "b": [2.0, 2.01, 2.02], "c": [3.0, 3.01, 3.02]},
        {"a": 1.0, "b": 2.0, "c": 3.0},
        feasible=[False, False, True, False, True, True, True, True, True, False],
    )
    table = make_pareto_table(runs, ["loss", "active_flops"]).set_index("candidate")
    assert table["feasible"].to_dict() == {"a": False, "b": True, "c": True}
    assert table["on_front"].to_dict() == {"a": False, "b": True, "c": False}
    assert table["maybe_on_front"].to_dict() == {"a": False, "b": True, "c": False}
    none = make_pareto_table(runs.assign(feasible=False), ["loss", "active_flops"])
    assert not none[["feasible", "on_front", "maybe_on_front"]].any(axis=None)


def test_of_two_blocks_both_must_be_feasible() -> None:
    runs = made_up_runs({"a": [1.0, 1.1]}, {"a": 1.0}, feasible=[True, False, False])
    assert make_pareto_table(runs, ["loss"])["feasible"].tolist() == [False]


def test_more_entropy_is_better_and_infinite_noise_is_worst() -> None:
    runs = made_up_runs(
        {"a": [1.0, 1.01], "b": [1.0, 1.01], "c": [1.0, 1.01]},
        {"a": 1.0, "b": 1.0, "c": 1.0},
        utilization_entropy=[0.5, 0.52, 0.98, 0.99, 0.7, 0.72, math.nan],
        gradient_noise=[5.0, 6.0, math.inf, 4.0, math.inf, math.inf, math.nan],
    )
    table = make_pareto_table(runs, ["utilization_entropy", "gradient_noise"])
    assert table["candidate"].tolist() == ["b", "a", "c"]
    assert table["on_front"].tolist() == [True, True, False]
    # The finite one of b counts as one of its two, and draws a's down a little.
    assert table["gradient_noise"].tolist() == [math.inf, pytest.approx(5.3, abs=0.2), math.inf]
    assert table["utilization_entropy_high"].max() <= 1
    low, middle, high = table.loc[
        1, ["gradient_noise_low", "gradient_noise", "gradient_noise_high"]
    ]
    assert low < middle < high


@pytest.mark.slow
@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 3), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.floats(0, 1),
)
def test_the_front_is_among_those_that_may_be_on_it(
    candidates: list[tuple[int, int, int, bool]], spread: float
) -> None:
    losses = {
        str(number): [loss + spread * (block % 2) for block in range(blocks)]
        for number, (loss, _, blocks, _) in enumerate(candidates)
    }
    flops = {str(number): float(cost) for number, (_, cost, _, _) in enumerate(candidates)}
    runs = made_up_runs(losses, flops)
    runs["feasible"] = runs["candidate"].map(lambda number: candidates[int(number)][3])
    table = make_pareto_table(runs, ["loss", "active_flops"])
    assert (table["maybe_on_front"] | ~table["on_front"]).all()
    assert (table["feasible"] | ~table["maybe_on_front"]).all()
    assert table["on_front"].is_monotonic_decreasing
    for _, part in table.groupby("on_front"):
        assert part["loss"].is_monotonic_increasing
    noise_is_known = table["seeds"].max() > 1
    if spread == 0 and noise_is_known:
        assert (table["maybe_on_front"] == table["on_front"]).all()


def test_what_is_not_measured_is_said() -> None:
    with pytest.raises(InvalidInput, match="'speed' is no objective; there are loss, active_flops"):
        make_pareto_table(RUNS, ["loss", "speed"])
    with pytest.raises(InvalidInput, match="gradient_noise was not measured"):
        make_pareto_table(RUNS, ["loss", "gradient_noise"])
    with pytest.raises(InvalidInput, match="utilization_entropy was not measured"):
        make_pareto_table(RUNS.assign(utilization_entropy=math.nan), ["utilization_entropy"])
    with pytest.raises(InvalidInput, match="no training run of this study is complete"):
        make_pareto_table(RUNS[RUNS["state"] != "complete"], ["loss"])
