"""Trained networks between their bounds: sentences, a table, a plot.

All take the ``table`` of `dynamoe_search.bounds.measured_bounds`; ``names`` are what those
candidates are called that have a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynamoe_search.bounds.measured import MEASURED_AND_BOUNDED
from dynamoe_search.report.bounds import nearly_equal
from dynamoe_search.report.figure import BLUE, GRAY, in_own_style, panels
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import engineering, percents, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FORMS: Mapping[str, Callable[[float], str]] = {
    "active_experts": "{:.2f}".format,
    "flops_per_token": lambda value: engineering(value).strip(),
    "entropy": "{:.3f}".format,
    "training_seconds": "{:.2f}".format,
}


def measured_sentences(table: pd.DataFrame) -> list[str]:
    """Where between their bounds the candidates are, over all of them."""
    sentences = []
    for quantity, rows in table.groupby("quantity", sort=False):
        about = MEASURED_AND_BOUNDED[str(quantity)]
        form = _FORMS[str(quantity)]
        measured = span(form(rows["measured"].min()), form(rows["measured"].max()))
        start = f"Measured {about.label}: {measured} {about.unit}".rstrip()
        if quantity == "training_seconds":
            sentences.append(f"{start}{_reached(rows)}.")
        elif rows["place"].isna().all():
            sentences.append(f"{start}; the router leaves no choice: floor equals ceiling.")
        else:
            bounds = f"floor {form(rows['floor'].min())}, ceiling {form(rows['ceiling'].max())}"
            sentences.append(
                f"{start}, {_places(rows)} of the way from floor to ceiling ({bounds})."
            )
    if "entropy" not in set(table["quantity"]):
        sentences.append("Load entropy: not recorded by the earlier version that ran the study.")
    return sentences


def _places(rows: pd.DataFrame) -> str:
    return span(percents(rows["place"].min()), percents(rows["place"].max()))


def _reached(rows: pd.DataFrame) -> str:
    if rows["floor"].isna().all():
        return "; for its bound: dynamoe-search bounds --study STUDY --measure"
    reached = rows["floor"] / rows["measured"]
    least = span(f"{rows['floor'].min():.2f}", f"{rows['floor'].max():.2f}")
    return (
        f", where this machine's float32 peak would allow {least} s:"
        f" {span(f'{reached.min():.1%}', f'{reached.max():.1%}')} of the peak was reached"
    )


def measured_bounds_table(table: pd.DataFrame, names: Mapping[str, str]) -> Table:
    """A row for each candidate; floor, measured and ceiling of each quantity."""
    quantities = list(table["quantity"].unique())
    about = [MEASURED_AND_BOUNDED[quantity] for quantity in quantities]
    headers = [f"{one.label}\n({one.unit})" if one.unit else one.label for one in about]
    rows = []
    for candidate, of_it in table.groupby("candidate", sort=False):
        cells = {row["quantity"]: _cell(row) for row in of_it.to_dict("records")}
        texts = [cells.get(quantity, "not recorded") for quantity in quantities]
        name = names.get(str(candidate)) or str(candidate)
        rows.append([name, *texts, str(of_it["seeds"].iloc[0])])
    caption = "floor < measured ± 95 % < ceiling; where the router leaves no choice, one number"
    columns = [Column("candidate", is_name=True), *numbers(*headers, "seeds")]
    return Table(columns, rows, "", caption)


def _cell(row: Mapping[str, float]) -> str:
    form = _FORMS[str(row["quantity"])]
    measured, width = form(row["measured"]), row["high"] - row["measured"]
    if not nearly_equal(row["measured"], row["measured"] + abs(width)):
        measured += " ± ?" if np.isnan(width) else f" ± {form(width)}"
    if nearly_equal(row["floor"], row["ceiling"]):
        return measured
    floor = "" if np.isnan(row["floor"]) else f"{form(row['floor'])} < "
    ceiling = "" if np.isnan(row["ceiling"]) else f" < {form(row['ceiling'])}"
    return f"{floor}{measured}{ceiling}"


@in_own_style
def plot_measured_bounds(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Per quantity a panel, per candidate a bar from floor to ceiling and the measured point.

    Quantities of which the router leaves no choice are left out.
    """
    candidates = list(table["candidate"].unique())
    groups = [
        (str(name), rows)
        for name, rows in table.groupby("quantity", sort=False)
        if name == "training_seconds" or rows["place"].notna().any()
    ]
    size = (2.2 + 3.1 * len(groups), 1.6 + 0.32 * len(candidates))
    figure, (row,) = panels(1, len(groups), *size, sharey=True)
    for axes, (quantity, rows) in zip(row, groups, strict=True):
        _plot_quantity(axes, quantity, rows, candidates)
    labels = [names.get(candidate) or candidate for candidate in candidates]
    row[0].set_yticks(range(len(candidates)), labels, fontsize=8)
    row[0].invert_yaxis()
    figure.suptitle(_finding(groups), fontsize=10, wrap=True)
    return figure


def _finding(groups: list[tuple[str, pd.DataFrame]]) -> str:
    ways = [
        f"{MEASURED_AND_BOUNDED[quantity].label}: {_places(rows)}"
        for quantity, rows in groups
        if rows["place"].notna().any()
    ]
    found = f"; part of the way from floor to ceiling: {', '.join(ways)}" if ways else ""
    return f"Measured (points, 95 %) between floor and ceiling (gray){found}"


def _plot_quantity(axes: Axes, quantity: str, rows: pd.DataFrame, candidates: list[str]) -> None:
    from matplotlib.ticker import EngFormatter

    places = rows["candidate"].map(candidates.index).to_numpy()
    # Without a ceiling the bar goes from the floor to what was measured.
    ends = rows["ceiling"].fillna(rows["measured"])
    starts = rows["floor"].fillna(rows["measured"])
    axes.barh(places, ends - starts, left=starts, height=0.55, color=GRAY, alpha=0.35)
    width = (rows["high"] - rows["measured"]).fillna(0.0)
    look: Any = {"fmt": "o", "ms": 4, "color": BLUE, "capsize": 2, "lw": 1.2}
    axes.errorbar(rows["measured"], places, xerr=width, **look)
    about = MEASURED_AND_BOUNDED[quantity]
    axes.set_xlabel(f"{about.label} ({about.unit})" if about.unit else about.label, fontsize=9)
    axes.tick_params(labelsize=8)
    if quantity == "flops_per_token":
        axes.xaxis.set_major_formatter(EngFormatter())
    if quantity == "training_seconds":
        axes.set_xlim(left=0)
