"""How far a search had come after each training: the search curve, in sentences and as a plot."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.decision.regret import search_curve
from dynamoe_search.report.plots import BLUE, GREEN, ORANGE, one_panel


def regret_sentences(curve: pd.DataFrame) -> list[str]:
    """How soon the search had found what it could not tell from its best.

    Parameters
    ----------
    curve : DataFrame
        As `search_curve` gives it.
    """
    final = curve["candidate"].iloc[-1]
    led = curve["candidate"].eq(final)
    return [
        f"{_finding(curve)}.",
        f"The last leader, {final}, led for the first time after training"
        f" {curve.loc[led, 'completed'].iloc[0]}, and was in the lead after"
        f" {int(led.sum())} of {len(curve)} trainings.",
        "Regret is to the best of this study by all its trainings: it ends at 0 whether or not a"
        " better schedule exists.",
    ]


def _finding(curve: pd.DataFrame) -> str:
    apart = curve.loc[~curve["indistinguishable"], "completed"]
    since = int(apart.max()) + 1 if len(apart) else 1
    return (
        f"From training {since} of {len(curve)} on, the leader could not be told from the last one"
    )


def plot_regret(runs: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The regret of the leader after each training: to the best of the study, by all that is known.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.
    axes : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Figure

    Raises
    ------
    InvalidInput
        As `search_curve`.
    """
    curve = search_curve(runs)
    figure, axes = one_panel(axes, 5.4, 3.8)
    axes.step(
        curve["completed"],
        curve["regret"],
        where="post",
        color=BLUE,
        label="the leader of the time",
    )
    tied = curve[curve["indistinguishable"]]
    axes.scatter(
        tied["completed"], tied["regret"], s=14, c=GREEN, zorder=3, label="within noise of the best"
    )
    board = make_leaderboard(runs)
    named = board[board["feasible"] & (board["pattern"] != "")]
    if len(named):
        best = named.iloc[0]
        axes.axhline(
            best["loss"] - board["loss"].iloc[0],
            color=ORANGE,
            ls="--",
            lw=1.2,
            label=f"best named schedule: {best['pattern']}",
        )
    top = axes.get_ylim()[1]
    axes.set_ylim(-0.03 * top, top)  # so that a line at 0 is seen
    axes.set_xlabel("training")
    axes.set_ylabel("regret so far (nats of validation loss)")
    axes.set_title(_finding(curve).replace(" on, ", " on,\n"), fontsize=10)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    sns.despine(ax=axes)
    return figure
