"""A study's decision as a picture: how much worse each candidate can be than the best of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dynamoe_search.decision.posterior import Posterior
from dynamoe_search.report.figure import (
    BLUE,
    GREEN,
    ORANGE,
    in_own_style,
    intervals,
    one_panel,
    panels,
)
from dynamoe_search.report.history import plot_history
from dynamoe_search.statistics.intervals import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEADERS = 8


@in_own_style
def plot_decision(
    posterior: Posterior, names: Mapping[str, str], margin: float, axes: Axes | None = None
) -> Figure:
    """The regret of the leaders and of the named schedules, beside the margin.

    The regret is the loss less that of the best of all candidates of the family, tried or not. Each
    bar ends where it is exceeded with a probability of 5 %; the point is what is expected.

    Parameters
    ----------
    posterior : Posterior
        As `Study.posterior` gives it.
    names : mapping of str to str
        What each baseline is called, by candidate.
    margin : float
        The regret that does not matter, in nats.
    axes : Axes, optional
    """
    order = posterior.tried_in_order()
    shown = [one for place, one in enumerate(order) if place < _LEADERS or one in names]
    if posterior.best in shown:
        shown.remove(posterior.best)
    shown.insert(0, posterior.best)
    regret = pd.DataFrame({one: posterior.regret(one) for one in shown})
    bound = regret.quantile(CONFIDENCE).to_numpy()
    figure, axes = one_panel(axes, 5.4, 4.8)
    axes.axvspan(0, margin, color=GREEN, alpha=0.12, lw=0, label=f"margin {margin:g}")
    colors = np.where([one in names for one in shown], ORANGE, BLUE)
    faces = np.where(bound <= margin, colors, "white")
    places = np.arange(len(shown))
    low = regret.quantile(1 - CONFIDENCE).to_numpy()
    intervals(axes, low, regret.mean().to_numpy(), bound, places, colors, c=faces)
    labels = [names.get(one, one) for one in shown]
    axes.set_yticks(places, labels, fontsize=8)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("regret against all candidates of the family (nats), 5 % to 95 %")
    decided = bound[0] <= margin
    axes.set_title(
        f"Take {labels[0]}: regret at most {bound[0]:.4f} with 95 %\n"
        f"({'within' if decided else 'not yet within'} the margin of {margin:g}; filled: surely"
        " within it; orange: named)",
        fontsize=10,
        loc="right",
    )
    return figure


@in_own_style
def plot_study(
    runs: pd.DataFrame, posterior: Posterior, names: Mapping[str, str], margin: float
) -> Figure:
    """A study at a glance: its history, and its decision.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.
    posterior, names, margin
        As for `plot_decision`.
    """
    figure, grid = panels(1, 2, 11, 4.8, width_ratios=[1, 1.15])
    plot_history(runs, grid[0, 0])
    plot_decision(posterior, names, margin, grid[0, 1])
    return figure
