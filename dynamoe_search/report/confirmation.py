"""What a confirmation has found: in sentences, as a table, and as a plot.

All take the ``table`` of `Study.confirmation`, or of `dynamoe_search.compare_with_reference`, or of
`dynamoe_search.statistics.compare_until_decided`, which has the column ``is_open``; the
``reference`` as it is to be called; and the ``margin`` of equivalence in nats that the table was
made with. Candidates are shown with their ``name`` where the table has that column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dynamoe_search.report.figure import BLUE, GRAY, GREEN, ORANGE, forest, in_own_style, one_panel
from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.wording import counted, named, number, p_value
from dynamoe_search.statistics.comparison import ERROR_RATE, MOST_SEEDS, POWER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {
    "better": (BLUE, "o"),
    "worse": (ORANGE, "D"),
    "equivalent": (GREEN, "s"),
    "undecided": (GRAY, "o"),
}


def confirmation_sentences(
    table: pd.DataFrame, reference: str, margin: float, looks: int = 1
) -> list[str]:
    """Which differences to the reference are real, which candidates are as good, and what is open.

    Parameters
    ----------
    table, reference, margin
        See the module.
    looks : int
        How many numbers of seeds the results were looked at with; above 1, the number was raised,
        which does no harm where it is the most seeds until all is decided.

    Examples
    --------
    >>> from dynamoe_search.statistics.comparison import compare_with_reference
    >>> results = pd.DataFrame({
    ...     "candidate": ["2-2"] * 3 + ["3-1"] * 3,
    ...     "seed": [0, 1, 2] * 2,
    ...     "loss": [0.50, 0.55, 0.52, 0.61, 0.65, 0.64],
    ... })
    >>> table = compare_with_reference(results, reference="2-2", margin=0.01)
    >>> print(confirmation_sentences(table, reference="2-2", margin=0.01)[1])
    2-2 is better than 3-1 by 0.1100 nats (95 % 0.0852 to 0.1348; 3 seeds, p = 0.003 after Holm).
    """
    sentences = [
        f"Reference: {reference}, mean test loss {_reference_loss(table)} nats"
        f" ({counted(table['seeds'].max(), 'seed')})."
    ]
    different = table[table["verdict"].isin(["worse", "better"])]
    sentences += [_difference(row, reference, margin) for row in different.itertuples()]
    if different.empty:
        sentences.append(f"No candidate is shown to differ from {reference}.")
    equivalent = table[table["verdict"] == "equivalent"]
    if not equivalent.empty:
        largest = p_value(equivalent["p_equivalence_holm"].max())
        sentences.append(
            f"Equivalent to {reference} within ±{margin:.4f} nats (largest p {largest} after Holm):"
            f" {'; '.join(map(_equivalent, equivalent.itertuples()))}."
        )
    sentences += _undecided(table, reference) + _missing(table)
    return [*sentences, _error_rates(table, looks)]


def _difference(row: Any, reference: str, margin: float) -> str:
    better, worse, sign = reference, _named(row), 1
    if row.verdict == "better":
        better, worse, sign = worse, better, -1
    low, high = sorted((sign * row.low, sign * row.high))
    small = f"; less than the margin of {margin:.4f}" if row.within_margin else ""
    decided = "decided with " if _is_sequential(row) else ""
    return (
        f"{better} is better than {worse} by {sign * row.difference:.4f} nats (95 % {low:.4f} to"
        f" {high:.4f}; {decided}{counted(row.seeds, 'seed')}, p {p_value(row.p_difference_holm)}"
        f" after Holm{small})."
    )


def _equivalent(row: Any) -> str:
    return _named(row) + (f", {counted(row.seeds, 'seed')}" if _is_sequential(row) else "")


def _is_sequential(row: Any) -> bool:
    """Whether a row, or a table, is of comparisons that each go on until they are decided."""
    return hasattr(row, "is_open")


def _undecided(table: pd.DataFrame, reference: str) -> list[str]:
    undecided = table[table["verdict"] == "undecided"]
    if undecided.empty:
        return []
    names = "; ".join(f"{_named(row)}, {_wanted(row)}" for row in undecided.itertuples())
    if _is_sequential(table):
        return [
            f"Open against {reference}: {names}. That many would decide with a chance of about"
            f" {100 * POWER:.0f} %, if the true difference and deviation were those observed:"
            " raise --most-seeds, which keeps the error rates."
        ]
    sentence = f"Undecided against {reference}: {names}."
    if (undecided["seeds"] >= 2).any():
        sentence += (
            f" That many seeds would decide with a chance of {100 * POWER:.0f} %, if the true"
            " difference and deviation were those observed."
        )
    return [sentence]


def _wanted(row: Any) -> str:
    """How many seeds would decide; how many more, where those so far count in full."""
    if _is_sequential(row):
        return _further(row)
    if row.seeds < 2:
        return "fewer than 2 pairs"
    if pd.isna(row.seeds_to_decide):
        return f"over {MOST_SEEDS:,} seeds"
    return counted(row.seeds_to_decide, "seed")


def _further(row: Any) -> str:
    if row.looked_at == 0:
        return "no look yet"
    so_far = f"{counted(row.seeds, 'seed')} so far"
    if row.seeds < 2 or pd.isna(row.seeds_to_decide):
        return f"{so_far}, thousands more" if row.seeds >= 2 else f"{so_far}, too few pairs"
    return f"{so_far}, about {row.seeds_to_decide - row.seeds:,} more"


def _missing(table: pd.DataFrame) -> list[str]:
    names = "; ".join(
        f"{_named(row)}, {row.missing} of {counted(row.seeds + row.missing, 'seed')}"
        for row in table[table["missing"] > 0].itertuples()
    )
    if not names:
        return []
    return [
        f"Left out, as the candidate or the reference diverged or is not complete: {names}."
        " What is said of these holds for the other seeds only."
    ]


def _error_rates(table: pd.DataFrame, looks: int) -> str:
    percent, comparisons = f"{100 * ERROR_RATE:.0f} %", len(table)
    if _is_sequential(table):
        return (
            f"Over all looks, and where noise is about symmetric, at most {percent} of such"
            f" confirmations claim any difference that is not there, and at most {percent} any"
            f" equivalence that is not (group-sequential t tests, Holm, comparisons:"
            f" {comparisons}); each interval is of one difference alone, and holds at every look."
        )
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
    return number(table.loc[table["seeds"].idxmax(), "reference_mean"], ".4f")


def _named(row: Any) -> str:
    return named(getattr(row, "name", ""), row.candidate)


def confirmation_table(table: pd.DataFrame, reference: str, margin: float) -> Table:
    """The reference and every candidate."""
    rows = [(reference, "", "reference", _reference_loss(table), "", "", "")]
    for row in table.itertuples():
        verdict = row.verdict
        if verdict == "undecided":
            verdict = f"{'open' if _is_sequential(row) else verdict}: {_wanted(row)}"
        elif verdict != "equivalent" and row.within_margin:
            verdict += " ≈"
        ends = f"{number(row.low, '+.4f')} {number(row.high, '+.4f')}"
        p = p_value(row.p_difference_holm).removeprefix("= ")
        cells = (number(row.mean, ".4f"), ends, p, str(row.seeds))
        rows.append((_named(row), number(row.difference, "+.4f"), verdict, *cells))
    sequential = _is_sequential(table)
    waiting, up_to = ("open", ", up to the look that decided") if sequential else ("undecided", "")
    caption = (
        "loss on the test split, and its difference to the reference with the 95 % interval, in"
        f" nats; ≈: less than the margin of {margin:.4f}; {waiting}: the seeds that would decide;"
        f" p: of no difference, after Holm; pairs: seeds that both have{up_to}"
    )
    columns = [Column("candidate", is_name=True), *numbers("difference"), *texts("verdict")]
    return Table([*columns, *numbers("loss", "95 %", "p", "pairs")], rows, "", caption, {0})


@in_own_style
def plot_confirmation(
    table: pd.DataFrame, reference: str, margin: float, axes: Axes | None = None
) -> Figure:
    """The differences to the reference with their intervals, beside the margin: a forest plot."""
    figure, axes = one_panel(axes, 8.0, 1.9 + 0.3 * len(table))
    counts = forest(axes, table, "difference", margin, _LOOKS)
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    names = table["name"] if "name" in table else table["candidate"]
    labels = names.where(names != "", table["candidate"]) + "  (" + table["seeds"].map(str) + "x)"
    axes.set_yticks(range(len(table)), labels, fontsize=8)
    axes.set_xlabel("test loss less the reference's (nats), mean and 95 % interval; above 0: worse")
    title = f"Of {len(table)} candidates: {found}\ncompared with {reference}"
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
