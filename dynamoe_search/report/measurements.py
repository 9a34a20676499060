"""What a study had measured of its networks, beside their loss: tables, and what that cost."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.table import Table

from dynamoe_search.measure.quantities import MEASURED, MEASURES
from dynamoe_search.report.terminal import plus_minus


def measured_tables(board: pd.DataFrame, rows: int) -> list[Table]:
    """What the study asked to be measured, a table each; none where it asked for nothing.

    Parameters
    ----------
    board : DataFrame
        A leaderboard, or a Pareto table, with the columns of `measured_means`.
    rows : int
        Show so many of the first, and the named schedules below them.
    """
    shown = board[(board.index < rows) | (board["pattern"] != "")]
    tables = []
    for measure in MEASURES:
        columns = [name for name in MEASURED if MEASURED[name].measure == measure]
        columns = [name for name in columns if name in board]
        if not columns:
            continue
        table = Table(
            title=f"{measure}, ± 95 %",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column("schedule", overflow="fold")
        table.add_column("trained", justify="right")
        for name in columns:
            title = f"{MEASURED[name].label}\n({MEASURED[name].unit})"
            table.add_column(title, justify="right")
        for row in shown.to_dict("records"):
            table.add_row(
                f"{row['schedule']} {row['settings']}".rstrip(),
                f"{row['blocks']}x",
                *(
                    f"{row[name]:.3g}" + plus_minus(row[f"{name}_high"] - row[name], "{:.2g}")
                    for name in columns
                ),
            )
        tables.append(table)
    return tables


def cost_sentences(runs: pd.DataFrame) -> list[str]:
    """What measuring took beside training and evaluation; nothing where nothing was measured."""
    complete = runs[runs["state"] == "complete"]
    if not any(name in complete and complete[name].notna().any() for name in MEASURED):
        return []
    parts = {name: complete[f"{name}_seconds"].sum() for name in ("measuring", "training")}
    share = parts["measuring"] / parts["training"]
    return [f"Measuring took {parts['measuring']:.0f} s, {share:.0%} of the time of training."]
