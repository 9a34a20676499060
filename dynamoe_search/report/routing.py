"""How a model that others built routes: sentences, tables and plots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from dynamoe_search.report.network import layer_table, use_sentences
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.utilization import plot_active, plot_load
from dynamoe_search.report.wording import span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dynamoe_search.interop.observed import ObservedRouting

_MOST_PANELS = 12  # of the plot of K, one for each layer


def routing_sentences(routing: ObservedRouting) -> list[str]:
    """How many tokens were seen, and how evenly the experts are used."""
    table = routing.utilization_table()
    least, most = table["tokens"].min(), table["tokens"].max()
    layers = f"{len(table)} layers" if len(table) > 1 else "one layer"
    busiest = table.loc[table["maximum_violation"].idxmax()]
    return [
        f"{span(f'{least:,}', f'{most:,}')} tokens were routed in each of {layers}. Layers and"
        " experts count from 1 here: the model's layer 0 is layer 1.",
        *use_sentences(table),
        f"The busiest expert, in layer {busiest['layer']:.0f}, has"
        f" {busiest['maximum_violation'] + 1:.1f} times the even load.",
    ]


def routing_tables(routing: ObservedRouting) -> list[Table]:
    """The use of experts by layer, and the pair of each layer that is most often used together."""
    tables = [layer_table(routing.utilization_table()), _pairs(routing)]
    return [table for table in tables if table.rows]


def _pairs(routing: ObservedRouting) -> Table:
    pairs = routing.co_activation_table().query("together > 0")
    strongest = pairs.loc[pairs.groupby("layer")["jaccard"].idxmax()]
    shares = routing.load_table().merge(routing.utilization_table()[["layer", "tokens"]])
    used = (shares["load"] / shares["tokens"]).set_axis(
        pd.MultiIndex.from_frame(shares[["layer", "expert"]])
    )
    rows = []
    for pair in strongest.itertuples():
        first, second = used[pair.layer, pair.expert], used[pair.layer, pair.other]
        by_chance = first * second / (first + second - first * second)
        rows.append(
            [
                f"{pair.layer}",
                f"{pair.expert} and {pair.other}",
                f"{pair.together:,}",
                f"{pair.jaccard:.3f}",
                f"{by_chance:.3f}",
            ]
        )
    columns = [
        Column("layer", is_number=True, is_name=True),
        *numbers("experts", "tokens", "Jaccard", "by chance"),
    ]
    about = (
        "Jaccard: the tokens that use both experts, over those that use either; by chance: the same"
        " if each were chosen as often, but independently"
    )
    return Table(columns, rows, "experts most often used together", about)


def routing_plots(routing: ObservedRouting) -> dict[str, Figure]:
    """By name: the load, and how K spreads where it varies within a layer of at most a dozen."""
    plots = {"load": plot_load(routing.load_table())}
    active = routing.active_table()
    varies = routing.utilization_table()["active_variance"].gt(0).any()
    if varies and active["layer"].nunique() <= _MOST_PANELS:
        plots["active"] = plot_active(active)
    return plots


def metrics_table(routing: ObservedRouting) -> Table:
    """The scalars that dashboards have, by the names of NeMo Automodel."""
    rows = [
        [name, "" if math.isnan(value) else f"{value:.4g}"]
        for name, value in routing.metrics().items()
    ]
    return Table([Column("metric", is_name=True), *numbers("value")], rows, "metrics")
