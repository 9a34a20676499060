"""What is said and drawn of a model's routing."""

from collections.abc import Sequence

import numpy as np

from dynamoe_search.interop.observed import ObservedRouting
from dynamoe_search.measure.counts import RoutingCounts
from dynamoe_search.report.routing import (
    metrics_table,
    routing_plots,
    routing_sentences,
    routing_tables,
)


def seen(*layers: Sequence[Sequence[int]], experts: int = 4) -> ObservedRouting:
    """A model's routing, from the experts of each token of each layer; none: a dense layer."""
    counts = [
        RoutingCounts.of_indices(np.array(one), experts)
        if len(one)
        else RoutingCounts.nothing(["all"])
        for one in layers
    ]
    return ObservedRouting(lambda: counts)


PAIRS = [[0, 1], [0, 1], [0, 2], [1, 2]]


def test_a_worked_example() -> None:
    routing = seen((), PAIRS, [[0, 1], [2, 3], [0, 2], [1, 3]])
    assert routing_sentences(routing) == [
        "4 tokens were routed in each of 2 layers. Layers and experts count from 1 here: the"
        " model's layer 0 is layer 1.",
        "1 of the 8 experts is dead; K per layer is 2.00.",
        "Layer 2 is used least evenly: 3.0 effective of 4 experts, entropy 0.78 ln N.",
        "The busiest expert, in layer 2, has 1.5 times the even load.",
    ]
    layers, pairs = routing_tables(routing)
    names = [column.header for column in layers.columns]
    assert names == ["layer", "N", "K", "entropy", "effective", "dead", "MaxVio", "Gini"]
    assert layers.caption == "entropy: of the load, over ln N"
    assert layers.rows[0] == ["2", "4", "2.00 ± 0.00", "0.781", "2.95", "1", "0.50", "0.31"]
    # Experts 1 and 2 are used by 3 of 4 tokens each, both by 2: by chance 9/16 over 15/16.
    assert pairs.rows[0] == ["2", "1 and 2", "2", "0.500", "0.600"]
    assert pairs.rows[1][0] == "3"


def test_one_expert_a_token_has_no_pairs() -> None:
    tables = routing_tables(seen([[0], [1], [0]]))
    assert [table.title for table in tables] == ["layers"]


def test_plots_and_metrics() -> None:
    counts = seen(PAIRS).counts[0] + RoutingCounts.of_indices(np.array([[3]]), 4)
    routing = ObservedRouting(lambda: [counts])
    plots = routing_plots(routing)
    assert [axes.get_title() for axes in plots["active"].axes] == ["layer 1: K from 1 to 2"]
    title = plots["load"].axes[0].get_title(loc="left")
    assert title.endswith("layer 1 is the least even: its entropy is 0.95 ln N")
    assert set(routing_plots(seen(PAIRS))) == {"load"}
    assert metrics_table(routing).rows[0] == ["moe/cv_mean", "0.4255"]


def test_a_deep_model_has_no_plot_of_k() -> None:
    counts = seen(PAIRS).counts[0] + RoutingCounts.of_indices(np.array([[3]]), 4)
    assert set(routing_plots(ObservedRouting(lambda: [counts] * 13))) == {"load"}
