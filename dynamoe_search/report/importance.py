"""Which parameters of a search matter: sentences that claim no more than chance allows, a plot.

All take the ``table`` of `Study.importance`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynamoe_search.report.figure import (
    BLUE,
    GRAY,
    ORANGE,
    in_own_style,
    intervals,
    legend_below,
    one_panel,
)
from dynamoe_search.report.wording import percents
from dynamoe_search.search.importance import CHANCE, EVALUATORS

_SURE = 0.95  # of the repetitions
_LOOKS = {"fanova": (BLUE, "o", -0.13), "ped_anova": (ORANGE, "D", 0.13)}


def summarize_importance(table: pd.DataFrame) -> pd.DataFrame:
    """The importance of each parameter, and how often it is above that of pure chance.

    Returns
    -------
    DataFrame
        By evaluator, the most important parameter first: ``evaluator``, ``parameter``, ``mean``,
        ``low`` and ``high`` (of 95 % of the repetitions), ``above_chance`` (the share of
        repetitions in which it is above chance), ``is_sure`` (whether that is 95 % or more).

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "evaluator": "fanova", "repetition": [0, 0, 1, 1],
    ...     "parameter": ["tilt", "(chance)"] * 2, "importance": [0.9, 0.1, 0.7, 0.3],
    ... })
    >>> found = summarize_importance(table).iloc[0]
    >>> found["parameter"], float(found["mean"]), bool(found["is_sure"])
    ('tilt', 0.8, True)
    """
    wide = table.pivot(index=["evaluator", "repetition"], columns="parameter", values="importance")
    grouped = wide.groupby("evaluator")
    found = pd.DataFrame(
        {
            "mean": grouped.mean().stack(),
            "low": grouped.quantile((1 - _SURE) / 2).stack(),
            "high": grouped.quantile((1 + _SURE) / 2).stack(),
            "above_chance": wide.gt(wide[CHANCE], axis=0).groupby("evaluator").mean().stack(),
        }
    )
    found["is_sure"] = found["above_chance"] >= _SURE
    found = found.reset_index().sort_values("mean", ascending=False, kind="stable")
    return found.sort_values("evaluator", kind="stable", ignore_index=True)


def importance_sentences(table: pd.DataFrame) -> list[str]:
    """Which parameters matter beyond chance, by each evaluator, and how unsure that is."""
    summary = summarize_importance(table)
    sentences = []
    for evaluator, question in EVALUATORS.items():
        rows = summary[summary["evaluator"] == evaluator]
        sure = rows[rows["is_sure"]]
        found = "no parameter is shown to matter more than chance"
        if len(sure):
            found = "more than chance: " + ", ".join(
                f"{row.parameter} ({percents(row.mean)}, {percents(row.low)} to"
                f" {percents(row.high)})"
                for row in sure.itertuples(index=False)
            )
        sentences.append(f"{question[0].upper()}{question[1:]}: {found}.")
    repetitions = table["repetition"].nunique()
    return [
        *sentences,
        f"From {table['candidates'].iloc[0]} candidates, drawn again {repetitions} times, each with"
        " another seed of the evaluator: the ranges hold 95 % of these. A parameter of pure chance"
        f" was put beside the others; what is above it in fewer than {percents(_SURE)} of the draws"
        " is not shown to differ from it.",
        "Importance says how much the loss changes with a parameter, not which way, nor that"
        " another study of other ranges would agree.",
    ]


@in_own_style
def plot_importance(table: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The importance of each parameter, with its spread, beside that of pure chance."""
    summary = summarize_importance(table)
    first = summary[summary["evaluator"] == next(iter(EVALUATORS))]
    names = [name for name in first["parameter"] if name != CHANCE] + [CHANCE]
    figure, axes = one_panel(axes, 5.4, 1.8 + 0.34 * len(names))
    for evaluator, (color, marker, shift) in _LOOKS.items():
        rows = summary[summary["evaluator"] == evaluator].set_index("parameter").loc[names]
        place = np.arange(len(names)) + shift
        face = np.where(rows["is_sure"], color, "white")
        intervals(
            axes, rows["low"], rows["mean"], rows["high"], place, color, c=face, marker=marker
        )
        axes.scatter([], [], c=color, marker=marker, label=EVALUATORS[evaluator])
    axes.axhline(len(names) - 1.5, color=GRAY, lw=0.8, ls=":")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(
        "share of the importance, and 95 % of the draws (filled: beyond chance)", fontsize=9
    )
    axes.set_title(_title(summary), fontsize=10)
    legend_below(axes, columns=1)
    return figure


def _title(summary: pd.DataFrame) -> str:
    sure = summary[(summary["evaluator"] == next(iter(EVALUATORS))) & summary["is_sure"]]
    if sure.empty:
        return "No parameter is shown to matter more than chance"
    names = ", ".join(sure["parameter"])
    return f"The loss depends, beyond chance, on {names}"
