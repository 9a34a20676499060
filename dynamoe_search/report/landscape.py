"""The landscape of a study, in sentences and as maps: the fitted loss, and how sure it is.

All take the ``landscape`` of `dynamoe_search.decision.landscape.fit_landscape`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from dynamoe_search.decision.landscape import Landscape
from dynamoe_search.report.figure import (
    COLOR_MAP,
    INK,
    ORANGE,
    PAPER,
    in_own_style,
    label_points,
    lay_out,
    one_panel,
)
from dynamoe_search.report.wording import named, percents

_CELLS = 50  # a side of the grid on which the surface is drawn
_MARGIN = 0.04  # of the map, around what is shown
_NOTHING = 0.005  # of the variance
_LEVELS = 10
# Of the surface, beyond which colors do not differ: a few bad candidates should not flatten all.
_SHOWN = 0.95


def landscape_sentences(landscape: Landscape) -> list[str]:
    """What the axes are, how far the surface can be trusted, and where it is lowest."""
    early, central = landscape.shares
    have = "use" if landscape.of_active else "have"
    sentences = [
        f"To the right, the first layers {have} more experts, to the left the last ones: descending"
        f" lies to the right, ascending to the left. This direction holds {percents(early)} of the"
        " differences between schedules of the family.",
        f"Upwards, layers in the middle {have} more experts, downwards those at both ends: pyramid"
        f" lies above, inverted_pyramid below. This direction holds {percents(central)}.",
    ]
    if 1 - early - central > _NOTHING:
        sentences.append(
            f"The other {percents(1 - early - central)} is not on the map: schedules at one place"
            " can differ, and waves lie near uniform, which is in the middle."
        )
    sentences.append(_trust(landscape))
    if landscape.noise.degrees:
        sentences.append(
            f"One training run scatters by {landscape.noise.deviation:.4f} nats around the mean of"
            f" its candidate ({landscape.noise.degrees} degrees of freedom); the fit accounts for"
            " it."
        )
    return sentences + (_lowest(landscape) if landscape.predictive_r2 > 0 else [])


def _lowest(landscape: Landscape) -> list[str]:
    candidates = landscape.candidates
    lowest = candidates.loc[candidates["fitted"].idxmin()]
    sentences = [
        f"Of what was trained, the surface is lowest at {_titled(lowest)}: {_fitted(lowest)}."
    ]
    patterns = candidates[candidates["pattern"] != ""]
    if len(patterns) and not lowest["pattern"]:
        best = patterns.loc[patterns["fitted"].idxmin()]
        sentences.append(f"Of the named schedules, at {_titled(best)}: {_fitted(best)}.")
    return sentences


def _trust(landscape: Landscape) -> str:
    if landscape.predictive_r2 <= 0:
        return (
            "When each candidate is left out of the fit in turn, the surface predicts it no better"
            " than the mean of the others does: no valley or hill of it can be trusted."
        )
    return (
        "When each candidate is left out of the fit in turn, the surface predicts"
        f" {percents(landscape.predictive_r2)} of the variance of their losses; the rest is noise,"
        " or not on the map."
    )


def _titled(row: pd.Series) -> str:
    return named(row["pattern"], row["candidate"])


def _fitted(row: pd.Series) -> str:
    return f"{row['fitted']:.4f} ± {row['margin']:.4f} nats"


@in_own_style
def plot_landscape(
    landscape: Landscape, uncertainty: bool = False, axes: Axes | None = None
) -> Figure:
    """The map of a study: where patterns lie, what was tried, and the surface fitted to it.

    What the family does not reach is left blank.

    Parameters
    ----------
    landscape : Landscape
    uncertainty : bool
        Whether to color how uncertain the surface is, in place of its height.
    """
    figure, axes = one_panel(axes, 5.4, 4.8)
    candidates = landscape.candidates
    low, high = landscape.reach.min(axis=0), landscape.reach.max(axis=0)
    room = _MARGIN * (high - low)
    x, y = np.linspace(low - room, high + room, _CELLS).T
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    height, margin = landscape.surface(grid)
    shown = (margin if uncertainty else height).reshape(len(y), len(x))
    hull = landscape.reach[ConvexHull(landscape.reach).vertices]
    inside = shown[Path(hull).contains_points(grid).reshape(shown.shape)]
    # Colors should not make much of less than is known: neither of a height nor of a margin.
    known = float(candidates["margin"].median())
    levels = _levels(inside if inside.size else shown, known if uncertainty else 2 * known)
    cells = axes.contourf(x, y, shown, levels=levels, cmap=f"{COLOR_MAP}_r", extend="both")
    cells.set_clip_path(Polygon(hull, transform=axes.transData))
    label = "95 % margin of the fitted loss (± nats)" if uncertainty else "fitted loss (nats)"
    figure.colorbar(cells, ax=axes, label=label)
    unnamed = candidates[candidates["pattern"] == ""]
    size = 8 + 2 * unnamed["seeds"]
    axes.scatter(unnamed["x"], unnamed["y"], s=size, c=PAPER, edgecolors=INK, lw=0.7)
    patterns = candidates[candidates["pattern"] != ""]
    axes.scatter(patterns["x"], patterns["y"], s=42, marker="D", c=ORANGE, edgecolors=PAPER, lw=0.8)
    if landscape.predictive_r2 > 0:
        lowest = candidates.loc[candidates["fitted"].idxmin()]
        axes.plot(lowest["x"], lowest["y"], "*", ms=15, color=PAPER, mec=INK, mew=0.8)
    early, central = map(percents, landscape.shares)
    what = "active experts" if landscape.of_active else "experts"
    axes.set_xlabel(f"{what} late ← → early: tilt ({early} of differences)")
    axes.set_ylabel(f"at the ends ← → in the middle: peak ({central})")
    axes.set_title(_title(landscape, uncertainty), fontsize=10)
    axes.tick_params(labelsize=8)
    lay_out(figure)
    label_points(axes, list(patterns["pattern"]), patterns[["x", "y"]], candidates[["x", "y"]])
    return figure


def _levels(values: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Where colors change: over the values, but over a range of at least so much."""
    low, high = np.quantile(values, [0, _SHOWN])
    room = max(0.0, least - (high - low)) / 2
    return np.asarray(MaxNLocator(_LEVELS).tick_values(low - room, high + room))


def _title(landscape: Landscape, uncertainty: bool) -> str:
    candidates = landscape.candidates
    if uncertainty:
        margins = candidates["margin"]
        return (
            f"The fitted loss is known to ±{margins.min():.4f} to ±{margins.max():.4f} nats\n"
            f"where its {len(candidates)} candidates were trained"
        )
    if landscape.predictive_r2 <= 0:
        return "No valley can be trusted:\nthe surface predicts no better than the mean does"
    lowest = candidates.loc[candidates["fitted"].idxmin()]
    return (
        f"The fitted loss is lowest at {_titled(lowest)};\n"
        f"it predicts {percents(landscape.predictive_r2)} of the variance of what was left out"
    )
