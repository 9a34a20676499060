"""How much a trained model needs the active experts of each layer: in words, tables and a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynamoe_search.interop.active_choice import ActiveChoice
from dynamoe_search.report.figure import INK, in_own_style, one_panel, write_in_cell
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import number, p_value, percents, plus_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DIVERGING = "PuOr_r"
_LINEAR = 0.01  # nats up to which colors are linear in the difference
_SHOWN = 0.0005  # less is 0 in a cell
_MOST_CELLS = 130  # that are written on


def sensitivity_sentences(
    choice: ActiveChoice, comparison: pd.DataFrame, sensitivity: pd.DataFrame
) -> list[str]:
    """What to take, what it is worth, and how that is known.

    Parameters
    ----------
    choice : ActiveChoice
    comparison : DataFrame
        As `compare_choice` gives it.
    sensitivity : DataFrame
        As `measure_sensitivity` gives it.
    """
    rows = {row["name"]: row for row in comparison.to_dict("records")}
    chosen, even, trained = (rows[name] for name in ("chosen", "even", "trained"))
    measured = int(sensitivity["documents"].max())
    sentences = [
        _decision(choice, chosen),
        f"The loss with the chosen schedule is {chosen['loss']:.4f} nats per token, predicted"
        f" {chosen['predicted']:.4f}; with the even one {even['loss']:.4f}; as trained, with"
        f" {choice.trained}, {trained['loss']:.4f}.",
        f"The schedule was chosen on {measured} documents, and compared on"
        f" {chosen['documents']} others; every document counts the same.",
    ]
    spared = 1 - choice.flops["chosen"] / choice.flops["even"]
    if spared > 0:
        sentences.append(
            f"The chosen schedule also takes {percents(spared)} fewer FLOPs in routed experts."
        )
    failed = int(sensitivity["difference"].isna().sum())
    if failed:
        sentences.append(
            f"Of {len(sensitivity)} numbers of experts {failed} have a loss that is not finite;"
            " they are not chosen."
        )
    return sentences


def _decision(choice: ActiveChoice, chosen: dict[str, Any]) -> str:
    """The first sentence."""
    even = f"the even schedule {choice.even}"
    if chosen["verdict"] == "the same":
        return f"Take {even}: of all measured schedules of its FLOPs it is predicted to be best."
    found = (
        f"{abs(chosen['difference']):.4f} nats {'lower' if chosen['difference'] < 0 else 'higher'}"
        f" (95 % of the difference: {chosen['low']:.4f} to {chosen['high']:.4f};"
        f" p {p_value(chosen['p_value'])})"
    )
    of_no_more = f"at no more FLOPs than {even} its loss is {found}"
    match chosen["verdict"]:
        case "better":
            return f"Take the active schedule {choice.chosen}: {of_no_more}."
        case "worse":
            return f"Keep {even}: the loss of {choice.chosen}, which was chosen, is {found}."
        case "equivalent":
            return (
                f"It does not matter: {choice.chosen} and {even} differ by less than the margin"
                f" ({found})."
            )
    return (
        f"Undecided: {choice.chosen} was chosen, and {of_no_more}. More documents would tell more."
    )


def sensitivity_table(sensitivity: pd.DataFrame) -> Table:
    """The difference to the model as it is, by layer and active experts, with standard errors."""
    counts = sorted(sensitivity["active"].unique())
    rows = []
    for layer, of_layer in sensitivity.groupby("layer"):
        cells = {row["active"]: _cell(row) for row in of_layer.to_dict("records")}
        own = of_layer.loc[of_layer["trained"], "active"].iloc[0]
        rows.append([str(layer), str(own), *(cells.get(count, "") for count in counts)])
    columns = [Column("layer", is_number=True, is_name=True), *numbers("trained with")]
    return Table(
        [*columns, *numbers(*(f"k = {count}" for count in counts))],
        rows,
        "Difference of the loss where one layer uses k experts",
        "nats per token, ± standard error; below 0: better than as it is",
    )


def _cell(row: dict[str, Any]) -> str:
    if row["trained"]:
        return "0"
    if np.isnan(row["difference"]):
        return "not finite"
    return f"{row['difference']:+.4f}{plus_minus(row['standard_error'], '.4f')}"


def comparison_table(comparison: pd.DataFrame) -> Table:
    """The trained, the even and the chosen active schedule, with losses measured and predicted."""
    rows = []
    for row in comparison.to_dict("records"):
        interval = ""
        if row["name"] == "chosen" and row["verdict"] != "the same":
            ends = f"{row['low']:+.4f} to {row['high']:+.4f}"
            interval = f"{row['difference']:+.4f} ({ends})"
        losses = [f"{row['loss']:.4f}", number(row["predicted"], ".4f")]
        rows.append(
            [row["name"], row["active"], f"{row['flops']:,}", *losses, interval, row["verdict"]]
        )
    return Table(
        [
            Column("name", is_name=True),
            Column("active experts"),
            *numbers("FLOPs", "loss", "predicted", "to the even one"),
            Column("verdict"),
        ],
        rows,
        "Active schedules",
        "FLOPs: of a token in routed experts, forward; loss: nats per token, of documents that the"
        " choice did not see; predicted: the model as trained, and each layer's difference; to the"
        " even one: paired by document, with 95 %",
    )


@in_own_style
def plot_sensitivity(
    sensitivity: pd.DataFrame, choice: ActiveChoice | None = None, axes: Axes | None = None
) -> Figure:
    """The difference of the loss, by layer and active experts, and the chosen schedule.

    Parameters
    ----------
    sensitivity : DataFrame
        As `measure_sensitivity` gives it.
    choice : ActiveChoice, optional
        As `choose_active` gives it: its schedule is framed.
    axes : Axes, optional
        Where to draw; a new figure by default.
    """
    from matplotlib.colors import SymLogNorm

    table = sensitivity.pivot(index="active", columns="layer", values="difference")
    counts, values = table.index.to_numpy(), table.to_numpy(dtype=np.float64)
    depth = values.shape[1]
    figure, axes = one_panel(axes, min(12.0, 2.6 + 0.62 * depth), 1.6 + 0.38 * len(counts))
    largest = max(float(np.nanmax(np.abs(values), initial=0.0)), 2 * _LINEAR)
    norm = SymLogNorm(_LINEAR, vmin=-largest, vmax=largest)
    edges = np.arange(depth + 1) - 0.5, np.arange(len(counts) + 1) - 0.5
    cells = axes.pcolormesh(*edges, np.ma.masked_invalid(values), norm=norm, cmap=_DIVERGING)
    bar = axes.figure.colorbar(cells, ax=axes, label="difference of the loss (nats)")
    ticks = [tick for tick in (0.01, 0.1, 1.0, 10.0) if tick <= largest]
    marks = [*(-tick for tick in reversed(ticks)), 0.0, *ticks]
    bar.set_ticks(marks, labels=[f"{mark:g}" for mark in marks])
    bar.minorticks_off()
    if values.size <= _MOST_CELLS:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                is_dark = abs(norm(value) - 0.5) > 0.36
                text = "0" if abs(value) < _SHOWN else f"{value:+.3f}"
                write_in_cell(axes, column, row, text, bool(is_dark))
    if choice is not None:
        _frame(axes, [int(np.searchsorted(counts, count)) for count in choice.chosen])
    axes.set_xticks(range(depth), table.columns)
    axes.set_yticks(range(len(counts)), counts)
    axes.set_xlabel("layer")
    axes.set_ylabel("active experts of this layer alone")
    axes.set_title(_title(sensitivity, choice), fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _frame(axes: Axes, rows: list[int]) -> None:
    from matplotlib.patches import Rectangle

    for column, row in enumerate(rows):
        axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec=INK, lw=2))


def _title(sensitivity: pd.DataFrame, choice: ActiveChoice | None) -> str:
    one = sensitivity[sensitivity["active"] == sensitivity["active"].min()]
    known = one.dropna(subset=["difference"])
    if known.empty:
        return "Loss by active experts"
    most = known.loc[known["difference"].idxmax()]
    title = (
        f"With {most['active']} active, layer {most['layer']} costs most:"
        f" {most['difference']:+.3f} nats"
    )
    return title if choice is None else f"{title}\nframed: {choice.chosen}, chosen"
