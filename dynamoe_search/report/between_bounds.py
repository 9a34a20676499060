"""Trained networks between their bounds: sentences, a table, a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from rich import box
from rich.table import Table

from dynamoe_search.bounds.measured import MEASURED_AND_BOUNDED
from dynamoe_search.report.bounds import are_alike, engineering
from dynamoe_search.report.plots import BLUE, GRAY
from dynamoe_search.report.terminal import plus_minus

_FORMS: Mapping[str, Callable[[float], str]] = {
    "active_experts": "{:.2f}".format,
    "flops_per_token": lambda value: f"{engineering(value)}FLOPs",
    "entropy": "{:.3f}".format,
    "training_seconds": "{:.2f}".format,
}


def measured_sentences(table: pd.DataFrame) -> list[str]:
    """Where between their bounds the candidates are, over all of them.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.bounds.measured.measured_bounds` gives it.
    """
    sentences = []
    for quantity, rows in table.groupby("quantity", sort=False):
        about = MEASURED_AND_BOUNDED[str(quantity)]
        form = _FORMS[str(quantity)]
        span = _span(form(rows["measured"].min()), form(rows["measured"].max()))
        start = f"Measured {about.label}: {span} {about.unit}".rstrip()
        if quantity == "training_seconds":
            sentences.append(f"{start}{_reached(rows)}.")
        elif rows["place"].isna().all():
            sentences.append(f"{start}; the router leaves no choice: floor and ceiling are one.")
        else:
            bounds = f"floor {form(rows['floor'].min())}, ceiling {form(rows['ceiling'].max())}"
            sentences.append(
                f"{start}, {_places(rows)} of the way from floor to ceiling ({bounds})."
            )
    if "entropy" not in set(table["quantity"]):
        sentences.append(
            "Load entropy: an earlier version, which ran the study, did not record it."
        )
    return sentences


def _places(rows: pd.DataFrame) -> str:
    return _span(f"{rows['place'].min():.0%}", f"{rows['place'].max():.0%}")


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _reached(rows: pd.DataFrame) -> str:
    if rows["floor"].isna().all():
        return "; for its bound: dynamoe-search bounds --study STUDY --measure"
    reached = rows["floor"] / rows["measured"]
    least = _span(f"{rows['floor'].min():.2f}", f"{rows['floor'].max():.2f}")
    return (
        f", where this machine's float32 peak would allow {least} s:"
        f" {_span(f'{reached.min():.1%}', f'{reached.max():.1%}')} of the peak was reached"
    )


def measured_bounds_table(table: pd.DataFrame, names: Mapping[str, str]) -> Table:
    """A row a candidate; floor, measured and ceiling of each quantity.

    Parameters
    ----------
    table : DataFrame
        As `dynamoe_search.bounds.measured.measured_bounds` gives it.
    names : mapping of str to str
        The names of candidates that have one.
    """
    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="floor < measured ± 95 % < ceiling; where the router leaves no choice, one number",
        caption_justify="left",
    )
    shown.add_column("candidate", overflow="fold")
    shown.add_column("trained", justify="right")
    quantities = list(table["quantity"].unique())
    table, prefix = _with_prefix(table)
    for quantity in quantities:
        about = MEASURED_AND_BOUNDED[quantity]
        unit = about.unit or f"{prefix}FLOPs"
        shown.add_column(f"{about.label}\n({unit})", justify="right", no_wrap=True)
    for candidate, rows in table.groupby("candidate", sort=False):
        cells = {row["quantity"]: _cell(row) for row in rows.to_dict("records")}
        blocks = f"{rows['blocks'].iloc[0]}x"
        texts = [cells.get(quantity, "not recorded") for quantity in quantities]
        shown.add_row(names.get(str(candidate)) or str(candidate), blocks, *texts)
    return shown


def _with_prefix(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """FLOPs in thousands, or millions, and so on; and the prefix of that."""
    flops = table["quantity"] == "flops_per_token"
    _, _, prefix = engineering(table.loc[flops, "measured"].max()).partition(" ")
    factor = 1000.0 ** " kMGTP".index(prefix or " ")
    columns = ["floor", "measured", "low", "high", "ceiling"]
    scaled = table[columns].where(~flops, table[columns] / factor)
    return table.assign(**{name: scaled[name] for name in columns}), prefix


def _cell(row: Mapping[str, float]) -> str:
    form = _FORMS[str(row["quantity"])]
    if form is _FORMS["flops_per_token"]:
        form = "{:.3g}".format
    measured = form(row["measured"])
    width = row["high"] - row["measured"]
    if not are_alike(row["measured"], row["measured"] + abs(width)):
        measured += plus_minus(width, "{:.2g}")
    if are_alike(row["floor"], row["ceiling"]):
        return measured
    floor = "" if np.isnan(row["floor"]) else f"{form(row['floor'])} < "
    ceiling = "" if np.isnan(row["ceiling"]) else f" < {form(row['ceiling'])}"
    return f"{floor}{measured}{ceiling}"


def plot_measured_bounds(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A panel a quantity, a row a candidate: a bar from floor to ceiling, a point where it was.

    Quantities of which the router leaves no choice are left out.

    Parameters
    ----------
    table, names
        As in `measured_bounds_table`.

    Returns
    -------
    Figure
    """
    candidates = list(table["candidate"].unique())
    groups = [
        (str(name), rows)
        for name, rows in table.groupby("quantity", sort=False)
        if name == "training_seconds" or rows["place"].notna().any()
    ]
    figure = Figure(
        figsize=(2.2 + 3.1 * len(groups), 1.6 + 0.32 * len(candidates)), layout="constrained"
    )
    with sns.axes_style("ticks"):
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (quantity, rows) in zip(panels, groups, strict=True):
        _plot_quantity(axes, quantity, rows, candidates)
    labels = [names.get(candidate) or candidate for candidate in candidates]
    panels[0].set_yticks(range(len(candidates)), labels, fontsize=8)
    panels[0].invert_yaxis()
    figure.suptitle(_finding(groups), fontsize=10)
    return figure


def _finding(groups: list[tuple[str, pd.DataFrame]]) -> str:
    ways = [
        f"{MEASURED_AND_BOUNDED[quantity].label}: {_places(rows)}"
        for quantity, rows in groups
        if rows["place"].notna().any()
    ]
    found = f"; of the way there went {', '.join(ways)}" if ways else ""
    return f"Measured (points, 95 %) from floor to ceiling (gray){found}"


def _plot_quantity(axes: Axes, quantity: str, rows: pd.DataFrame, candidates: list[str]) -> None:
    places = rows["candidate"].map(candidates.index).to_numpy()
    # Without a ceiling the bar goes from the floor to what was measured.
    ends = rows["ceiling"].fillna(rows["measured"])
    starts = rows["floor"].fillna(rows["measured"])
    axes.barh(places, ends - starts, left=starts, height=0.55, color=GRAY, alpha=0.35)
    width = (rows["high"] - rows["measured"]).fillna(0.0)
    axes.errorbar(
        rows["measured"], places, xerr=width, fmt="o", ms=4, color=BLUE, capsize=2, lw=1.2
    )
    about = MEASURED_AND_BOUNDED[quantity]
    axes.set_xlabel(f"{about.label} ({about.unit})" if about.unit else about.label, fontsize=9)
    axes.tick_params(labelsize=8)
    if quantity == "flops_per_token":
        axes.xaxis.set_major_formatter(EngFormatter())
    if quantity == "training_seconds":
        axes.set_xlim(left=0)
    sns.despine(ax=axes)
