import math

import pandas as pd
import pytest

from dynamoe_search.bounds.machine import Machine
from dynamoe_search.bounds.measured import measured_bounds
from dynamoe_search.budgets import flops_per_token
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts, Router, TopK, TopP


def network(router: Router, *experts: int) -> Classifier:
    return Classifier(64, 10, 16, Experts(16, Schedule(experts), router, dense_hidden=7))


def runs_of(*rows: dict[str, object]) -> pd.DataFrame:
    usual = {
        "candidate": "4-2",
        "state": "complete",
        "active_experts": 1.5,
        "flops_per_token": 7000.0,
        "mean_active": [2.0, 1.0],
        "layer_entropy": [math.log(3), math.log(1.5)],
        "training_seconds": 2.0,
        "training_flops": 1e9,
        "samples": 1000,
    }
    return pd.DataFrame([usual | row for row in rows])


def test_each_quantity_lies_between_bounds_that_are_worked_out_by_hand() -> None:
    known = network(TopP(p=0.7), 4, 2)
    runs = runs_of({}, {"active_experts": 1.7, "mean_active": [2.4, 1.0]})
    table = measured_bounds(runs, {"4-2": known}, Machine(1e10, 1e10)).set_index("quantity")
    assert (table["seeds"] == 2).all()
    # ceil(0.7 N) experts at most: 3 and 2.
    k = table.loc["active_experts"]
    assert (k["floor"], k["ceiling"], k["measured"]) == (1, 2.5, pytest.approx(1.6))
    assert k["place"] == pytest.approx(0.4)
    assert k["high"] - k["measured"] > 0
    flops, spread = table.loc["flops_per_token"], flops_per_token(known)
    assert (flops["floor"], flops["ceiling"]) == (spread.minimum, spread.maximum)
    entropy = table.loc["entropy"]
    assert entropy["floor"] == pytest.approx((math.log(2) + math.log(2.4)) / 4)
    assert entropy["ceiling"] == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert entropy["measured"] == pytest.approx((math.log(3) + math.log(1.5)) / 2)
    time = table.loc["training_seconds"]
    # All but the gradient of the images: 2 x 64 x 16 FLOPs each.
    assert time["floor"] == pytest.approx((1e9 - 2048 * 1000) / 1e10)
    assert math.isnan(time["ceiling"])


def test_a_plain_block_routes_nothing() -> None:
    row = {"candidate": "0-4", "mean_active": [0.0, 2.0], "layer_entropy": [0.0, math.log(3)]}
    table = measured_bounds(runs_of(row), {"0-4": network(TopP(p=0.7), 0, 4)})
    table = table.set_index("quantity")
    assert table.loc["active_experts", ["floor", "ceiling"]].tolist() == [1, 3]
    ends = table.loc["entropy", ["floor", "measured", "ceiling"]].tolist()
    assert ends == pytest.approx([math.log(n) for n in (2, 3, 4)])


def test_a_router_of_fixed_k_leaves_no_choice() -> None:
    runs = runs_of({"mean_active": [1.0, 1.0], "active_experts": 1.0})
    table = measured_bounds(runs, {"4-2": network(TopK(k=1), 4, 2)}).set_index("quantity")
    assert table.loc["active_experts", "floor"] == table.loc["active_experts", "ceiling"] == 1
    assert math.isnan(table.loc["active_experts", "place"])
    assert math.isnan(table.loc["training_seconds", "floor"])


def test_what_was_not_recorded_is_left_out_and_strangers_too() -> None:
    runs = runs_of({"layer_entropy": None}, {"candidate": "3-3", "state": "died"})
    known = {"4-2": network(TopK(k=1), 4, 2), "3-3": network(TopK(k=1), 3, 3)}
    table = measured_bounds(runs, known)
    assert set(table["candidate"]) == {"4-2"}
    assert "entropy" not in set(table["quantity"])
    with pytest.raises(InvalidInput, match="none of the candidates"):
        measured_bounds(runs, {"3-3": known["3-3"]})
