"""How a search went: its runs one after another, and the regret of who led.

``runs`` are those of `Study.training_runs`, of which complete ones are shown; ``curve`` is their
`dynamoe_search.decision.regret.search_curve`, and ``board`` their leaderboard.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.decision.regret import leaders_of_the_time
from dynamoe_search.report.figure import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    in_own_style,
    legend_below,
    one_panel,
    panels,
)
from dynamoe_search.report.leaderboard import plot_leaders
from dynamoe_search.statistics.candidates import complete_runs

_MOST_DRAWN = 1000  # points one by one; more are an image, which is smaller


@in_own_style
def plot_search(runs: pd.DataFrame) -> Figure:
    """A search at a glance: its history, and its leaders with their intervals."""
    figure, grid = panels(1, 2, 11, 4.8, width_ratios=[1, 1.15])
    plot_history(runs, grid[0, 0])
    plot_leaders(make_leaderboard(runs), grid[0, 1])
    return figure


@in_own_style
def plot_history(runs: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The loss of each seed in the order in which runs ended, and what is expected of the leader.

    Raises
    ------
    InvalidInput
        If no run is complete.
    """
    complete = complete_runs(runs).sort_values("finished")
    figure, axes = one_panel(axes, 5.4, 4.4)
    number = np.arange(1, len(complete) + 1)
    first = complete["block"] == 0
    named = complete["pattern"] != ""
    for mask, label, color, marker in (
        (first & named, "named schedule", ORANGE, "D"),
        (first & ~named, "found by the search", BLUE, "o"),
        (~first, "further seed block", GRAY, "."),
    ):
        losses = complete["validation_loss"][mask]
        dots: Any = {"s": 26, "c": color, "marker": marker, "label": label, "zorder": 3}
        dots["rasterized"] = len(complete) > _MOST_DRAWN
        axes.scatter(number[mask], losses, **dots)
    ends_run = ~complete["run"].duplicated(keep="last")
    leading = leaders_of_the_time(complete)["loss"]
    axes.step(number[ends_run], leading, where="post", color=GREEN, label="expected of the leader")
    # A few that diverge should not flatten the rest.
    lowest, high = complete["validation_loss"].quantile([0, 0.95])
    top = high + max(0.25 * (high - lowest), 0.01 * high)
    axes.set_ylim(top=top)
    hidden = int((complete["validation_loss"] > top).sum())
    beyond = f" ({hidden} of higher loss not shown)" if hidden else ""
    axes.set_xlabel(f"trained seed{beyond}")
    axes.set_ylabel("validation loss (nats)")
    axes.set_title("Each seed of each run, and what is expected of the leader", fontsize=10)
    legend_below(axes)
    return figure


def regret_sentences(curve: pd.DataFrame) -> list[str]:
    """How soon a search had found what is not distinguishable from its best."""
    final = curve["candidate"].iloc[-1]
    led = curve["candidate"].eq(final)
    return [
        f"{_finding(curve)}.",
        f"The last leader, {final}, led for the first time after run"
        f" {curve.loc[led, 'completed'].iloc[0]}, and was in the lead after"
        f" {int(led.sum())} of {len(curve)} runs.",
        "Regret is measured against the best of this study, judged by all its runs: it ends at 0"
        " whether or not a better schedule exists.",
    ]


def _finding(curve: pd.DataFrame) -> str:
    worse = curve.loc[~curve["indistinguishable"], "completed"]
    since = int(worse.max()) + 1 if len(worse) else 1
    return (
        f"From run {since} of {len(curve)} on, the leader was statistically indistinguishable from"
        " the last one"
    )


@in_own_style
def plot_regret(curve: pd.DataFrame, board: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The regret of the leader after each run, against the best of the study."""
    figure, axes = one_panel(axes, 5.4, 3.8)
    label = "leader at the time"
    axes.step(curve["completed"], curve["regret"], where="post", color=BLUE, label=label)
    equal = curve[curve["indistinguishable"]]
    dots: Any = {"s": 14, "c": GREEN, "zorder": 3, "label": "within noise of the best"}
    axes.scatter(equal["completed"], equal["regret"], **dots)
    named = board[board["feasible"] & (board["pattern"] != "")]
    for best in named.head(1).itertuples():
        label = f"best named schedule: {best.pattern}"
        regret = best.loss - board["loss"].iloc[0]
        axes.axhline(regret, color=ORANGE, ls="--", lw=1.2, label=label)
    top = axes.get_ylim()[1]
    axes.set_ylim(-0.03 * top, top)  # so that a line at 0 is seen
    axes.set_xlabel("training run")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("regret so far (nats of validation loss)")
    axes.set_title(_finding(curve).replace(" on, ", " on,\n"), fontsize=10)
    legend_below(axes)
    return figure
