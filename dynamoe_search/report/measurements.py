"""What a study has measured of its networks beside their loss: tables, and what that cost."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dynamoe_search.measure.quantities import MEASURED, MEASURES
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import half_interval, percents, plus_minus


def measured_tables(
    board: pd.DataFrame, rows: int, measures: Sequence[str] = MEASURES
) -> list[Table]:
    """What the study asked to be measured, a table each; none where it asked for nothing.

    Parameters
    ----------
    board : DataFrame
        A leaderboard, or a Pareto table, with the columns of `measured_means`.
    rows : int
        Show this number of the first, and the named schedules below them.
    measures : sequence of str
        Of `dynamoe_search.measure.quantities.MEASURES`, those to show.
    """
    shown = board[(board.index < rows) | (board["pattern"] != "")]
    tables = []
    for measure in measures:
        of_it = [name for name in MEASURED if MEASURED[name].measure == measure and name in board]
        if not of_it:
            continue
        headers = [f"{MEASURED[name].label}\n({MEASURED[name].unit})" for name in of_it]
        columns = [Column("schedule", is_name=True), *numbers(*headers, "seeds")]
        cells = []
        for row in shown.to_dict("records"):
            width = [plus_minus(half_interval(row, name), ".2g") for name in of_it]
            values = [f"{row[name]:.3g}{ends}" for name, ends in zip(of_it, width, strict=True)]
            cells.append([row["candidate"], *values, str(row["seeds"])])
        tables.append(Table(columns, cells, f"{measure}, ± 95 %"))
    return tables


def cost_sentences(runs: pd.DataFrame) -> list[str]:
    """What measuring took beside training and evaluation; nothing where nothing was measured."""
    complete = runs[runs["state"] == "complete"]
    if not any(name in complete and complete[name].notna().any() for name in MEASURED):
        return []
    measuring, training = (complete[f"{part}_seconds"].sum() for part in ("measuring", "training"))
    share = percents(measuring / training)
    return [f"Measuring took {measuring:.0f} s, {share} of the time of training."]
