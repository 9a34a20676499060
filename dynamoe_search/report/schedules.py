"""Schedules, to look at: as bars of text, as a table, and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dynamoe_search.report.figure import BLUE, equal_panels, in_own_style
from dynamoe_search.report.table import Column, Table, texts
from dynamoe_search.schedules import Schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLOCKS = " ▁▂▃▄▅▆▇█"


def sparkline(schedule: Schedule) -> str:
    """The schedule as a row of bars, one character per layer.

    Examples
    --------
    >>> sparkline(Schedule((8, 6, 4, 2)))
    '█▆▄▂'
    >>> sparkline(Schedule((0, 0, 4, 4)))  # dense layers have none
    '  ██'
    """
    most = max(schedule)
    heights = [max(1, round(8 * count / most)) if count else 0 for count in schedule]
    return "".join(_BLOCKS[height] for height in heights)


def shape(row: Mapping[str, Any]) -> str:
    """The bars of a candidate's schedule, and of its active schedule where that was searched.

    Parameters
    ----------
    row : mapping
        Of a leaderboard.

    Examples
    --------
    >>> shape({"schedule": "4-4", "active_schedule": "2-1"})
    '██ █▄'
    """
    texts = [row["schedule"], row.get("active_schedule")]
    return " ".join(sparkline(Schedule.parse(text)) for text in texts if text)


def bars(schedule: Schedule, height: int = 8) -> list[str]:
    """The schedule as upright bars: lines of text from the top down, the layers' numbers last.

    Examples
    --------
    >>> print("\\n".join(bars(Schedule((4, 2)), height=2)))
       4 ██
       2 ██ ██
         1  2
    """
    most = max(schedule)
    lines = []
    for row in range(height, 0, -1):
        eighths = [round(8 * (count * height / most - (row - 1))) for count in schedule]
        cells = [_BLOCKS[min(8, max(0, part))] * 2 for part in eighths]
        lines.append(f"{round(most * row / height):>4} " + " ".join(cells).rstrip())
    layers = " ".join(f"{layer:<2}" for layer in range(1, schedule.depth + 1))
    return [*lines, "     " + layers.rstrip()]


def schedule_table(schedules: Mapping[str, Schedule], about: Mapping[str, str]) -> Table:
    """Named schedules, a row each, with what there is to say about them."""
    columns = [Column("name", is_name=True), *texts("schedule", "shape", "rule and origin")]
    rows = [
        (name, str(schedule), sparkline(schedule), about.get(name, ""))
        for name, schedule in schedules.items()
    ]
    return Table(columns, rows)


@in_own_style
def plot_schedules(schedules: Mapping[str, Schedule]) -> Figure:
    """Bars of the experts per layer, a panel for each schedule.

    Parameters
    ----------
    schedules : mapping of str to Schedule
        By title.
    """
    figure, row = equal_panels(len(schedules), width=2.9, height=2.1, label="experts")
    for axes, (title, schedule) in zip(row, schedules.items(), strict=True):
        layers = np.arange(1, schedule.depth + 1)
        axes.bar(layers, schedule.counts, color=BLUE, width=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0.4, schedule.depth + 0.6)
        if schedule.depth <= 12:
            axes.set_xticks(layers)
        axes.tick_params(labelsize=8)
        axes.set_xlabel("layer", fontsize=9)
    return figure
