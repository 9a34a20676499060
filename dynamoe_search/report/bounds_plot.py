"""The bounds of a budget of experts, drawn: where schedules lie between its least and its most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dynamoe_search.bounds.budget import ExpertBudget, compare_schedules
from dynamoe_search.report.figure import GRAY, in_own_style, panels

# Seaborn's palette "colorblind".
_COLORS = (
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)
_MOST_TOKENS = 10  # batches of 1 to 2^10 tokens
_FAMILY_ROW = "the family"


@in_own_style
def plot_bounds(
    budget: ExpertBudget,
    scores: pd.DataFrame,
    extremes: pd.DataFrame,
    family: pd.DataFrame | None = None,
) -> Figure:
    """Configurations, FLOPs, entropy ceilings, and the experts that batches of any size touch.

    Parameters
    ----------
    budget : ExpertBudget
    scores, extremes, family : DataFrame
        As `compare_schedules`, `budget_extremes` and `family_bounds` give them: the schedules, the
        ends of the shaded ranges, and what gets a row of its own.
    """
    figure, ((ways, flops), (entropy, touched)) = panels(2, 2, 11, 3.4 + 0.5 * (len(scores) + 1))
    _plot_row(ways, "log2_configurations", scores, extremes, family)
    ways.set_xlabel("routing configurations of a token (bits)")
    ways.set_title("Ways to route, by the router's own rule", fontsize=10)
    _plot_row(entropy, "entropy_ceiling", scores, extremes, family)
    entropy.set_xlabel("mean of ln N (nats per layer)")
    entropy.set_title("The most that load entropy can be", fontsize=10)
    _plot_flops(flops, scores, extremes)
    _plot_touched(touched, budget, scores)
    figure.suptitle(
        f"{budget.layers} layers share {budget.experts} experts; gray: beyond any schedule of them",
        fontsize=10,
    )
    return figure


def _plot_row(
    axes: Axes,
    quantity: str,
    scores: pd.DataFrame,
    extremes: pd.DataFrame,
    family: pd.DataFrame | None,
) -> None:
    """A dot for each schedule between the least and the most of the budget."""
    names = list(scores["name"])
    if family is not None:
        row = [len(names)] * len(family)
        axes.plot(family[quantity], row, "|", color=GRAY, ms=11, mew=0.5, alpha=0.5)
        names.append(_FAMILY_ROW)
    axes.scatter(scores[quantity], range(len(scores)), s=42, c=_colors(scores), zorder=3)
    _finish(axes, names, *extremes.loc[quantity, ["least", "most"]])


def _plot_flops(axes: Axes, scores: pd.DataFrame, extremes: pd.DataFrame) -> None:
    """A bar from the fewest to the most FLOPs of each schedule; a dot where they are equal."""
    place = np.arange(len(scores))
    colors = _colors(scores)
    axes.hlines(place, scores["flops_minimum"], scores["flops_maximum"], colors=colors, lw=5)
    axes.scatter(scores["flops_expected"], place, s=60, c=colors, edgecolors="white", zorder=3)
    least, most = extremes.loc["flops_minimum", "least"], extremes.loc["flops_maximum", "most"]
    _finish(axes, list(scores["name"]), least, most)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("FLOPs of a token, forward")
    axes.set_title("A token's cost: fewest to most active experts (dot: expected)", fontsize=10)


def _finish(axes: Axes, names: list[str], least: float, most: float) -> None:
    margin = 0.06 * (most - least) or 0.06 * most or 1.0
    low, high = least - margin, most + margin
    axes.axvspan(low, least, color=GRAY, alpha=0.35, lw=0)
    axes.axvspan(most, high, color=GRAY, alpha=0.35, lw=0)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color=GRAY, alpha=0.25, lw=0.6)


def _plot_touched(axes: Axes, budget: ExpertBudget, scores: pd.DataFrame) -> None:
    schedules = dict(zip(scores["name"], scores["schedule"], strict=True))
    batches = [2**power for power in range(_MOST_TOKENS + 1)]
    curves = [
        compare_schedules(replace(budget, tokens=batch), schedules)["distinct_experts"]
        for batch in batches
    ]
    for name, curve, color in zip(schedules, np.array(curves).T, _colors(scores), strict=True):
        axes.plot(batches, curve, color=color, label=name, lw=1.6)
    axes.axhline(budget.experts, color=GRAY, lw=0.8)
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.05 * budget.experts)
    axes.set_xlabel("tokens of a batch")
    axes.set_ylabel("distinct experts")
    axes.set_title("Experts touched at the expected K, all used equally", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _colors(scores: pd.DataFrame) -> list[str]:
    return [_COLORS[place % len(_COLORS)] for place in range(len(scores))]
