"""A search for several objectives: sentences, a table, and plots of the Pareto front.

All take the ``table`` of `dynamoe_search.make_pareto_table` and the names of the
``objectives`` that it was made for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.figure import (
    BLUE,
    GRAY,
    ORANGE,
    in_own_style,
    label_points,
    lay_out,
    panels,
)
from dynamoe_search.report.schedules import shape
from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.wording import enumerated, half_interval, named
from dynamoe_search.statistics.pareto import OBJECTIVES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# In the order of the plot's legend.
_FRONT, _MAYBE, _DOMINATED, _INFEASIBLE = _STATES = (
    "on the front",
    "may be on it, within noise",
    "dominated",
    "misses a constraint",
)
_MARKS = dict(zip(_STATES, "●≈ ✗", strict=True))
# An axis is logarithmic where the largest value is more than this many times the smallest.
_SPAN_OF_A_LINEAR_AXIS = 30


def pareto_sentences(table: pd.DataFrame, objectives: Sequence[str]) -> list[str]:
    """Which candidates are on the front, in sentences that claim no more than noise allows."""
    feasible = table[table["feasible"]]
    if feasible.empty:
        return [f"None of the {len(table)} candidates meets the constraints."]
    labels = [OBJECTIVES[name].label for name in objectives]
    sentences = [f"{_finding(table, f' of {enumerated(labels)}')}."]
    sentences += [_best(feasible, name, objectives) for name in objectives]
    patterns = feasible[feasible["pattern"] != ""]
    is_maybe = patterns.groupby("pattern", sort=False)["maybe_on_front"].any()
    for names, verdict in (
        (is_maybe[is_maybe].index, "may be on the front"),
        (is_maybe[~is_maybe].index, "are not on it, by more than noise"),
    ):
        if len(names):
            sentences.append(f"Named schedules that {verdict}: {enumerated(list(names))}.")
    unknown = [OBJECTIVES[name].label for name in objectives if table[f"{name}_low"].isna().all()]
    if unknown:
        sentences.append(
            f"The noise of {enumerated(unknown)} is unknown, as nothing was trained twice: no"
            " candidate can be ruled out."
        )
    missed = len(table) - len(feasible)
    if missed:
        sentences.append(f"{missed} of {len(table)} candidates miss a constraint and are left out.")
    return sentences


def _finding(table: pd.DataFrame, of_what: str = "") -> str:
    front = int(table["on_front"].sum())
    more = int(table["maybe_on_front"].sum()) - front
    return (
        f"{front} of {table['feasible'].sum()} candidates {'is' if front == 1 else 'are'} on the"
        f" Pareto front{of_what}, {f'{more} more' if more else 'no other'} may be, within noise"
    )


def _best(feasible: pd.DataFrame, name: str, objectives: Sequence[str]) -> str:
    objective = OBJECTIVES[name]
    row = feasible.sort_values(name, ascending=objective.minimize, kind="stable").iloc[0]
    interval = ""
    if row[f"{name}_low"] < row[f"{name}_high"]:
        ends = (_number(row[f"{name}_{end}"], row[name]) for end in ("low", "high"))
        interval = f" (95 % interval {' to '.join(ends)})"
    others = [
        f", {OBJECTIVES[other].label} {_number(row[other], row[other])}"
        for other in objectives
        if other != name
    ]
    extreme = "Least" if objective.minimize else "Most"
    return (
        f"{extreme} expected {objective.label}: {named(row['pattern'], row['candidate'])},"
        f" {_number(row[name], row[name])} {objective.unit}{interval}{''.join(others)}."
    )


def _number(value: float, scale: float) -> str:
    """With as many decimals as a number of the size of `scale` needs."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else "?"
    if abs(scale) < 10:
        return f"{value:.4f}"
    return f"{value:.2f}" if abs(scale) < 1000 else f"{value:,.0f}"


def pareto_table(table: pd.DataFrame, objectives: Sequence[str], rows: int = 20) -> Table:
    """The first rows, up to this number, and below them the first of each named schedule."""
    units = "; ".join(f"{name} ({OBJECTIVES[name].unit})" for name in objectives)
    marks = "; ".join(f"{mark} {state}" for state, mark in _MARKS.items() if mark.strip())
    caption = f"{marks}; {units}; expected over all seeds, ± 95 %"
    columns = [*texts(""), Column("candidate", is_name=True), *numbers(*objectives)]
    columns += [*texts("pattern", "shape"), *numbers("seeds")]
    cells = []
    for place in np.flatnonzero((np.arange(len(table)) < rows) | _is_first_of_its_name(table)):
        row = table.iloc[place]
        values = [_number(row[name], row[name]) + _plus_minus(row, name) for name in objectives]
        about = [row["pattern"], _shape(row), str(row["seeds"])]
        cells.append([_MARKS[_states(table)[place]], row["candidate"], *values, *about])
    return Table(columns, cells, "", caption)


def _states(table: pd.DataFrame) -> NDArray[np.str_]:
    conditions = [table["on_front"], table["maybe_on_front"], table["feasible"]]
    return np.select(conditions, _STATES[:3], _INFEASIBLE)


def _is_first_of_its_name(table: pd.DataFrame) -> pd.Series:
    return (table["pattern"] != "") & ~table["pattern"].duplicated()


def _shape(row: pd.Series) -> str:
    """Bars of a schedule; a dense network has none."""
    return "" if row["group"] == "dense" else shape(row)


def _plus_minus(row: pd.Series, name: str) -> str:
    if math.isinf(row[name]):
        return ""
    width = half_interval(row, name)
    return "" if width == 0 else f" ± {_number(width, row[name])}"


@in_own_style
def plot_pareto(table: pd.DataFrame, objectives: Sequence[str]) -> Figure:
    """The candidates and their front, a panel for each pair of objectives.

    Raises
    ------
    InvalidInput
        For fewer than two objectives.
    """
    pairs = list(combinations(objectives, 2))
    if not pairs:
        raise InvalidInput("a front needs two objectives or more to be plotted")
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    size = (7.5, 5.4) if len(pairs) == 1 else (4.6 * columns, 4.1 * rows + 0.7)
    figure, grid = panels(rows, columns, *size)
    for axes, (y, x) in zip(grid.flat, pairs, strict=True):
        _plot_candidates(axes, table, x, y)
    if len(pairs) == 1:  # steps over the best y that is reached at each x
        front = table[table["on_front"] & _is_finite(table, x, y)].sort_values(x)
        style = "steps-post" if OBJECTIVES[x].minimize else "steps-pre"
        axes.plot(front[x], front[y], drawstyle=style, color=BLUE, lw=1.2, zorder=1.5)
    figure.suptitle(_finding(table), fontsize=10, wrap=True)
    look: Any = {"fontsize": 8, "frameon": False, "ncols": 5, "loc": "outside lower center"}
    figure.legend(handles=_handles(table), **look)
    lay_out(figure)
    for axes, (y, x) in zip(grid.flat, pairs, strict=True):
        finite = table[_is_finite(table, x, y)]
        first = finite[_is_first_of_its_name(finite)]
        labels = (first["pattern"] + " " + first["settings"]).str.strip()
        label_points(axes, list(labels), first[[x, y]], finite[[x, y]])
    return figure


def _plot_candidates(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    from matplotlib.ticker import MaxNLocator

    states = _states(table)
    finite = _is_finite(table, x, y)
    for layer, state in enumerate(reversed(_STATES)):
        part = table[finite & (states == state)]
        colors = np.where(part["pattern"] != "", ORANGE, _color(state)).tolist()
        bars: Any = {"fmt": "none", "ecolor": colors, "elinewidth": 1, "alpha": 0.4}
        ends: Any = {"xerr": _both_ways(part, x), "yerr": _both_ways(part, y)}
        axes.errorbar(part[x], part[y], **ends, **bars, zorder=2 + layer / 10)
        axes.scatter(
            part[x],
            part[y],
            s=40 if state == _FRONT else 26,
            facecolors="white" if state == _DOMINATED else colors,
            edgecolors=colors,
            zorder=3 + layer / 10,
            **_look(state),
        )
    for name, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        objective, values = OBJECTIVES[name], table.loc[finite, name]
        if values.max() > _SPAN_OF_A_LINEAR_AXIS * values.min() > 0:
            axes.set(**{f"{axis.axis_name}scale": "log"})
        else:
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        better = "less" if objective.minimize else "more"
        label = f"{objective.label} ({objective.unit}), {better} is better"
        infinite = int(np.isposinf(table[name]).sum())
        axis.set_label_text(f"{label}\n({infinite} infinite, not shown)" if infinite else label)


def _is_finite(table: pd.DataFrame, x: str, y: str) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(table[x]) & np.isfinite(table[y]))


def _color(state: str) -> str:
    return BLUE if state in (_FRONT, _MAYBE) else GRAY


def _look(state: str) -> dict[str, Any]:
    return {"marker": "X" if state == _INFEASIBLE else "o", "alpha": 0.5 if state == _MAYBE else 1}


def _both_ways(part: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """From the mean to either end of its interval; 0 where that is unknown."""
    ends = [part[name] - part[f"{name}_low"], part[f"{name}_high"] - part[name]]
    return np.asarray(np.nan_to_num(np.stack([end.to_numpy(dtype=np.float64) for end in ends])))


def _handles(table: pd.DataFrame) -> list[Line2D]:
    from matplotlib.lines import Line2D

    handles = []
    for state in _STATES:
        if (_states(table) == state).any():
            color = _color(state)
            face = "white" if state == _DOMINATED else color
            look = {"color": color, "markerfacecolor": face, **_look(state)}
            handles.append(Line2D([], [], linestyle="", label=state, **look))
    if (table["pattern"] != "").any():
        handles.append(Line2D([], [], linestyle="", marker="s", color=ORANGE, label="named"))
    return handles
