"""What pruning saved and how far an early look can be trusted: sentences, a table and plots.

All but the table take ``runs``, as `Study.training_runs` gives them. ``table`` is their
`rank_correlations`, where that is known already.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.figure import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    in_own_style,
    legend_below,
    one_panel,
    panels,
)
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import number, percents
from dynamoe_search.statistics.fidelity import (
    Savings,
    compute_saved,
    kendall_interval,
    rank_correlations,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_DRAWN = 200  # curves as lines of their own; more are an image, which is smaller


def fidelity_sentences(runs: pd.DataFrame, table: pd.DataFrame | None = None) -> list[str]:
    """What pruning saved, and how far an early look can be trusted.

    They claim no more than the intervals of `rank_correlations` allow; `table` is that of the runs
    where it is known already.
    """
    savings = compute_saved(runs)
    table = rank_correlations(runs) if table is None else table
    sentences = [_saved(savings) + "."]
    if table.empty:
        return [*sentences, "No complete training run reported its loss before its end."]
    places = _decisive(table, runs)
    sentences += [
        f"At {percents(row.fraction)} of the training the order of candidates agrees with the final"
        f" one by {_tau(row.tau, row.tau_low, row.tau_high)}, {row.candidates} candidates)."
        for row in table.iloc[places].itertuples()
        if not math.isnan(row.tau)
    ]
    first = table.iloc[places[0]]
    if not math.isnan(first["seed_tau"]):
        which = ""
        if first["seed_candidates"] < first["candidates"]:
            which = "; these are the leaders, which a search trains again, and which differ least"
        sentences.append(
            "Full training runs of the same candidates from two seeds agree by"
            f" {_tau(first['seed_tau'], first['seed_low'], first['seed_high'])},"
            f" {first['seed_candidates']:.0f} candidates{which})."
        )
    sentences.append(_verdict(first))
    if savings.pruned:
        sentences.append(
            "Only what survived pruning is seen at the full budget: among all candidates the"
            " agreement is probably larger than among these."
        )
    return sentences


def _saved(savings: Savings) -> str:
    if not savings.pruned:
        return f"None of the {savings.runs} training runs was pruned"
    return (
        f"Pruning ended {savings.pruned} of {savings.runs} training runs early and saved"
        f" {percents(savings.share)} of the training compute"
    )


def _tau(tau: float, low: float, high: float) -> str:
    """Without the closing bracket."""
    interval = "interval unknown" if math.isnan(low) else f"95 % {low:.2f} to {high:.2f}"
    return f"tau = {tau:.2f} ({interval}"


def _decisive(table: pd.DataFrame, runs: pd.DataFrame) -> list[int]:
    """Up to three rungs to speak of: of those where runs were pruned, else of all."""
    pruned_at = runs.loc[runs["state"] == "pruned", "fraction"].dropna()
    places = sorted({int((table["fraction"] - part).abs().argmin()) for part in pruned_at})
    places = places or list(range(len(table)))
    return sorted({places[0], places[len(places) // 2], places[-1]})


def _verdict(row: pd.Series) -> str:
    look = f"a look at {percents(row['fraction'])} of the training"
    if math.isnan(row["tau_low"]):
        return f"Whether {look} can be trusted is unknown: too few candidates were trained in full."
    if row["tau_low"] <= 0:
        return f"Nothing shows that {look} can be trusted: by its interval it may be mere chance."
    text = (
        f"{look.capitalize()} is better than chance: it puts {percents((1 + row['tau']) / 2)} of"
        " pairs of candidates into their final order."
    )
    full, early = row["seed_tau"], row["early_seed_tau"]
    if math.isnan(full):
        return f"{text} How much of the rest is noise is unknown: too few were trained twice."
    _, early_high = kendall_interval(early, row["seed_candidates"])
    text += f" It predicts the order from another seed by tau = {early:.2f},"
    if early_high < row["seed_low"]:
        return f"{text} which is less than the {full:.2f} of a full training run."
    return (
        f"{text} which is statistically indistinguishable from the {full:.2f} of a full training"
        " run."
    )


def fidelity_table(correlations: pd.DataFrame) -> Table:
    """The points of the learning curves and how well each predicts the end: `rank_correlations`."""
    caption = "tau: Kendall's, between the order at this part of the training and the final one"
    for row in correlations[correlations["seed_tau"].notna()].head(1).itertuples():
        caption += (
            "; from another seed: the same with the final order from another seed, of"
            f" {row.seed_candidates} candidates; a full training run predicts it by"
            f" {_tau(row.seed_tau, row.seed_low, row.seed_high)})"
        )
    columns = [Column("training", is_number=True, is_name=True)]
    columns += numbers("tau", "95 %", "candidates", "from another seed")
    rows = []
    for row in correlations.itertuples():
        interval = "?" if math.isnan(row.tau_low) else f"{row.tau_low:.2f} to {row.tau_high:.2f}"
        tau, other = number(row.tau, ".2f"), number(row.early_seed_tau, ".2f")
        rows.append((percents(row.fraction), tau, interval, str(row.candidates), other))
    return Table(columns, rows, "", caption)


@in_own_style
def plot_fidelity(runs: pd.DataFrame) -> Figure:
    """How well early looks predict the end, beside the learning curves.

    Raises
    ------
    InvalidInput
        Where fewer than two candidates were trained in full and evaluated before.
    """
    figure, grid = panels(1, 2, 11, 4.8)
    plot_agreement(runs, grid[0, 0])
    plot_curves(runs, grid[0, 1])
    return figure


@in_own_style
def plot_agreement(
    runs: pd.DataFrame, axes: Axes | None = None, table: pd.DataFrame | None = None
) -> Figure:
    """How well the order of candidates at each point of the training agrees with the final one.

    Raises
    ------
    InvalidInput
        As `plot_fidelity`.
    """
    table = rank_correlations(runs) if table is None else table
    table = table[table["tau"].notna()]
    if table.empty:
        raise InvalidInput(
            "early looks cannot be judged yet: that takes two candidates that were trained in full"
            " and evaluated before the end"
        )
    first = table.iloc[_decisive(table, runs)[0]]
    figure, axes = one_panel(axes, 5.4, 4.6)
    percent = 100 * table["fraction"]
    axes.fill_between(percent, table["tau_low"], table["tau_high"], color=BLUE, alpha=0.15, lw=0)
    axes.plot(percent, table["tau"], "o-", color=BLUE, ms=5, label="same run")
    title = f"At {percents(first['fraction'])} of the training the order agrees with the final one"
    title += f"\nby {_tau(first['tau'], first['tau_low'], first['tau_high'])})"
    if not math.isnan(first["seed_tau"]):
        count = f"{first['seed_candidates']:.0f} candidates"
        axes.axhspan(first["seed_low"], first["seed_high"], color=GREEN, alpha=0.08, lw=0)
        axes.axhline(first["seed_tau"], color=GREEN, ls="--", label="full run, another seed")
        label = f"another seed ({count})"
        axes.plot(percent, table["early_seed_tau"], "^:", color=GREEN, ms=5, label=label)
    axes.axhline(0, color=GRAY, lw=0.8)
    axes.set_ylim(top=1.02)
    axes.set_ylabel("Kendall's tau with the final order, 95 % bands")
    axes.set_title(title, fontsize=10)
    _finish(axes)
    return figure


@in_own_style
def plot_curves(runs: pd.DataFrame, axes: Axes | None = None) -> Figure:
    """The learning curves: the validation loss over the training, of each run.

    Raises
    ------
    InvalidInput
        Where no run reported its loss.
    """
    from matplotlib.collections import LineCollection

    if runs.loc[runs["state"].isin(["complete", "pruned"]), "curve"].isna().all():
        raise InvalidInput("no training run of this study has reported its loss yet")
    figure, axes = one_panel(axes, 5.4, 4.6)
    reported = runs[runs["curve"].notna()]
    losses: list[float] = []
    for state, color, marker in (("complete", BLUE, "o"), ("pruned", ORANGE, "x")):
        curves = [
            np.array([(100 * point["fraction"], point["loss"]) for point in curve])
            for curve in reported.loc[reported["state"] == state, "curve"]
        ]
        if curves:
            many = len(curves) > _MOST_DRAWN
            lines = LineCollection(curves, colors=color, linewidths=0.8, alpha=0.4)
            lines.set_rasterized(many)
            axes.add_collection(lines)
            ends = np.array([curve[-1] for curve in curves])
            dots = axes.scatter(ends[:, 0], ends[:, 1], s=12, c=color, marker=marker, label=state)
            dots.set_rasterized(many)
            losses += np.concatenate(curves)[:, 1].tolist()
    # A few that start high, or diverge, should not flatten the rest.
    lowest, high = min(losses), float(np.quantile(losses, 0.98))
    room = 0.05 * (high - lowest)
    axes.set_ylim(lowest - room, high + room)
    axes.set_ylabel("validation loss (nats)")
    axes.set_title(_saved(compute_saved(runs)).replace(" and saved", "\nand saved"), fontsize=10)
    _finish(axes)
    return figure


def _finish(axes: Axes) -> None:
    axes.set_xlim(0, 102)
    axes.set_xlabel("part of the training (%)")
    legend_below(axes)
