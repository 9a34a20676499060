import math
from itertools import combinations

import pandas as pd
import pytest
import torch

from dynamoe_search.data import embedded_digits
from dynamoe_search.measure.counts import RoutingCounts
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization import chance_information, mutual_information
from dynamoe_search.measure.utilization_tables import (
    active_table,
    co_activation_table,
    group_table,
    load_table,
    utilization_table,
)
from dynamoe_search.models import build_model
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts, TopP

GROUPS = ("cat", "dog", "eel")
CHOSEN = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]).bool()
GATES = torch.tensor([[0.5, 0.5, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]])


@pytest.fixture
def counts() -> tuple[RoutingCounts, ...]:
    """Four experts of which the last is dead, and a layer of one."""
    group = torch.tensor([0, 0, 2, 2])
    one = torch.ones(4, 1)
    return (
        RoutingCounts.of(Routing(GATES.log(), GATES, CHOSEN, GATES * CHOSEN), group, GROUPS),
        RoutingCounts.of(Routing(one.log(), one, one.bool(), one), group, GROUPS),
    )


def test_a_worked_example_by_layer(counts: tuple[RoutingCounts, ...]) -> None:
    first, single = utilization_table(counts).to_dict("records")
    # The load is 4, 2, 1, 0, in shares of 7; its mean 7 / 4.
    entropy = math.log(7) - (4 * math.log(4) + 2 * math.log(2)) / 7
    assert first == pytest.approx(
        {
            "layer": 1,
            "experts": 4,
            "tokens": 4,
            "entropy": entropy,
            "normalized_entropy": entropy / math.log(4),
            "effective_experts": math.exp(entropy),
            "coefficient_of_variation": math.sqrt((16 + 4 + 1) / 4 - (7 / 4) ** 2) / (7 / 4),
            "maximum_violation": 4 / (7 / 4) - 1,
            "gini": (2 + 3 + 4 + 1 + 2 + 1) / (4 * 7),
            "dead_experts": 1,
            "dead_share": 0.25,
            "router_entropy": (math.log(2) + math.log(4)) / 4,
            "mean_active": 7 / 4,
            "active_variance": 0.6875,
            # 2 / 4, 1 / 4, 1 / 2, and 0 with the dead one.
            "jaccard": (1 / 2 + 1 / 4 + 1 / 2) / 6,
            "mutual_information": mutual_information([[2, 1, 0, 0], [2, 1, 1, 0]]),
            "chance_information": chance_information([0, 2, 1, 1], groups=2, experts=3),
        }
    )
    assert math.isnan(single.pop("jaccard"))
    assert single == pytest.approx(
        dict.fromkeys(single, 0)
        | {"layer": 2, "experts": 1, "tokens": 4, "normalized_entropy": 1}
        | {"effective_experts": 1, "mean_active": 1}
    )


def test_a_worked_example_by_group(counts: tuple[RoutingCounts, ...]) -> None:
    table = group_table(counts)
    assert table[["layer", "group", "tokens", "mean_active", "dead_experts"]].values.tolist() == [
        [1, "cat", 2, 1.5, 2],
        [1, "eel", 2, 2.0, 1],
        [2, "cat", 2, 1.0, 0],
        [2, "eel", 2, 1.0, 0],
    ]
    assert table["effective_experts"][0] == pytest.approx(3 / 2 ** (2 / 3))


def test_loads_by_expert_and_by_group(counts: tuple[RoutingCounts, ...]) -> None:
    whole = load_table(counts)
    assert whole.values.tolist() == [
        [1, 1, 4, 4 / 7],
        [1, 2, 2, 2 / 7],
        [1, 3, 1, 1 / 7],
        [1, 4, 0, 0],
        [2, 1, 4, 1],
    ]
    parts = load_table(counts, by_group=True)
    assert parts.columns.tolist() == ["layer", "group", "expert", "load", "share"]
    assert parts.groupby(["layer", "group"])["share"].sum().tolist() == pytest.approx([1] * 4)
    assert parts["group"].unique().tolist() == ["cat", "eel"]
    summed = parts.groupby(["layer", "expert"], as_index=False)["load"].sum()
    assert summed["load"].tolist() == whole["load"].tolist()


def test_pairs_against_sets_of_tokens(counts: tuple[RoutingCounts, ...]) -> None:
    tokens = [set(column.nonzero().flatten().tolist()) for column in CHOSEN.T]
    expected = [
        [1, a + 1, b + 1, len(tokens[a] & tokens[b]), len(tokens[a] & tokens[b]) / len(either)]
        for a, b in combinations(range(4), 2)
        if (either := tokens[a] | tokens[b])
    ]
    assert co_activation_table(counts).values.tolist() == expected
    one = co_activation_table(counts[1:])
    assert one.columns.tolist() == ["layer", "expert", "other", "together", "jaccard"]
    assert one.empty


def test_two_dead_experts_have_no_likeness() -> None:
    gates = torch.eye(3)[:1]
    routing = Routing(gates.log(), gates, gates > 0, gates)
    dead = [RoutingCounts.of(routing, torch.tensor([0]), ("all",))]
    assert co_activation_table(dead)["jaccard"].tolist() == pytest.approx(
        [0, 0, math.nan], nan_ok=1
    )
    assert utilization_table(dead)["jaccard"].item() == 0


def test_tables_know_no_order_of_experts() -> None:
    generator = torch.Generator().manual_seed(0)
    gates = torch.randn(200, 6, generator=generator).softmax(dim=1)
    order = torch.randperm(6, generator=generator)
    group = torch.randint(3, (200,), generator=generator)
    tables = []
    for permuted in (gates, gates[:, order]):
        chosen = permuted > 0.2
        routing = Routing(permuted.log(), permuted, chosen, permuted * chosen)
        tables.append(utilization_table([RoutingCounts.of(routing, group, GROUPS)]))
    pd.testing.assert_frame_equal(*tables, rtol=1e-9)


def test_the_spread_of_k_has_the_mean_k() -> None:
    split = embedded_digits(seed=0).validation
    torch.manual_seed(0)
    model = build_model(Classifier(64, 10, 16, Experts(8, Schedule((6, 3)), TopP(0.4))))
    counts = count_routings(model, split)
    found = active_table(counts)
    table = utilization_table(counts)
    by_layer = found.assign(weighted=found["active"] * found["share"]).groupby("layer")
    assert table["mean_active"].tolist() == pytest.approx(by_layer["weighted"].sum().tolist())
