"""How far a search had come after each training: the search curve, in sentences and as a plot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.leaderboard import make_leaderboard
from dynamoe_search.report.plots import BLUE, GREEN, ORANGE, one_panel


def search_curve(runs: pd.DataFrame) -> pd.DataFrame:
    """Who led after each training, and how much worse it is than the best, by all that is known.

    The leader of a moment is the candidate of the lowest mean of the trainings up to then, among
    those that meet the constraints in most of these. It is judged by its mean of all trainings of
    the study, so that its luck of the moment is not credited to it. Regret so far ends at 0, since
    the last leader is the best that is known: a better one may never have been trained.

    Parameters
    ----------
    runs : DataFrame
        As `dynamoe_search.run.results.load_runs` gives it.

    Returns
    -------
    DataFrame
        A row a complete training, in the order in which they ended: ``training`` (from 1),
        ``leader`` (missing while no candidate meets the constraints), ``regret`` (in nats), and
        ``tied``: whether the leader's difference to the best is within what noise does (Tukey and
        Kramer, see `make_leaderboard`).

    Raises
    ------
    InvalidInput
        Where no training is complete, or none meets the constraints.
    """
    board = make_leaderboard(runs)
    board.index = pd.Index((board["schedule"] + " " + board["settings"]).str.rstrip())
    if not board["feasible"].iloc[0]:
        raise InvalidInput("no candidate meets the constraints, so that none is best")
    complete = runs[runs["state"] == "complete"].sort_values("finished", kind="stable")
    leaders = _leaders(complete)
    known = board.reindex(leaders)
    return pd.DataFrame(
        {
            "training": np.arange(1, len(complete) + 1),
            "leader": leaders,
            "regret": known["loss"].to_numpy() - board["loss"].iloc[0],
            "tied": known["tied_with_best"].eq(True).to_numpy(),
        }
    )


def _leaders(complete: pd.DataFrame) -> list[str | None]:
    """The candidate in the lead after each training; None while none meets the constraints."""
    seen: dict[str, list[tuple[float, bool]]] = {}
    leading: list[str | None] = []
    for candidate, loss, feasible in zip(
        complete["candidate"], complete["validation_loss"], complete["feasible"], strict=True
    ):
        seen.setdefault(candidate, []).append((loss, feasible))
        means = {
            name: np.mean([loss for loss, _ in trainings])
            for name, trainings in seen.items()
            if np.mean([met for _, met in trainings]) > 0.5
        }
        leading.append(min(means, key=lambda name: means[name]) if means else None)
    return leading


def regret_sentences(curve: pd.DataFrame) -> list[str]:
    """How soon the search had found what it could not tell from its best.

    Parameters
    ----------
    curve : DataFrame
        As `search_curve` gives it.
    """
    final = curve["leader"].iloc[-1]
    led = curve["leader"].eq(final)
    return [
        f"{_finding(curve)}.",
        f"The last leader, {final}, led for the first time after training"
        f" {curve.loc[led, 'training'].iloc[0]}, and was in the lead after"
        f" {int(led.sum())} of {len(curve)} trainings.",
        "Regret is to the best of this study by all its trainings: it ends at 0 whether or not a"
        " better schedule exists.",
    ]


def _finding(curve: pd.DataFrame) -> str:
    apart = curve.loc[~curve["tied"], "training"]
    since = int(apart.max()) + 1 if len(apart) else 1
    return (
        f"From training {since} of {len(curve)} on, the leader could not be told from the last one"
    )


def plot_regret(runs: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The regret of the leader after each training: to the best of the study, by all that is known.

    Parameters
    ----------
    runs : DataFrame
        As `dynamoe_search.run.results.load_runs` gives it.
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
        curve["training"], curve["regret"], where="post", color=BLUE, label="the leader of the time"
    )
    tied = curve[curve["tied"]]
    axes.scatter(
        tied["training"], tied["regret"], s=14, c=GREEN, zorder=3, label="within noise of the best"
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
