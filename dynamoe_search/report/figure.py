"""Figures: their colors, panels, marks and labels.

Seaborn and matplotlib are imported when the first figure is made, so that sentences and tables,
which share modules with plots, do not wait for them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.api.extensions import ExtensionDtype

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")
Drawn = TypeVar("Drawn")

_MAY_BE_EMPTY = ("name", "settings", "pattern", "message")

# Okabe and Ito's colors, which people with any kind of color vision can distinguish.
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
# For lines, which should differ without color, too: colors of theirs, dash and marker; each
# color twice.
LOOKS: Sequence[tuple[str, Any, str]] = (
    (BLUE, "-", "o"),
    (ORANGE, "--", "D"),
    (GREEN, "-.", "s"),
    ("#CC79A7", ":", "^"),
    ("#E69F00", (0, (5, 1)), "v"),
    ("#56B4E9", (0, (3, 1, 1, 1)), "P"),
    (BLUE, "--", "X"),
    (ORANGE, "-", "<"),
    (GREEN, ":", ">"),
    ("#CC79A7", "-", "*"),
    ("#E69F00", "-.", "h"),
    ("#56B4E9", "--", "d"),
)
# For marks on a color. The report shows pure black and white in the page's own text and background
# colors, which a dark page exchanges; on a color they must stay.
INK, PAPER = "#010101", "#fefefe"
COLOR_MAP = "cividis"  # read equally well with every kind of color vision, and in gray


@contextmanager
def own_style() -> Iterator[None]:
    """Draw in our style, whatever the user's settings of matplotlib are."""
    import seaborn as sns
    from matplotlib import style

    # In SVG text stays text: it can be searched and read out, and is small.
    with style.context(["default", sns.axes_style("ticks"), {"svg.fonttype": "none"}]):
        yield


def in_own_style(plot: Callable[Arguments, Drawn]) -> Callable[Arguments, Drawn]:
    """Let a plot have our style, unless it is drawn on the user's axes; it takes tables from files.

    In CSV an empty text is nothing, which pandas reads as missing.
    """

    @functools.wraps(plot)
    def styled(*arguments: Arguments.args, **options: Arguments.kwargs) -> Drawn:
        from matplotlib.axes import Axes

        given: Any = [_as_we_made_it(argument) for argument in arguments]
        named: Any = {name: _as_we_made_it(option) for name, option in options.items()}
        if any(isinstance(one, Axes) for one in (*given, *named.values())):
            return plot(*given, **named)
        with own_style():
            return plot(*given, **named)

    return styled


def _as_we_made_it(argument: Any) -> Any:
    if not isinstance(argument, pd.DataFrame):
        return argument
    # Readers can be told to give columns of nullable types, or of those of pyarrow.
    nullable = {
        name: column.astype(object).where(column.notna(), np.nan).infer_objects()
        for name, column in argument.items()
        if isinstance(column.dtype, ExtensionDtype) and column.dtype.na_value is pd.NA
    }
    argument = argument.assign(**nullable)
    texts = argument[[name for name in _MAY_BE_EMPTY if name in argument]]
    return argument.assign(**texts.astype(object).where(texts.notna(), ""))


def panels(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, Any]:
    """A new figure of a size in inches, and its axes: an array of shape (rows, columns)."""
    import seaborn as sns
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    sns.despine(figure)
    for axes in grid.flat:
        axes.title.set_wrap(True)
    return figure, grid


def equal_panels(
    count: int, width: float, height: float, label: str
) -> tuple[Figure, Sequence[Axes]]:
    """Panels of a size in inches, up to four in a row, that share one labeled y axis."""
    columns = min(4, count)
    rows = -(-count // columns)
    figure, grid = panels(rows, columns, width * columns + 0.4, height * rows + 0.3, sharey=True)
    for axes in grid.flat[count:]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(label, fontsize=9)
    return figure, grid.flat[:count]


def one_panel(axes: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes that were given, with their figure; else those of a new one, of a size in inches."""
    if axes is None:
        figure, grid = panels(1, 1, width, height)
        return figure, grid[0, 0]
    axes.spines[["top", "right"]].set_visible(False)
    return axes.figure.figure, axes


def intervals(
    axes: Axes, low: Any, middle: Any, high: Any, place: Any, color: Any, **marks: Any
) -> None:
    """Points with their intervals, one above the other; `marks` are those of `Axes.scatter`."""
    axes.hlines(place, low, high, colors=color, lw=1.5)
    axes.scatter(middle, place, edgecolors=color, zorder=3, **{"s": 34, "c": color} | marks)


def forest(
    axes: Axes, rows: pd.DataFrame, middle: str, margin: float, looks: Mapping[str, tuple[str, str]]
) -> dict[str, int]:
    """Draw differences from the top down, beside a margin; give the count of each verdict.

    `rows` have ``low``, the column `middle`, ``high`` and ``verdict``; `looks` are a color and a
    marker for each verdict, of which the last one is drawn hollow.
    """
    axes.axvspan(-margin, margin, color=GREEN, alpha=0.12, lw=0, label=f"margin ±{margin:.4f}")
    axes.axvline(0, color="black", lw=0.8)
    found = {}
    for verdict, (color, marker) in looks.items():
        place = np.flatnonzero(rows["verdict"] == verdict)
        part = rows.iloc[place]
        found[verdict] = len(part)
        if len(part):
            spread = (part["low"], part[middle], part["high"])
            face = "white" if verdict == list(looks)[-1] else color
            intervals(axes, *spread, place, color, c=face, marker=marker, label=verdict)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    return found


def write_in_cell(axes: Axes, x: float, y: float, text: str, is_dark: bool) -> None:
    """Write on a cell of a heat map, in a color that can be read on it."""
    ink = PAPER if is_dark else INK
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=ink)


def legend_below(axes: Axes, columns: int = 2) -> None:
    """A legend half an inch under the axes, below their label."""
    from matplotlib.transforms import ScaledTranslation

    under = axes.transAxes + ScaledTranslation(0, -0.5, axes.figure.figure.dpi_scale_trans)
    where: Any = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under}
    axes.legend(fontsize=8, frameon=False, ncols=columns, **where)


def lay_out(figure: Figure) -> None:
    """Give everything its place for good, so that labels can be put where they hide least."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)  # else drawing makes the layout again


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, whose ending says the format."""
    with own_style():
        figure.savefig(path, dpi=150)


_DISTANCES = (6, 16, 28, 42)
_ANGLES = np.deg2rad([45, 135, -45, -135, 0, 180, 90, -90])


def label_points(axes: Axes, labels: Sequence[str], labeled: ArrayLike, others: ArrayLike) -> None:
    """Write a label beside each point, off the other labels, and off as many points as possible.

    The figure must be laid out; see `lay_out`. Places are of shape (n, 2), in the axes' units;
    `others` are all points, the labeled ones among them.
    """
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    pixels = axes.figure.figure.dpi / 72
    points = axes.transData.transform(np.asarray(others, dtype=np.float64))
    angles = np.tile(_ANGLES, len(_DISTANCES))
    ways = np.column_stack([np.cos(angles), np.sin(angles)])
    distances = pixels * np.repeat(_DISTANCES, len(_ANGLES))[:, None]
    arrow = {"arrowstyle": "-", "color": ORANGE, "lw": 0.6, "shrinkA": 0, "shrinkB": 3}
    style: Any = {"fontsize": 8, "color": ORANGE, "ha": "center", "va": "center", "zorder": 4}
    outline = [withStroke(linewidth=2, foreground="white")]
    taken: list[Bbox] = []
    for text, (x, y) in zip(labels, np.asarray(labeled, dtype=np.float64), strict=True):
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", arrowprops=arrow, **style
        )
        label.set(path_effects=outline, in_layout=False)
        half = np.array(Text.get_window_extent(label).size) / 2
        shifts = ways * (distances + half)
        places = axes.transData.transform((x, y)) + shifts
        boxes = [Bbox([place - half, place + half]) for place in places]
        hidden = [
            100 * box.count_overlaps(taken)
            + 100 * (axes.bbox.count_contains(box.corners()) < 4)
            + box.count_contains(points)
            for box in boxes
        ]
        best = int(np.argmin(hidden))  # of equals the nearest
        label.set_position(tuple(shifts[best] / pixels))
        taken.append(boxes[best])
