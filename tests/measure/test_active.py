from collections import Counter

import pytest
import torch

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.data import embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.active import active_by_layer, compare_routers
from dynamoe_search.models import build_model
from dynamoe_search.models.routing import Routing
from dynamoe_search.report.utilization import plot_active
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
)


def titled(*routers: Router) -> dict[str, Router]:
    return {router.name: router for router in routers}


VARIABLE = [TopP(0.7), Relative(0.3), Threshold(2.5)]


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("experts", [4, 5, 16])
def test_the_sources_rule_has_one_k_and_the_others_spread_it(tau: float, experts: int) -> None:
    table = compare_routers(titled(Percentile(tau), *VARIABLE), experts)
    used = table[table["share"] > 0]
    percentile = used[used["router"] == "percentile"]
    assert percentile["share"].tolist() == [1.0]
    assert percentile["active"].item() == Percentile(tau).active_bounds(experts)[0]
    for router in VARIABLE:
        assert (used["router"] == router.name).sum() >= 2
    assert table.groupby("router")["share"].sum().tolist() == pytest.approx([1.0] * 4)


def test_the_spread_of_a_network_is_counted_token_by_token() -> None:
    torch.manual_seed(0)
    split = embedded_digits(seed=0).validation
    routers = (TopP(0.4), TopK(2), Relative(0.8))
    model = build_model(Classifier(64, 10, 16, Experts(8, Schedule((6, 4, 3)), routers)))
    table = active_by_layer(model, split)
    report: list[Routing] = []
    model(split.images, report)
    for layer, routing in enumerate(report, start=1):
        rows = table[table["layer"] == layer]
        assert rows["experts"].unique().tolist() == [routing.chosen.shape[1]]
        counted = Counter(routing.active.tolist())
        for row in rows.itertuples():
            assert row.share == pytest.approx(counted[row.active] / len(split))


def test_two_routers_of_one_kind_and_none() -> None:
    table = compare_routers({"few": TopP(0.3), "many": TopP(0.9)})
    assert table.groupby("router")["share"].sum().tolist() == pytest.approx([1.0, 1.0])
    network = Classifier(64, 10, 16, Experts(8, Schedule((2, 2))))
    with pytest.raises(InvalidInput, match="the network is dense"):
        active_by_layer(
            build_model(dense_baseline(network, "total")), embedded_digits(seed=0).validation
        )


def test_of_a_language_model_too() -> None:
    data = embedded_topics(context=32)
    model = build_model(LanguageModel(257, 32, 16, 2, Experts(8, Schedule((4, 2)), TopP(0.6))))
    table = active_by_layer(model, data.test)
    assert table.groupby("layer")["share"].sum().tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.slow
def test_the_plot_has_a_panel_a_router() -> None:
    figure = plot_active(compare_routers(titled(Percentile(), *VARIABLE)))
    assert [axes.get_title() for axes in figure.axes] == [
        "percentile: K = 4 for every token",
        "top_p: K from 1 to 5",
        "relative: K from 1 to 8",
        "threshold: K from 1 to 5",
    ]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0, 0, 0, 1, 0, 0, 0, 0]
