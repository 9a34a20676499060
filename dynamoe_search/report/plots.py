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

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule

# Okabe and Ito's colors, which every kind of color vision tells apart.
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
# For lines, which shall differ without color, too: colors of theirs, dash and marker.
LOOKS = (
    (BLUE, "-", "o"),
    (ORANGE, "--", "D"),
    (GREEN, "-.", "s"),
    ("#CC79A7", ":", "^"),
    ("#E69F00", (0, (5, 1)), "v"),
    ("#56B4E9", (0, (3, 1, 1, 1)), "P"),
)
# For what stands on a color. A report shows pure black and white as the page's own ink and paper,
# which a dark page exchanges; on a color they must stay.
INK, PAPER = "#010101", "#fefefe"
_ROWS_OF_THE_BOARD = 15


def one_panel(axes: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes that were given, with their figure; else those of a new one, of a size in inches."""
    if axes is not None:
        return axes.figure.figure, axes
    figure = Figure(figsize=(width, height), layout="constrained")
    with sns.axes_style("ticks"):
        return figure, figure.subplots()


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
        As `dynamoe_search.measure.active.compare_routers` or `active_by_layer` gives it.

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


def plot_search(runs: pd.DataFrame) -> Figure:
    """A search at a glance: its history, and its leaders with their intervals.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.

    Returns
    -------
    Figure
    """
    board = make_leaderboard(runs)
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    with sns.axes_style("ticks"):
        history, leaders = figure.subplots(1, 2, width_ratios=[1, 1.15])
    plot_history(runs, history)
    plot_leaders(board, leaders)
    return figure


def plot_history(runs: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The loss of each training in the order in which they ended, and the mean of the leader.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it; complete trainings are shown.
    axes : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Figure

    Raises
    ------
    InvalidInput
        Where no training is complete.
    """
    if not (runs["state"] == "complete").any():
        raise InvalidInput("no training of this study is complete yet")
    figure, axes = one_panel(axes, 5.4, 4.4)
    complete = runs[runs["state"] == "complete"].sort_values("finished")
    number = np.arange(1, len(complete) + 1)
    first = complete["block"] == 0
    named = complete["pattern"] != ""
    for mask, label, color, marker in (
        (first & named, "named schedule", ORANGE, "D"),
        (first & ~named, "found by the search", BLUE, "o"),
        (~first, "further block", GRAY, "."),
    ):
        losses = complete["validation_loss"][mask]
        axes.scatter(number[mask], losses, s=26, c=color, marker=marker, label=label, zorder=3)
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
    return figure


def _leading_means(complete: pd.DataFrame) -> list[float]:
    losses: dict[str, list[float]] = {}
    leading = []
    for schedule, loss in zip(complete["schedule"], complete["validation_loss"], strict=True):
        losses.setdefault(schedule, []).append(loss)
        leading.append(min(float(np.mean(values)) for values in losses.values()))
    return leading


def plot_leaders(board: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The best schedules and all named ones: mean losses and their 95 % intervals.

    Parameters
    ----------
    board : DataFrame
        As `dynamoe_search.report.leaderboard.make_leaderboard` gives it.
    axes : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Figure
    """
    figure, axes = one_panel(axes, 5.4, 4.8)
    shown = board[(board["rank"] <= _ROWS_OF_THE_BOARD) | (board["pattern"] != "")]
    shown = shown.reset_index(drop=True)
    place = np.arange(len(shown))
    for is_named, color in ((True, ORANGE), (False, BLUE)):
        part = shown[(shown["pattern"] != "") == is_named]
        width = (part["loss_high"] - part["loss"]).fillna(0.0)
        axes.errorbar(
            part["loss"], place[part.index], xerr=width, fmt="none", ecolor=color, elinewidth=1.5
        )
        for is_tied, face in ((True, color), (False, "white")):
            dots = part[part["indistinguishable"] == is_tied]
            axes.scatter(
                dots["loss"], place[dots.index], s=34, facecolors=face, edgecolors=color, zorder=3
            )
    labels = [f"{row.pattern or row.schedule}  ({row.blocks}x)" for row in shown.itertuples()]
    axes.set_yticks(place, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("mean validation loss (nats) and 95 % interval")
    tied = int(board["indistinguishable"].sum()) - 1
    axes.set_title(
        f"{tied} of {len(board) - 1} other schedules cannot be told from the best\n"
        "(filled: within noise of the best; orange: named)",
        fontsize=10,
        loc="right",  # over the labels, where there is room
    )
    sns.despine(ax=axes)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its ending says the format."""
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=150)
