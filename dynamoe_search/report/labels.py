"""Names beside points of a plot, where they hide least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from dynamoe_search.report.plots import ORANGE

_DISTANCES = (6, 16, 28, 42)
_ANGLES = np.deg2rad([45, 135, -45, -135, 0, 180, 90, -90])


def label_points(axes: Axes, labels: Sequence[str], labeled: ArrayLike, others: ArrayLike) -> None:
    """A label beside each point, off the other labels, and off as many points as can be.

    The layout of the figure must be final: see `Figure.draw_without_rendering`.

    Parameters
    ----------
    axes : Axes
    labels : sequence of str
    labeled : array_like of float, shape (labels, 2)
        In the axes' units.
    others : array_like of float, shape (points, 2)
        All points, those that are labeled among them.
    """
    pixels = axes.figure.figure.dpi / 72
    points = axes.transData.transform(np.asarray(others, dtype=np.float64))
    taken: list[Bbox] = []
    for text, (x, y) in zip(labels, np.asarray(labeled, dtype=np.float64), strict=True):
        label = axes.annotate(
            text,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8,
            color=ORANGE,
            ha="center",
            va="center",
            zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": ORANGE, "lw": 0.6, "shrinkA": 0, "shrinkB": 3},
        )
        label.set_in_layout(False)
        half = np.array(Text.get_window_extent(label).size) / 2
        place = axes.transData.transform((x, y))
        shifts = [
            np.array([np.cos(angle), np.sin(angle)]) * (distance * pixels + half)
            for distance in _DISTANCES
            for angle in _ANGLES
        ]
        boxes = [Bbox([place + shift - half, place + shift + half]) for shift in shifts]
        hidden = [
            100 * box.count_overlaps(taken)
            + 100 * _sticks_out(box, axes)
            + box.count_contains(points)
            for box in boxes
        ]
        best = int(np.argmin(hidden))  # of equals the nearest
        label.set_position(tuple(shifts[best] / pixels))
        taken.append(boxes[best])


def _sticks_out(box: Bbox, axes: Axes) -> bool:
    inside = axes.bbox
    return bool(
        box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
    )
