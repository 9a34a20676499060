"""What a study has found: in sentences, as a table, and as a plot.

All take the ``board``, the leaderboard of `dynamoe_search.make_leaderboard`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynamoe_search.report.figure import BLUE, ORANGE, in_own_style, intervals, one_panel
from dynamoe_search.report.schedules import shape
from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.wording import (
    enumerated,
    half_interval,
    p_value,
    plus_minus,
)
from dynamoe_search.statistics.intervals import CONFIDENCE
from dynamoe_search.statistics.noise import check_noise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROWS_OF_THE_PLOT = 15


def noise_sentences(runs: pd.DataFrame) -> list[str]:
    """Whether the recorded noise is what intervals and comparisons assume of it.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.
    """
    complete = runs[runs["state"] == "complete"]
    found = check_noise(complete["validation_loss"], complete["candidate"], complete["seed"])
    assumed = "Intervals and comparisons assume noise that is about normal, and alike for all."
    if found is None:
        return [f"{assumed} Nothing shows whether it is: too little was trained twice."]
    tests = (
        f"In the {found.values} losses of the {found.candidates} candidates with several seeds its"
        f" excess kurtosis is {found.excess_kurtosis:+.1f} (p {p_value(found.kurtosis_p)}), and"
        f" Bartlett's test of equal variances has p {p_value(found.bartlett_p)}."
    )
    unusual = [
        word
        for word, p in (("heavier tails", found.kurtosis_p), ("unequal noise", found.bartlett_p))
        if p < 1 - CONFIDENCE
    ]
    if not unusual:
        return [f"{assumed} {tests} Nothing speaks against that."]
    return [
        f"{assumed} {tests} This speaks for {enumerated(unusual)}: a candidate may be called worse"
        " than the best more often than the 5 % say; confirm it."
    ]


def what_was_equal(board: pd.DataFrame) -> list[str]:
    """What candidates had in common, and what not, in sentences."""
    active = board["active_experts"]
    sentences = [f"Active experts per layer, measured: {active.min():.3f} to {active.max():.3f}."]
    sizes = board["total_parameters"]
    if sizes.nunique() > 1:
        sentences.append(
            f"Candidates have {sizes.min():,} to {sizes.max():,} parameters, so that a difference"
            " between them need not come from the schedule."
        )
    return sentences


def leaderboard_table(board: pd.DataFrame, rows: int = 20) -> Table:
    """The first rows, up to this number, and the named schedules below them."""
    is_text = bool(board["bits_per_byte"].notna().any())
    quality = "bits/byte" if is_text else "accuracy"
    missed = "" if board["feasible"].all() else " x: misses a constraint;"
    caption = (
        f"≈: statistically indistinguishable from the best;{missed} loss in nats and {quality} on"
        " the validation split: expected over all seeds, ± 95 %, from a schedule's own runs (the"
        " decision also uses those of similar schedules, and may take another); mean: of the losses"
        " recorded; seeds: those that were trained; K: active experts per layer, measured"
    )
    columns = [*numbers("rank"), *texts(""), Column("schedule", is_name=True), *numbers("loss")]
    columns += texts("pattern", "shape")
    columns += numbers(quality, "seeds", "mean", "K", "parameters", "active")
    shown = board[(board["rank"] <= rows) | (board["pattern"] != "")]
    cells = [_cells(row, is_text) for row in shown.to_dict("records")]
    return Table(columns, cells, "", caption, {0})


def _cells(row: dict[str, Any], is_text: bool) -> tuple[str, ...]:
    width = plus_minus(100 * half_interval(row, "accuracy"), ".1f")
    accuracy = f"{100 * row['accuracy']:.1f}{width} %"
    return (
        str(row["rank"]),
        "x" if not row["feasible"] else "≈" if row["indistinguishable"] else "",
        row["candidate"],
        f"{row['loss']:.4f}" + plus_minus(half_interval(row, "loss"), ".4f"),
        row["pattern"],
        shape(row),
        f"{row['bits_per_byte']:.4f}" if is_text else accuracy,
        str(row["seeds"]),
        f"{row['mean_loss']:.4f}",
        f"{row['active_experts']:.2f}",
        f"{row['total_parameters']:,}",
        f"{row['active_parameters']:,.0f}",
    )


def leaderboard_html(board: pd.DataFrame, rows: int = 20) -> str:
    """The table of `leaderboard_table` as a piece of HTML, such as notebooks show."""
    from dynamoe_search.report.rendering import table_html  # jinja2, which a terminal does not need

    return table_html(leaderboard_table(board, rows))


@in_own_style
def plot_leaders(board: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The best schedules and all named ones: expected losses and their 95 % intervals."""
    figure, axes = one_panel(axes, 5.4, 4.8)
    shown = board[(board["rank"] <= _ROWS_OF_THE_PLOT) | (board["pattern"] != "")]
    shown = shown.reset_index(drop=True)
    colors = np.where(shown["pattern"] != "", ORANGE, BLUE)
    faces = np.where(shown["indistinguishable"], colors, "white")
    spread = (shown["loss_low"], shown["loss"], shown["loss_high"])
    intervals(axes, *spread, shown.index, colors, c=faces)
    labels = [f"{row.pattern or row.candidate}  ({row.seeds}x)" for row in shown.itertuples()]
    axes.set_yticks(shown.index, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("expected validation loss (nats) and 95 % interval")
    axes.locator_params(axis="x", nbins=5)
    equal = int(board["indistinguishable"].sum()) - 1
    axes.set_title(
        f"{equal} of {len(board) - 1} others: statistically indistinguishable from the best\n"
        "(filled: within noise of the best; orange: named)",
        fontsize=10,
        loc="right",  # over the labels, where there is room
    )
    return figure
