"""Plots of how varied the tokens are that enter each layer, and how similar those of two layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.figure import (
    BLUE,
    COLOR_MAP,
    GRAY,
    LOOKS,
    in_own_style,
    one_panel,
    panels,
    write_in_cell,
)

_MOST_NUMBERED = 8  # layers whose pairs have room for a number
_DARK = 0.6  # of the color scale: white can be read on it up to here, black beyond


@in_own_style
def plot_representation(ranks: pd.DataFrame, likeness: pd.DataFrame) -> Figure:
    """How varied the tokens are that enter each layer, and how similar those of two layers.

    Parameters
    ----------
    ranks : DataFrame
        As `dynamoe_search.measure.representation.rank_table` gives it.
    likeness : DataFrame
        As `dynamoe_search.measure.representation.cka_table` gives it, of the same network.
    """
    figure, grid = panels(1, 2, 10.5, 4.4, width_ratios=[1.15, 1])
    _plot_ranks(grid[0, 0], ranks)
    _plot_likeness(grid[0, 1], likeness.pivot(index="layer", columns="other", values="cka"))
    return figure


@in_own_style
def plot_rank_shares(
    table: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None
) -> Figure:
    """How varied the tokens are that enter each layer, a line for each candidate.

    Parameters
    ----------
    table : DataFrame
        The `dynamoe_search.measurement_table` of "representation".
    names : mapping of str to str
        The candidates to show, at most six, and what each is called.

    Raises
    ------
    InvalidInput
        Where none of them was measured.
    """
    shares = table.groupby(["candidate", "layer"])["rank_share"].mean().unstack("layer")
    shares = shares.loc[[candidate for candidate in names if candidate in shares.index]]
    if shares.empty:
        raise InvalidInput("the representations of none of them were measured")
    figure, axes = one_panel(axes, 5.4, 3.8)
    for (candidate, values), (color, dash, marker) in zip(shares.iterrows(), LOOKS, strict=False):
        look = {"marker": marker, "ls": dash, "ms": 4, "color": color}
        axes.plot(values.index, values, label=names[str(candidate)], **look)
    _layer_ticks(axes, len(shares.columns))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("layer that the tokens enter")
    axes.set_ylabel("effective rank over the width (1: all directions)")
    first, last = shares.iloc[0].iloc[[0, -1]]
    title = f"{names[str(shares.index[0])]}: tokens fill {first:.0%} of the directions"
    axes.set_title(f"{title} at the first layer,\n{last:.0%} at the last", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _plot_ranks(axes: Axes, ranks: pd.DataFrame) -> None:
    width = int(ranks["width"].iloc[0])
    axes.plot(ranks["layer"], ranks["effective_rank"], "o-", color=BLUE)
    axes.axhline(width, color=GRAY, lw=0.8, ls="--")
    look: Any = {"ha": "right", "va": "top", "fontsize": 8, "color": "dimgray"}
    place = axes.get_yaxis_transform()
    axes.text(1, 0.98 * width, f"width d = {width}", transform=place, **look)
    axes.set_ylim(0, 1.05 * width)
    _layer_ticks(axes, len(ranks))
    axes.set_xlabel("layer that the tokens enter")
    axes.set_ylabel("effective rank of the tokens")
    axes.set_title(_rank_title(ranks), fontsize=10)


def _rank_title(ranks: pd.DataFrame) -> str:
    ordered = ranks.dropna().sort_values("effective_rank", kind="stable")
    if len(ordered) < 2:
        return "Effective rank"
    low, high = ordered.iloc[0], ordered.iloc[-1]
    return (
        f"The most varied tokens enter layer {high['layer']:.0f}, of effective rank"
        f" {high['effective_rank']:.1f},\nthe least varied layer {low['layer']:.0f}, of"
        f" {low['effective_rank']:.1f}"
    )


def _plot_likeness(axes: Axes, cka: pd.DataFrame) -> None:
    values, depth = cka.to_numpy(), len(cka)
    edges = np.arange(depth + 1) + 0.5
    low = float(np.nanmin(values, initial=0.0))
    cells = axes.pcolormesh(edges, edges, values, cmap=COLOR_MAP, vmin=low, vmax=1)
    axes.figure.colorbar(cells, ax=axes, label="linear CKA (debiased)")
    if depth <= _MOST_NUMBERED:
        for (row, column), value in np.ndenumerate(values):
            text = "?" if np.isnan(value) else f"{value:.2f}"
            is_dark = bool(value < low + _DARK * (1 - low))
            write_in_cell(axes, column + 1, row + 1, text, is_dark)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    _layer_ticks(axes, depth)
    axes.set_yticks(axes.get_xticks())
    axes.set_ylim(depth + 0.5, 0.5)
    axes.set_xlabel("layer")
    axes.set_ylabel("layer")
    axes.set_title(_likeness_title(values), fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _likeness_title(cka: NDArray[np.float64]) -> str:
    if len(cka) < 2 or np.isnan(cka).any():
        return "CKA of the tokens of two layers"
    neighbors = np.diagonal(cka, offset=1)
    return (
        f"Tokens of the first and the last layer have a CKA of {cka[0, -1]:.2f},\n"
        f"those of two neighbors at least {neighbors.min():.2f}"
    )


def _layer_ticks(axes: Axes, depth: int) -> None:
    axes.set_xlim(0.5, depth + 0.5)
    axes.set_xticks(range(1, depth + 1, 1 + depth // 13))
