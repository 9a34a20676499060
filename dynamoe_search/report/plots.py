"""Plots: each takes a table or schedules, and gives a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamoe_search.report.leaderboard import make_leaderboard
from dynamoe_search.schedules import Schedule

# Okabe and Ito's colours, which every kind of colour vision tells apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
_ROWS_OF_THE_BOARD = 15


def plot_schedules(schedules: Mapping[str, Schedule]) -> Figure:
    """Bars of the experts a layer, a panel for each named schedule.

    Parameters
    ----------
    schedules : mapping of str to Schedule
        By title.

    Returns
    -------
    Figure
    """
    figure, panels = _panels(len(schedules), width=2.9, height=2.1, shared_label="experts")
    for axes, (title, schedule) in zip(panels, schedules.items(), strict=True):
        layers = np.arange(1, schedule.depth + 1)
        axes.bar(layers, schedule.counts, color=BLUE, width=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0.4, schedule.depth + 0.6)
        if schedule.depth <= 12:
            axes.set_xticks(layers)
        axes.tick_params(labelsize=8)
        axes.set_xlabel("layer", fontsize=9)
    return figure


def _panels(
    count: int, width: float, height: float, shared_label: str
) -> tuple[Figure, list[Axes]]:
    """So many panels of that size in inches, up to four a row, with one y axis."""
    columns = min(4, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns + 0.4, height * rows + 0.3), layout="constrained")
    with sns.axes_style("ticks"):
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(shared_label, fontsize=9)
    panels = list(grid.flat[:count])
    for axes in panels:
        sns.despine(ax=axes)
    return figure, panels


def plot_active(table: pd.DataFrame) -> Figure:
    """How K spreads over the tokens, a panel a router or layer.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.analysis.compare_routers` or `active_by_layer` gives it.

    Returns
    -------
    Figure
    """
    if "router" in table:
        parts = dict(list(table.groupby("router", sort=False)))
    else:
        parts = {f"layer {layer}": rows for layer, rows in table.groupby("layer")}
    figure, panels = _panels(len(parts), width=3.1, height=2.3, shared_label="share of tokens")
    for axes, (name, panel) in zip(panels, parts.items(), strict=True):
        axes.bar(panel["active"], panel["share"], color=BLUE, width=0.8)
        used = panel.loc[panel["share"] > 0, "active"]
        spread = f"K from {used.min()} to {used.max()}"
        if used.min() == used.max():
            spread = f"K = {used.min()} for every token"
        axes.set_title(f"{name}: {spread}", fontsize=10)
        axes.set_xlabel("experts a token uses, K", fontsize=9)
        axes.set_xlim(0.4, panel["active"].max() + 0.6)
    return figure


def plot_search(trials: pd.DataFrame) -> Figure:
    """A search at a glance: its history, and its leaders with their intervals.

    Parameters
    ----------
    trials : DataFrame
        As `dynamoe_search.search.load_trials` gives it.

    Returns
    -------
    Figure
    """
    board = make_leaderboard(trials)
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    with sns.axes_style("ticks"):
        history, leaders = figure.subplots(1, 2, width_ratios=[1, 1.15])
    _plot_history(history, trials)
    _plot_leaders(leaders, board)
    return figure


def _plot_history(axes: Axes, trials: pd.DataFrame) -> None:
    complete = trials[trials["state"] == "complete"].sort_values("finished")
    number = np.arange(1, len(complete) + 1)
    first = complete["replicate"] == 0
    named = complete["pattern"] != ""
    for mask, label, colour, marker in (
        (first & named, "named schedule", ORANGE, "D"),
        (first & ~named, "found by the search", BLUE, "o"),
        (~first, "further replicate", GREY, "."),
    ):
        losses = complete["validation_loss"][mask]
        axes.scatter(number[mask], losses, s=26, c=colour, marker=marker, label=label, zorder=3)
    axes.step(number, _leading_means(complete), where="post", color=GREEN, label="leader's mean")
    # A diverging few should not flatten the rest.
    lowest, high = complete["validation_loss"].quantile([0, 0.95])
    top = high + max(0.25 * (high - lowest), 0.01 * high)
    axes.set_ylim(top=top)
    hidden = int((complete["validation_loss"] > top).sum())
    axes.set_xlabel(f"training ({hidden} of higher loss not shown)" if hidden else "training")
    axes.set_ylabel("validation loss (nats)")
    axes.set_title("Each training, and the mean of the schedule in the lead", fontsize=10)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    sns.despine(ax=axes)


def _leading_means(complete: pd.DataFrame) -> list[float]:
    losses: dict[str, list[float]] = {}
    leading = []
    for schedule, loss in zip(complete["schedule"], complete["validation_loss"], strict=True):
        losses.setdefault(schedule, []).append(loss)
        leading.append(min(float(np.mean(values)) for values in losses.values()))
    return leading


def _plot_leaders(axes: Axes, board: pd.DataFrame) -> None:
    shown = board[(board["rank"] <= _ROWS_OF_THE_BOARD) | (board["pattern"] != "")]
    shown = shown.reset_index(drop=True)
    place = np.arange(len(shown))
    for is_named, colour in ((True, ORANGE), (False, BLUE)):
        part = shown[(shown["pattern"] != "") == is_named]
        width = (part["loss_high"] - part["loss"]).fillna(0.0)
        axes.errorbar(
            part["loss"], place[part.index], xerr=width, fmt="none", ecolor=colour, elinewidth=1.5
        )
        for is_tied, face in ((True, colour), (False, "white")):
            dots = part[part["tied_with_best"] == is_tied]
            axes.scatter(
                dots["loss"], place[dots.index], s=34, facecolors=face, edgecolors=colour, zorder=3
            )
    labels = [f"{row.pattern or row.schedule}  ({row.replicates}x)" for row in shown.itertuples()]
    axes.set_yticks(place, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("mean validation loss (nats) and 95 % interval")
    tied = int(board["tied_with_best"].sum()) - 1
    axes.set_title(
        f"{tied} of {len(board) - 1} other schedules cannot be told from the best\n"
        "(filled: within noise of the best; orange: named)",
        fontsize=10,
        loc="right",  # over the labels, where there is room
    )
    sns.despine(ax=axes)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its ending says the format."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=150)
