from collections import Counter
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.data import ImageSplit, TextSplit, embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.counts import RoutingCounts
from dynamoe_search.measure.routing_counts import (
    REST,
    count_routings,
    frequent_tokens,
)
from dynamoe_search.measure.utilization_tables import active_table, utilization_table
from dynamoe_search.models import Model, build_model
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    TopK,
    TopP,
)
from dynamoe_search.training.evaluation import evaluate

GROUPS = ("cat", "dog", "eel")
NETWORK = Classifier(64, 10, 16, Experts(8, Schedule((6, 4, 1)), (TopP(0.5), TopK(2), TopK(1))))


@pytest.fixture(scope="module")
def images() -> ImageSplit:
    return embedded_digits(seed=0).validation


@pytest.fixture(scope="module")
def windows() -> TextSplit:
    """40 windows of 32 bytes, and a few bytes that are in none."""
    split = embedded_topics(context=32).validation
    return replace(split, tokens=split.tokens[: 40 * 32 + 30])


def language_model() -> Model:
    torch.manual_seed(0)
    blocks = Experts(8, Schedule((5, 2)), (Relative(0.7), Percentile()))
    return build_model(LanguageModel(257, 32, 16, 2, blocks))


def routing_of(chosen: list[list[int]], gates: Tensor | None = None) -> Routing:
    used = torch.tensor(chosen, dtype=torch.bool)
    gates = used / used.sum(dim=1, keepdim=True) if gates is None else gates
    return Routing(gates.log(), gates, used, gates * used)


def brute_force(chosen: Tensor, gates: Tensor, group: list[int], groups: int) -> dict[str, object]:
    """One token and one expert at a time."""
    experts = chosen.shape[1]
    tokens = [0] * groups
    load = [[0] * experts for _ in range(groups)]
    together = [[0] * experts for _ in range(experts)]
    active = [0] * (experts + 1)
    for row, place in zip(chosen.tolist(), group, strict=True):
        tokens[place] += 1
        active[sum(row)] += 1
        for one in range(experts):
            load[place][one] += row[one]
            for other in range(experts):
                together[one][other] += row[one] and row[other]
    entropy = sum(stats.entropy(row) for row in gates.double().numpy())
    return {
        "tokens": tokens,
        "load": load,
        "together": together,
        "active": active,
        "entropy": entropy,
    }


def assert_same(counts: RoutingCounts, expected: dict[str, object]) -> None:
    for name in ("tokens", "load", "together", "active"):
        found = getattr(counts, name)
        assert found.dtype == np.int64
        assert found.tolist() == expected[name], name
    assert counts.entropy == pytest.approx(expected["entropy"], rel=1e-6)


def as_dict(counts: RoutingCounts) -> dict[str, object]:
    return {
        name: np.asarray(getattr(counts, name)).tolist()
        for name in ("tokens", "load", "together", "active", "entropy")
    }


def test_a_worked_example() -> None:
    routing = routing_of([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    counts = RoutingCounts.of(routing, torch.tensor([0, 0, 2, 2]), GROUPS)
    assert counts.experts == 3
    assert counts.groups == GROUPS
    assert as_dict(counts) == {
        "tokens": [2, 0, 2],
        "load": [[2, 1, 0], [0, 0, 0], [1, 2, 0]],
        "together": [[3, 2, 0], [2, 3, 0], [0, 0, 0]],
        "active": [0, 2, 2, 0],
        "entropy": pytest.approx(2 * np.log(2)),
    }


@st.composite
def batches_of(draw: st.DrawFn) -> tuple[Routing, list[int], list[int]]:
    """A routing, the groups of its tokens, and where it is cut into batches."""
    tokens, experts = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    seed = draw(st.integers(0, 2**32))
    generator = torch.Generator().manual_seed(seed)
    gates = torch.randn(tokens, experts, generator=generator).softmax(dim=1)
    chosen = gates >= gates.amax(dim=1, keepdim=True) * draw(st.floats(0, 1))
    group = draw(st.lists(st.integers(0, 2), min_size=tokens, max_size=tokens))
    cuts = draw(st.lists(st.integers(0, tokens), max_size=5).map(sorted))
    return Routing(gates.log(), gates, chosen, gates * chosen), group, [0, *cuts, tokens]


def part(routing: Routing, start: int, end: int) -> Routing:
    return Routing(
        routing.logits[start:end],
        routing.gates[start:end],
        routing.chosen[start:end],
        routing.weights[start:end],
    )


@pytest.mark.slow
@given(case=batches_of(), data=st.data())
def test_batches_in_any_split_and_order_give_the_counts_of_all(
    case: tuple[Routing, list[int], list[int]], data: st.DataObject
) -> None:
    routing, group, cuts = case
    whole = RoutingCounts.of(routing, torch.tensor(group), GROUPS)
    assert_same(whole, brute_force(routing.chosen, routing.gates, group, 3))
    parts = [
        RoutingCounts.of(
            part(routing, start, end), torch.tensor(group[start:end], dtype=torch.int64), GROUPS
        )
        for start, end in pairwise(cuts)
    ]
    merged = reduce(add, data.draw(st.permutations(parts)))
    assert merged.groups == GROUPS
    assert_same(merged, as_dict(whole))
    assert whole.together.diagonal().tolist() == whole.load.sum(axis=0).tolist()
    assert whole.active[0] == 0


def test_a_split_of_images_against_one_token_at_a_time(images: ImageSplit) -> None:
    torch.manual_seed(0)
    model = build_model(NETWORK)
    report: list[Routing] = []
    with torch.no_grad():
        model.eval()(images.images, report)
    model.train()
    counts = count_routings(model, images)
    assert all(module.training for module in model.modules())
    assert [one.experts for one in counts] == [6, 4, 1]
    for one, routing in zip(counts, report, strict=True):
        assert one.groups == tuple("0123456789")
        assert_same(one, brute_force(routing.chosen, routing.gates, images.labels.tolist(), 10))
    loads = tuple(tuple(one.load.sum(axis=0).tolist()) for one in counts)
    assert loads == evaluate(model, images).load


def test_a_plain_block_has_no_experts_to_count(images: ImageSplit) -> None:
    blocks = Experts(4, Schedule((0, 3, 0, 2)), TopK(1), dense_hidden=5)
    model = build_model(replace(NETWORK, blocks=blocks))
    counts = count_routings(model, images)
    assert [one.experts for one in counts] == [0, 3, 0, 2]
    loads = tuple(tuple(one.load.sum(axis=0).tolist()) for one in counts)
    assert loads == evaluate(model, images).load
    assert utilization_table(counts)["layer"].tolist() == [2, 4]
    assert active_table(counts)["layer"].unique().tolist() == [2, 4]


@pytest.mark.slow
def test_a_split_of_text_against_one_token_at_a_time(windows: TextSplit) -> None:
    model = language_model()
    ids = frequent_tokens(windows, most=5)
    routings: list[list[Routing]] = []
    for inputs, _ in windows.batches(7):
        routings.append([])
        with torch.no_grad():
            model.eval()(inputs, routings[-1])
    tokens = windows.tokens[:-1].tolist()
    group = [ids.index(one) if one in ids else 5 for one in tokens]
    layers = zip(*routings, strict=True)
    for one, batches in zip(count_routings(model, windows, ids), layers, strict=True):
        assert one.groups == (*map(str, ids), REST)
        chosen = torch.cat([routing.chosen for routing in batches])
        gates = torch.cat([routing.gates for routing in batches])
        assert_same(one, brute_force(chosen, gates, group, 6))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_loads_are_those_of_an_evaluation(windows: TextSplit, precision: str) -> None:
    model = language_model()
    counts = count_routings(model, windows, precision=precision)
    loads = tuple(tuple(one.load.sum(axis=0).tolist()) for one in counts)
    assert loads == evaluate(model, windows, precision).load


def test_workers_of_parts_of_a_split_count_the_same(windows: TextSplit) -> None:
    model, ids = language_model(), frequent_tokens(windows)
    middle = 16 * 32
    parts = [
        replace(windows, tokens=tokens)
        for tokens in (windows.tokens[: middle + 1], windows.tokens[middle:])
    ]
    first, second = (count_routings(model, one, ids) for one in parts)
    for one, other, whole in zip(first, second, count_routings(model, windows), strict=True):
        assert_same(one + other, as_dict(whole))
    with pytest.raises(InvalidInput, match="give the same token ids to every worker"):
        first[0] + count_routings(model, windows, ids[:3])[0]
    with pytest.raises(InvalidInput, match="counts of 5 and 2 experts"):
        first[0] + first[1]


def test_the_most_frequent_tokens_are_of_the_inputs(windows: TextSplit) -> None:
    inputs = torch.cat([inputs.flatten() for inputs, _ in windows.batches(8)]).tolist()
    counted = sorted(Counter(inputs).items(), key=lambda pair: (-pair[1], pair[0]))
    assert frequent_tokens(windows) == tuple(token for token, _ in counted)
    assert frequent_tokens(windows, most=3) == tuple(token for token, _ in counted[:3])


def test_a_long_split_is_counted_in_pieces(monkeypatch, windows: TextSplit) -> None:
    expected = frequent_tokens(windows)
    monkeypatch.setattr("dynamoe_search.measure.routing_counts._TOKENS_AT_ONCE", 100)
    assert frequent_tokens(windows) == expected


def test_what_cannot_be_counted_is_refused(images: ImageSplit, windows: TextSplit) -> None:
    with pytest.raises(InvalidInput, match="the network is dense"):
        count_routings(build_model(dense_baseline(NETWORK, "total")), images)
    for ids in ([257], [-1], [3, 3]):
        with pytest.raises(InvalidInput, match="give different ids from 0 to 256"):
            count_routings(language_model(), windows, ids)
