"""What a confirmation has found: in sentences, as a table, and as a plot.

All take the table of `dynamoe_search.statistics.comparison.compare_with_reference`. It may have a column
``name``, such as "descending", shown with the candidate; "" for a candidate without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.table import Table

from dynamoe_search.report.wording import p_value
from dynamoe_search.statistics.comparison import ERROR_RATE, MOST_SEEDS, POWER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def confirmation_sentences(
    table: pd.DataFrame, reference: str, margin: float, looks: int = 1
) -> list[str]:
    """Which differences to the reference are real, which candidates are as good, and what is open.

    Parameters
    ----------
    table : DataFrame
        See the module.
    reference : str
        As it is to be called.
    margin : float
        Of equivalence, in nats, as the table was made with.
    looks : int
        How many numbers of seeds the results were looked at with; above 1, the number was raised.

    Returns
    -------
    list of str
        The reference; a sentence a difference; one for all equivalent candidates and one for all
        undecided ones; pairs that are missing; the error rates.

    Examples
    --------
    >>> from dynamoe_search.statistics.comparison import compare_with_reference
    >>> results = pd.DataFrame({
    ...     "candidate": ["2-2"] * 3 + ["3-1"] * 3,
    ...     "block": [0, 1, 2] * 2,
    ...     "loss": [0.50, 0.55, 0.52, 0.61, 0.65, 0.64],
    ... })
    >>> table = compare_with_reference(results, reference="2-2", margin=0.01)
    >>> print(confirmation_sentences(table, reference="2-2", margin=0.01)[1])
    2-2 is better than 3-1 by 0.1100 nats (95 % 0.0852 to 0.1348; 3 seeds, p = 0.003 after Holm).
    """
    sentences = [
        f"Reference: {reference}, mean test loss {_reference_loss(table)} nats"
        f" ({_seeds(table['seeds'].max())})."
    ]
    different = table[table["verdict"].isin(["worse", "better"])]
    sentences += [_difference(row, reference, margin) for row in different.itertuples()]
    if different.empty:
        sentences.append(f"No candidate is shown to differ from {reference}.")
    equivalent = table[table["verdict"] == "equivalent"]
    if not equivalent.empty:
        sentences.append(
            f"Equivalent to {reference} within ±{margin:.4f} nats (largest"
            f" p {_p(equivalent['p_equivalence_holm'].max())} after Holm):"
            f" {'; '.join(map(_named, equivalent.itertuples()))}."
        )
    sentences += _undecided(table, reference)
    sentences += _missing(table)
    return [*sentences, _error_rates(len(table), looks)]


def _difference(row: Any, reference: str, margin: float) -> str:
    better, worse, sign = reference, _named(row), 1
    if row.verdict == "better":
        better, worse, sign = worse, better, -1
    low, high = sorted((sign * row.low, sign * row.high))
    small = f"; less than the margin of {margin:.4f}" if row.within_margin else ""
    return (
        f"{better} is better than {worse} by {sign * row.difference:.4f} nats (95 % {low:.4f} to"
        f" {high:.4f}; {_seeds(row.seeds)}, p {_p(row.p_difference_holm)} after Holm{small})."
    )


def _undecided(table: pd.DataFrame, reference: str) -> list[str]:
    undecided = table[table["verdict"] == "undecided"]
    if undecided.empty:
        return []
    names = "; ".join(f"{_named(row)}, {_wanted(row)}" for row in undecided.itertuples())
    sentence = f"Undecided against {reference}: {names}."
    if (undecided["seeds"] >= 2).any():
        sentence += (
            f" So many would decide with a chance of {100 * POWER:.0f} %, were the true difference"
            " and deviation those observed."
        )
    return [sentence]


def _wanted(row: Any) -> str:
    """How many seeds would decide."""
    if row.seeds < 2:
        return "fewer than 2 pairs"
    if pd.isna(row.seeds_to_decide):
        return f"over {MOST_SEEDS:,} seeds"
    return _seeds(row.seeds_to_decide)


def _missing(table: pd.DataFrame) -> list[str]:
    missing = table[table["missing"] > 0]
    if missing.empty:
        return []
    names = "; ".join(
        f"{_named(row)}, {row.missing} of {_seeds(row.seeds + row.missing)}"
        for row in missing.itertuples()
    )
    return [
        f"Left out, as the candidate or the reference diverged or is not complete: {names}."
        " What is said of these holds for the other seeds only."
    ]


def _error_rates(comparisons: int, looks: int) -> str:
    percent = f"{100 * ERROR_RATE:.0f} %"
    if looks > 1:
        return (
            f"The number of seeds was raised after a look at the results ({looks} looks): error"
            f" rates of {percent} hold only for a number fixed before, and may be exceeded here."
        )
    return (
        f"Where noise is about symmetric, at most {percent} of such confirmations claim any"
        f" difference that is not there, and at most {percent} any equivalence that is not (Holm,"
        f" comparisons: {comparisons}); each interval is of one difference alone."
    )


def _reference_loss(table: pd.DataFrame) -> str:
    """Over the seeds of the comparison that has most of them."""
    return _number(table.loc[table["seeds"].idxmax(), "reference_mean"], ".4f")


def _named(row: Any) -> str:
    name = getattr(row, "name", "")
    return f"{name} ({row.candidate})" if name else str(row.candidate)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count:,} seeds"


def _number(value: float, form: str) -> str:
    return "?" if pd.isna(value) else format(value, form)


def _p(value: float) -> str:
    """With its sign of relation."""
    if pd.isna(value):
        return "?"
    return p_value(value)


def confirmation_table(table: pd.DataFrame, reference: str, margin: float) -> Table:
    """The reference and every candidate, for the terminal.

    Parameters
    ----------
    table : DataFrame
        See the module.
    reference : str
        As it is to be called.
    margin : float
        Of equivalence, in nats.
    """
    shown = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="loss on the test split, and its difference to the reference, in nats; p of no"
        f" difference, after Holm; ≈ less than the margin of {margin:.4f}; undecided: the seeds"
        " that would decide",
        caption_justify="left",
    )
    shown.add_column("candidate", overflow="fold")
    for title in ("loss", "difference", "95 %", "p", "pairs"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("verdict", min_width=10)
    shown.add_row(reference, _reference_loss(table), "", "", "", "", "reference", style="bold")
    for row in table.itertuples():
        verdict = row.verdict
        if verdict == "undecided":
            verdict += f": {_wanted(row)}"
        elif verdict != "equivalent" and row.within_margin:
            verdict += " ≈"
        shown.add_row(
            _named(row),
            _number(row.mean, ".4f"),
            _number(row.difference, "+.4f"),
            f"{_number(row.low, '+.4f')} {_number(row.high, '+.4f')}",
            _p(row.p_difference_holm).removeprefix("= "),
            f"{row.seeds}x",
            verdict,
        )
    return shown


def plot_confirmation(
    table: pd.DataFrame, reference: str, margin: float, axes: Axes | None = None
) -> Figure:
    """The differences to the reference with their intervals, beside the margin: a forest plot.

    Parameters
    ----------
    table : DataFrame
        See the module.
    reference : str
        As it is to be called.
    margin : float
        Of equivalence, in nats.
    axes : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Figure
    """
    # Here, so that sentences and tables need not wait for it.
    import seaborn as sns

    from dynamoe_search.report.plots import BLUE, GRAY, GREEN, ORANGE, one_panel

    table = table.reset_index(drop=True)
    figure, axes = one_panel(axes, 8.0, 1.9 + 0.3 * len(table))
    axes.axvspan(-margin, margin, color=GREEN, alpha=0.12, lw=0, label=f"margin ±{margin:.4f}")
    axes.axvline(0, color="black", lw=0.8)
    found = []
    for verdict, color, marker in (
        ("better", BLUE, "o"),
        ("worse", ORANGE, "D"),
        ("equivalent", GREEN, "s"),
        ("undecided", GRAY, "o"),
    ):
        rows = table[table["verdict"] == verdict]
        found.append(f"{len(rows)} {verdict}")
        if len(rows):
            axes.hlines(rows.index, rows["low"], rows["high"], color=color, lw=1.5)
            face = "white" if verdict == "undecided" else color
            axes.scatter(
                rows["difference"],
                rows.index,
                s=36,
                marker=marker,
                facecolors=face,
                edgecolors=color,
                label=verdict,
                zorder=3,
            )
    labels = [
        f"{getattr(row, 'name', '') or row.candidate}  ({row.seeds}x)" for row in table.itertuples()
    ]
    axes.set_yticks(range(len(table)), labels, fontsize=8)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("test loss less the reference's (nats), mean and 95 % interval; above 0: worse")
    axes.set_title(
        f"Of {len(table)} candidates: {', '.join(found)}\ncompared with {reference}", fontsize=10
    )
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(ax=axes)
    return figure
