"""Plots of how busy the experts of a network are, and of how many a token uses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dynamoe_search.measure.utilization import effective_experts, normalized_entropy
from dynamoe_search.report.figure import (
    BLUE,
    COLOR_MAP,
    equal_panels,
    in_own_style,
    one_panel,
    panels,
    write_in_cell,
)

_MOST_NUMBERED = 16  # cells of a row that have room for a number
_DARK = 0.6  # of the color scale: white can be read on it up to here, black beyond
_DEAD = "\N{MULTIPLICATION SIGN}"
_PANELS = {
    "normalized_entropy": ("Evenness of the load (1: even)", "entropy over ln N"),
    "maximum_violation": ("MaxVio (0: even)", "largest load over the mean, less 1"),
    "dead_experts": ("Dead experts", "experts that no token used"),
    "mean_active": ("Mean K", "experts a token uses"),
    "router_entropy": ("Indecision of the router", "entropy of a token's gates (nats)"),
    "information": ("What experts say of a token's group", "information beyond chance (nats)"),
}


@in_own_style
def plot_load(table: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """A heat map of the load: a row for each layer, a cell for each expert, the busiest first.

    A row is as long as its layer has experts. Color is the load over that of evenly used experts,
    so that layers of different N can be compared.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.measure.utilization_tables.load_table` gives it, without groups.
    """
    shares = {
        int(layer): np.sort(rows["share"].to_numpy())[::-1]
        for layer, rows in table.groupby("layer")
    }
    most, depth = max(map(len, shares.values())), len(shares)
    relative = np.full((depth, most), np.nan)
    for row, share in enumerate(shares.values()):
        relative[row, : len(share)] = share * len(share)
    height = max(3.0, 1.5 + 0.36 * depth)  # room for the label of the colors
    figure, axes = one_panel(axes, min(12.0, 4.4 + 0.45 * most), height)
    edges = (np.arange(most + 1) + 0.5, np.arange(depth + 1) + 0.5)
    top = max(2.0, float(np.nanmax(relative)))
    cells = axes.pcolormesh(
        *edges,
        relative,
        cmap=COLOR_MAP,
        vmin=0,
        vmax=top,
        edgecolors="white",
        linewidth=min(1.5, 24 / most),  # so that narrow cells can be seen
    )
    figure.colorbar(cells, ax=axes, label="load over the even share (1: even)")
    for row, share in enumerate(shares.values(), start=1):
        for place, part in enumerate(share, start=1):
            is_dark = part * len(share) < _DARK * top
            write_in_cell(axes, place, row, _percent(part, most), is_dark)
    axes.set_yticks(range(1, depth + 1), [str(layer) for layer in shares])
    axes.invert_yaxis()
    axes.set_ylabel("layer")
    axes.set_xticks(range(1, most + 1, 1 + most // 24))
    numbers = f"; number: % of the layer's load, {_DEAD}: dead" if most <= _MOST_NUMBERED else ""
    axes.set_xlabel(f"experts of the layer, the busiest first{numbers}", fontsize=9)
    axes.set_title(_load_title(shares), fontsize=10, loc="left")
    effective = [f"{effective_experts(share):.1f} of {len(share)}" for share in shares.values()]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(1, depth + 1), effective)
    right.set_ylabel("effective experts")
    for one in (axes, right):
        one.tick_params(length=0, labelsize=9)
        one.spines[:].set_visible(False)
    return figure


def _percent(share: float, experts: int) -> str:
    if share == 0:
        return _DEAD
    if experts > _MOST_NUMBERED:
        return ""
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"


def _load_title(shares: Mapping[int, NDArray[np.float64]]) -> str:
    experts = sum(map(len, shares.values()))
    dead = sum(int((share == 0).sum()) for share in shares.values())
    title = f"{dead or 'None'} of the {experts} experts {'are' if dead > 1 else 'is'} dead"
    least = min(shares, key=lambda layer: normalized_entropy(shares[layer]))
    evenness = normalized_entropy(shares[least])
    if evenness == 1:
        return f"{title}; all layers are used evenly"
    return f"{title}; layer {least} is the least even: its entropy is {evenness:.2f} ln N"


@in_own_style
def plot_utilization(history: pd.DataFrame) -> Figure:
    """How the use of experts changes over a training run: a panel per quantity, a line per layer.

    Parameters
    ----------
    history : DataFrame
        As `dynamoe_search.measure.recorder.TrainingRecorder.table` gives it.
    """
    history = history.assign(
        information=history["mutual_information"] - history["chance_information"]
    )
    layers = history["layer"].unique()
    figure, grid = panels(2, 3, 11, 6.2, sharex=True)
    by_quantity = dict(zip(_PANELS, grid.flat, strict=True))
    # The lightest of the colors would be lost on white.
    colors = colormaps[COLOR_MAP](np.linspace(0, 0.88, len(layers)))
    for quantity, axes in by_quantity.items():
        for color, layer in zip(colors, layers, strict=True):
            rows = history[history["layer"] == layer]
            label = f"layer {layer} (N = {rows['experts'].iloc[0]})"
            look = {"ms": 3.5, "color": color, "label": label}
            axes.plot(100 * rows["fraction"], rows[quantity], "o-", **look)
        title, unit = _PANELS[quantity]
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(unit, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in grid[1]:
        axes.set_xlabel("part of the training (%)", fontsize=9)
    by_quantity["normalized_entropy"].set_xlim(0, 102)
    by_quantity["normalized_entropy"].set_ylim(top=1.02)
    for quantity in ("maximum_violation", "mean_active", "router_entropy"):
        by_quantity[quantity].set_ylim(bottom=0)
    dead = by_quantity["dead_experts"]
    dead.set_ylim(-0.05, max(1, history["dead_experts"].max()) + 0.05)
    dead.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(_history_title(history), fontsize=11, wrap=True)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return figure


def _history_title(history: pd.DataFrame) -> str:
    means = history.groupby("fraction")["normalized_entropy"].mean()
    first, last = f"{means.iloc[0]:.2f}", f"{means.iloc[-1]:.2f}"
    dead = int(history.loc[history["fraction"] == history["fraction"].max(), "dead_experts"].sum())
    course = f"stays at {last}" if first == last else f"goes from {first} to {last}"
    experts = "experts are" if dead > 1 else "expert is"
    return (
        f"The load entropy {course} of ln N (mean over layers);"
        f" {dead or 'no'} {experts} dead at the end"
    )


@in_own_style
def plot_active(table: pd.DataFrame) -> Figure:
    """How K spreads over the tokens, a panel for each router or layer.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.measure.active.compare_routers` or `active_by_layer` gives it.
    """
    if "router" in table:
        parts = dict(list(table.groupby("router", sort=False)))
    else:
        parts = {f"layer {layer}": rows for layer, rows in table.groupby("layer")}
    figure, row = equal_panels(len(parts), width=3.1, height=2.3, label="share of tokens")
    for axes, (name, panel) in zip(row, parts.items(), strict=True):
        axes.bar(panel["active"], panel["share"], color=BLUE, width=0.8)
        used = panel.loc[panel["share"] > 0, "active"]
        spread = f"K from {used.min()} to {used.max()}"
        if used.min() == used.max():
            spread = f"K = {used.min()} for every token"
        axes.set_title(f"{name}: {spread}", fontsize=10)
        axes.set_xlabel("experts a token uses, K", fontsize=9)
        axes.set_xlim(0.4, panel["active"].max() + 0.6)
    return figure
