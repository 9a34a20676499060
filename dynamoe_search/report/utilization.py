"""Plots of what goes on in a network: how busy its experts are, and how its tokens differ."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.utilization import effective_experts, normalized_entropy
from dynamoe_search.report.plots import BLUE, GRAY, INK, LOOKS, PAPER, one_panel

_COLORS = mpl.colormaps["cividis"]  # read alike by every kind of color vision, and in gray
_DARK = 0.6  # of its range: white can be read up to here, black beyond
_MOST_NUMBERED = 16  # cells of a row that have room for a number
_DEAD = "\N{MULTIPLICATION SIGN}"
_PANELS = {
    "normalized_entropy": ("Evenness of the load (1: even)", "entropy over ln N"),
    "maximum_violation": ("MaxVio (0: even)", "largest load over the mean, less 1"),
    "dead_experts": ("Dead experts", "experts that no token used"),
    "mean_active": ("Mean K", "experts a token uses"),
    "router_entropy": ("Indecision of the router", "entropy of a token's gates (nats)"),
    "information": ("What experts tell of a token's group", "information beyond chance (nats)"),
}


def plot_load(table: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """A heat map of the load: a row a layer, a cell an expert, the busiest first.

    A row is as long as its layer has experts. Color is the load over that of evenly used experts,
    so that layers of different N can be compared.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.measure.utilization_tables.load_table` gives it, without groups.
    axes : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Figure
    """
    shares = {
        int(layer): np.sort(rows["share"].to_numpy())[::-1]
        for layer, rows in table.groupby("layer")
    }
    most, depth = max(map(len, shares.values())), len(shares)
    relative = np.full((depth, most), np.nan)
    for row, share in enumerate(shares.values()):
        relative[row, : len(share)] = share * len(share)
    figure, axes = one_panel(axes, min(12.0, 4.4 + 0.45 * most), 1.5 + 0.36 * depth)
    edges = (np.arange(most + 1) + 0.5, np.arange(depth + 1) + 0.5)
    top = max(2.0, float(np.nanmax(relative)))
    cells = axes.pcolormesh(
        *edges, relative, cmap=_COLORS, vmin=0, vmax=top, edgecolors="white", linewidth=1.5
    )
    figure.colorbar(cells, ax=axes, label="load over the even share (1: even)")
    for row, share in enumerate(shares.values(), start=1):
        for place, part in enumerate(share, start=1):
            is_dark = part * len(share) < _DARK * top
            _number_cell(axes, place, row, _percent(part, most), is_dark)
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


def _number_cell(axes: Axes, x: float, y: float, text: str, is_dark: bool) -> None:
    ink = PAPER if is_dark else INK
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=ink)


def _load_title(shares: Mapping[int, NDArray[np.float64]]) -> str:
    experts = sum(map(len, shares.values()))
    dead = sum(int((share == 0).sum()) for share in shares.values())
    title = f"{dead or 'None'} of the {experts} experts {'are' if dead > 1 else 'is'} dead"
    least = min(shares, key=lambda layer: normalized_entropy(shares[layer]))
    evenness = normalized_entropy(shares[least])
    if evenness == 1:
        return f"{title}; all layers are used evenly"
    return f"{title}; layer {least} is the least even: its entropy is {evenness:.2f} ln N"


def plot_utilization(history: pd.DataFrame) -> Figure:
    """How the use of experts changes over a training: a panel a quantity, a line a layer.

    Parameters
    ----------
    history : DataFrame
        As `dynamoe_search.measure.recorder.TrainingRecorder.table` gives it.

    Returns
    -------
    Figure
    """
    history = history.assign(
        information=history["mutual_information"] - history["chance_information"]
    )
    layers = history["layer"].unique()
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    with sns.axes_style("ticks"):
        panels = dict(zip(_PANELS, figure.subplots(2, 3, sharex=True).flat, strict=True))
    # The lightest of the colors would be lost on white.
    colors = _COLORS(np.linspace(0, 0.88, len(layers)))
    for quantity, axes in panels.items():
        for color, layer in zip(colors, layers, strict=True):
            rows = history[history["layer"] == layer]
            label = f"layer {layer} (N = {rows['experts'].iloc[0]})"
            axes.plot(
                100 * rows["fraction"], rows[quantity], "o-", ms=3.5, color=color, label=label
            )
        title, unit = _PANELS[quantity]
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(unit, fontsize=9)
        axes.tick_params(labelsize=8)
        sns.despine(ax=axes)
    for axes in list(panels.values())[3:]:
        axes.set_xlabel("part of the training (%)", fontsize=9)
    panels["normalized_entropy"].set_xlim(0, 102)
    panels["normalized_entropy"].set_ylim(top=1.02)
    for quantity in ("maximum_violation", "mean_active", "router_entropy"):
        panels[quantity].set_ylim(bottom=0)
    panels["dead_experts"].set_ylim(-0.05, max(1, history["dead_experts"].max()) + 0.05)
    panels["dead_experts"].yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(_history_title(history), fontsize=11)
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


def plot_representation(ranks: pd.DataFrame, likeness: pd.DataFrame) -> Figure:
    """How varied the tokens are that enter each block, and how alike those of two blocks.

    Parameters
    ----------
    ranks : DataFrame
        As `dynamoe_search.measure.representation.rank_table` gives it.
    likeness : DataFrame
        As `dynamoe_search.measure.representation.cka_table` gives it, of the same network.

    Returns
    -------
    Figure
    """
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    with sns.axes_style("ticks"):
        variety, alike = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _plot_ranks(variety, ranks)
    _plot_likeness(alike, likeness.pivot(index="layer", columns="other", values="cka"))
    return figure


def plot_rank_shares(
    table: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None
) -> Figure:
    """How varied the tokens are that enter each layer, a line a candidate.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.run.results.measurement_table` gives it for "representation".
    names : mapping of str to str
        The candidates to show, at most six, and what each is called.
    axes : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Figure

    Raises
    ------
    InvalidInput
        Where none of them was measured.
    """
    shares = table.groupby(["candidate", "layer"])["rank_share"].mean().unstack("layer")
    shares = shares.loc[[candidate for candidate in names if candidate in shares.index]]
    if shares.empty:
        raise InvalidInput("the representations of none of them were measured")
    figure, axes = one_panel(axes, 5.4, 3.8)
    for (candidate, values), (color, dash, marker) in zip(shares.iterrows(), LOOKS, strict=False):
        axes.plot(
            values.index,
            values,
            marker=marker,
            ls=dash,
            ms=4,
            color=color,
            label=names[str(candidate)],
        )
    _layer_ticks(axes, len(shares.columns))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("layer that the tokens enter")
    axes.set_ylabel("effective rank over the width (1: all directions)")
    first, last = shares.iloc[0].iloc[[0, -1]]
    axes.set_title(
        f"{names[str(shares.index[0])]}: tokens fill {first:.0%} of the directions at the first"
        f" layer,\n{last:.0%} at the last",
        fontsize=10,
    )
    axes.legend(fontsize=8, frameon=False)
    sns.despine(ax=axes)
    return figure


def _plot_ranks(axes: Axes, ranks: pd.DataFrame) -> None:
    width = int(ranks["width"].iloc[0])
    axes.plot(ranks["layer"], ranks["effective_rank"], "o-", color=BLUE)
    axes.axhline(width, color=GRAY, lw=0.8, ls="--")
    axes.annotate(
        f"width d = {width}",
        (1, width),
        xytext=(0, -4),
        textcoords="offset points",
        va="top",
        xycoords=("axes fraction", "data"),
        ha="right",
        fontsize=8,
        color="dimgray",
    )
    axes.set_ylim(0, 1.05 * width)
    _layer_ticks(axes, len(ranks))
    axes.set_xlabel("layer that the tokens enter")
    axes.set_ylabel("effective rank of the tokens")
    axes.set_title(_rank_title(ranks), fontsize=10)
    sns.despine(ax=axes)


def _rank_title(ranks: pd.DataFrame) -> str:
    ordered = ranks.dropna().sort_values("effective_rank", kind="stable")
    if len(ordered) < 2:
        return "Effective rank"
    low, high = ordered.iloc[0], ordered.iloc[-1]
    return (
        f"The most varied tokens enter layer {high['layer']:.0f}, of effective rank"
        f" {high['effective_rank']:.1f},\nthe least varied layer {low['layer']:.0f}, of"
        f" {low['effective_rank']:.1f}"
    )


def _plot_likeness(axes: Axes, cka: pd.DataFrame) -> None:
    values, depth = cka.to_numpy(), len(cka)
    edges = np.arange(depth + 1) + 0.5
    low = float(np.nanmin(values, initial=0.0))
    cells = axes.pcolormesh(edges, edges, values, cmap=_COLORS, vmin=low, vmax=1)
    axes.figure.colorbar(cells, ax=axes, label="linear CKA (debiased)")
    if depth <= _MOST_NUMBERED // 2:
        for (row, column), value in np.ndenumerate(values):
            text = "?" if np.isnan(value) else f"{value:.2f}"
            is_dark = bool(value < low + _DARK * (1 - low))
            _number_cell(axes, column + 1, row + 1, text, is_dark)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    _layer_ticks(axes, depth)
    axes.set_yticks(axes.get_xticks())
    axes.set_ylim(depth + 0.5, 0.5)
    axes.set_xlabel("layer")
    axes.set_ylabel("layer")
    axes.set_title(_likeness_title(values), fontsize=10)
    axes.tick_params(length=0)
    sns.despine(ax=axes, left=True, bottom=True)


def _likeness_title(cka: NDArray[np.float64]) -> str:
    if len(cka) < 2 or np.isnan(cka).any():
        return "CKA of the tokens of two layers"
    neighbors = np.diagonal(cka, offset=1)
    return (
        f"Tokens of the first and the last layer have a CKA of {cka[0, -1]:.2f},\n"
        f"those of two neighbors at least {neighbors.min():.2f}"
    )


def _layer_ticks(axes: Axes, depth: int) -> None:
    axes.set_xlim(0.5, depth + 0.5)
    axes.set_xticks(range(1, depth + 1, 1 + depth // 13))
