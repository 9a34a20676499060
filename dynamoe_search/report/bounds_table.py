"""The bounds of a budget of experts, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from dynamoe_search.report.bounds import are_alike, engineering
from dynamoe_search.report.terminal import sparkline


def bounds_table(
    scores: pd.DataFrame, extremes: pd.DataFrame, times: pd.DataFrame | None = None
) -> Table:
    """The compared schedules, a row each, and below them those of most and fewest configurations.

    Parameters
    ----------
    scores, extremes
        As in `bounds_sentences`; `scores` may have the two extreme schedules as its last rows.
    times : DataFrame, optional
        As `dynamoe_search.bounds.machine.roofline` gives it, a row for each of `scores`.
    """
    most = extremes.loc["log2_configurations", "most"]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="K: active experts a layer, and FLOPs of a token, forward: fewest to most"
        " (expected); ways: routing configurations, and how many bits short of the most; entropy:"
        " its ceiling, nats a layer; touched: experts a batch, used alike",
        caption_justify="left",
    )
    for title in ("name", "schedule", "shape"):
        table.add_column(title, overflow="fold")
    titles = ["K", "FLOPs", "ways", "short", "entropy", "touched"]
    if times is not None:
        titles += ["step", "decode", "batch"]
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for place, score in enumerate(scores.itertuples()):
        cells = [
            score.name,
            str(score.schedule),
            sparkline(score.schedule),
            _spread(score, "active", "{:.3g}".format),
            _spread(score, "flops", engineering),
            f"2^{score.log2_configurations:.1f}",
            f"{max(0.0, most - score.log2_configurations):.2f}",
            f"{score.entropy_ceiling:.3f}",
            f"{score.distinct_experts:.1f}",
        ]
        if times is not None:
            cells += [f"{engineering(value)}s" for value in times.iloc[place]]
        table.add_row(*cells)
    return table


def _spread(score: Any, name: str, form: Callable[[float], str]) -> str:
    """From the fewest to the most, with what is expected where it is neither."""
    low, expected, high = (
        getattr(score, f"{name}_{end}") for end in ("minimum", "expected", "maximum")
    )
    if are_alike(low, high):
        return form(high).strip()
    span = f"{form(low).strip()}..{form(high).strip()}"
    return span if are_alike(expected, high) else f"{span} ({form(expected).strip()})"
