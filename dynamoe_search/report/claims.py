"""What became of the source's claims: a page in Markdown, and a plot; both from tables alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynamoe_search.claims.source import OUTCOMES, Unit
from dynamoe_search.claims.verdicts import (
    EQUIVALENT,
    NOT_RUN,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
)
from dynamoe_search.report.figure import BLUE, GRAY, GREEN, ORANGE, panels
from dynamoe_search.report.wording import items, paragraph, span
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.comparison import MOST_SEEDS, POWER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs = Mapping[Unit, pd.DataFrame]

_NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
_LOGARITHMIC = ("log_trace", "log_noise_scale")


def claims_page(
    verdicts: pd.DataFrame,
    units: Sequence[Unit],
    runs: Runs,
    command: str,
    plot: str | None,
) -> str:
    """A verdict for each claim and condition, what was held equal, and what is still missing.

    Parameters
    ----------
    verdicts : DataFrame
        As `dynamoe_search.claims.verdicts.judge` gives it.
    units : sequence of Unit
        All that were planned.
    runs : mapping of Unit to DataFrame
        The training runs of those that were begun.
    command : str
        That makes the page; with ``--run`` it trains what is missing.
    plot : str or None
        The name of the picture beside the page.

    Returns
    -------
    str
        Markdown.
    """
    parts = [
        "# The source's claims, examined",
        f"<!-- Made by `{command}` from the tables alone; change those, not this. -->",
        paragraph(_summary(verdicts)),
    ]
    if plot is not None:
        parts.append(f"![Every effect with its 95 % interval, a panel for each claim]({plot})")
    parts += ["## Verdicts", paragraph(_reading())]
    for (claim, outcome), rows in verdicts.groupby(["claim", "outcome"], sort=False):
        parts += [f"### {_heading(claim, outcome)}", paragraph(_unit_of(rows)), _table(rows)]
    parts += ["## What was held equal", paragraph(_held_equal()), _costs(units, runs)]
    parts += ["## Still missing", _missing(verdicts, units, runs, command)]
    parts += ["## How it was judged", items(_method(verdicts))]
    parts += ["## Limits", items(_limits(runs))]
    if runs:
        parts += ["## Made with", items(_provenance(runs))]
    return "\n\n".join(parts) + "\n"


def name_of(unit: Unit) -> str:
    """A unit as it is called: the data, and the condition.

    Examples
    --------
    >>> name_of(Unit("images", "mnist", "paper")), name_of(Unit("tiny", "w.tokens", "compute"))
    ('MNIST, paper', 'w, tiny, compute')
    >>> name_of(Unit("routing", "mnist", "uniform"))
    'MNIST, uniform schedule'
    """
    data = _NAMES.get(unit.data, unit.data.removesuffix(".tokens"))
    match unit.about:
        case "images":
            return f"{data}, {unit.condition}"
        case "routing":
            return f"{data}, {unit.condition} schedule"
        case scale:
            return f"{data}, {scale}, {unit.condition}"


def _summary(verdicts: pd.DataFrame) -> str:
    primary = verdicts[verdicts["family"] == "primary"]
    counts = primary["verdict"].value_counts()
    found = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    return (
        "DynaMoE (arXiv 2603.01697) makes claims about how experts should be spread over layers."
        " Here each is tested by training runs from paired seeds, with less held equal and with"
        f" more, and judged on the test split. Of {len(primary)} questions, each a claim under a"
        f" condition: {found}."
    )


def _reading() -> str:
    return (
        "An effect is the advantage of what the source favors: above 0 it is right. Supported and"
        " not supported: there is a difference, in the source's direction or in the other."
        " Equivalent: the difference is shown to be within the margin. Undecided: neither; with the"
        f" seeds at which it would be decided with a chance of {100 * POWER:.0f} %, were the truth"
        " what was observed. p is after Holm's correction over all questions."
    )


def _heading(claim: str, outcome: str) -> str:
    return f"{claim[0].upper()}{claim[1:]}: {OUTCOMES[outcome].title}"


def _unit_of(rows: pd.DataFrame) -> str:
    name = rows["outcome"].iloc[0]
    outcome = OUTCOMES[name]
    text = f"Effect in {outcome.unit}; margin ±{outcome.scale * outcome.margin:g}."
    if name in _LOGARITHMIC:
        ends = (math.exp(-outcome.margin), math.exp(outcome.margin))
        text = (
            "Effect as a ratio, fixed routing to dynamic: above 1 dynamic routing has less; margin"
            f" {ends[0]:.2f} to {ends[1]:.2f}."
        )
    if rows["family"].iloc[0] == "secondary":
        text += " A second look at the same claim, with a correction of its own."
    return text


def _table(rows: pd.DataFrame) -> str:
    lines = [
        "| where | verdict | effect | 95 % | p | seeds | against |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows.itertuples():
        where = name_of(Unit(row.about, row.data, row.condition))
        if row.verdict == NOT_RUN:
            lines.append(f"| {where} | {NOT_RUN} | | | | | |")
            continue
        low, high = (_shown(value, row.outcome) for value in (row.low, row.high))
        p = max(row.p_holm, 0.001)
        seeds = f"{row.seeds}" + (f" of {row.planned}" if row.missing else "")
        cells = [where, f"**{row.verdict}**{_besides(row)}", _shown(row.effect, row.outcome)]
        cells += [f"{low} to {high}", f"{'<' if row.p_holm < 0.001 else ''}{p:.3f}", seeds]
        lines.append("| " + " | ".join([*cells, row.rival]) + " |")
    return "\n".join(lines)


def _besides(row: Any) -> str:
    """What is said after a verdict."""
    if row.verdict in (SUPPORTED, NOT_SUPPORTED) and row.within_margin:
        return ", but by less than the margin"
    if row.verdict != UNDECIDED:
        return ""
    if row.seeds < 2:
        return ", fewer than 2 pairs"
    if pd.isna(row.seeds_to_decide):
        return f", over {MOST_SEEDS:,} seeds"
    return f", {row.seeds_to_decide:,} seeds"


def _shown(effect: float, outcome: str) -> str:
    if outcome in _LOGARITHMIC:
        return f"{math.exp(effect):.3f}"
    scale = OUTCOMES[outcome].scale
    return f"{scale * effect:+.{4 if scale == 1 else 2}f}"


def _held_equal() -> str:
    return (
        "Measured, the least and the most of the means of the seven schedules (of the routings,"
        " dynamic and fixed): `paper` holds nothing equal, `parameters` the total parameters,"
        " `compute` the active experts K, too. The percentile rule has the K that follows from a"
        " layer's experts; under `compute` its percentile is set layer by layer so that the mean K"
        " is the same for all. Descending and ascending lie about uniform such that they have its"
        " total under `paper`, too: of these three, `paper` and `parameters` train the same"
        " networks, from seeds of their own. The claim about gradient variance has no regimes: one"
        " network is trained with two routings, so parameters are always equal, and K is held"
        " equal, as more experts a token alone would average over more. It is put to two schedules"
        " instead."
    )


def _costs(units: Sequence[Unit], runs: Runs) -> str:
    lines = [
        "| where | seeds | runs ended | failed | samples | parameters | K | FLOPs per token |"
        " of descending to uniform |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for unit in units:
        if unit not in runs:
            lines.append(f"| {name_of(unit)} | {NOT_RUN} | | | | | | | |")
            continue
        table = runs[unit]
        routing = unit.about == "routing"
        value = "log_trace" if routing else "test_loss"
        failed = int((table["ended"] & table[value].isna()).sum())
        flops = None if routing else table.groupby("baseline")["flops_per_token"].mean()
        means = table[routing | table["baseline"].isin(PATTERNS_AND_UNIFORM)].groupby("baseline")
        parameters = "parameters" if routing else "total_parameters"
        cells = [
            name_of(unit),
            str(table["block"].nunique()),
            f"{table['ended'].sum()} of {len(table)}",
            str(failed),
            "" if routing else _range(means["samples"].mean(), ",.0f"),
            _range(means[parameters].mean(), ",.0f"),
            _range(means["mean_active" if routing else "active_experts"].mean(), ".2f"),
            "" if flops is None else _range(flops.reindex(PATTERNS_AND_UNIFORM), ",.0f"),
            "" if flops is None else f"{flops['descending'] / flops['uniform']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _range(values: pd.Series, form: str) -> str:
    return span(format(values.min(), form), format(values.max(), form))


def _missing(verdicts: pd.DataFrame, units: Sequence[Unit], runs: Runs, command: str) -> str:
    lines = []
    for unit in units:
        if unit not in runs:
            lines.append(f"{name_of(unit)}: {NOT_RUN}")
        elif left := int((~runs[unit]["ended"]).sum()):
            lines.append(f"{name_of(unit)}: {left} training runs are to come; no verdict before")
    if lines:
        text = f"`{command} --run` trains what is missing, and goes on where it was:"
        return f"{text}\n\n{items(lines)}"
    undecided = (verdicts["verdict"] == UNDECIDED).sum()
    wanted = f" {undecided} are undecided; the tables above say how many seeds would decide each."
    return paragraph(
        "Nothing: all planned training runs have ended, and every question has its verdict."
        + (wanted if undecided else "")
    )


def _method(verdicts: pd.DataFrame) -> list[str]:
    sizes = verdicts.groupby("family").size()
    looks = (
        "Seeds, claims and margins were fixed before the training runs. A verdict waits until every"
        " run that was planned for it has ended."
    )
    return [
        "Arms are paired by seed, which decides initial weights and the order of the data. Effects"
        " are means of paired differences. Intervals are of one effect each, without correction: by"
        " studentized bootstrap, against several rivals Student's.",
        f"Tests are paired t tests, two-sided at 5 %, with Holm's correction over all"
        f" {sizes.get('primary', 0)} primary questions, those not run yet included, and over the"
        f" {sizes.get('secondary', 0)} secondary ones. Equivalence: two one-sided tests, corrected"
        " likewise.",
        "The best of all: better than each of the other six schedules, by an intersection-union"
        " test; not supported where it is shown to be worse than any. The effect is the advantage"
        " over the strongest rival, and its interval allows for that one having been picked. The"
        " dense networks are claims of their own.",
        "Faster learning: the mean of the learning curve on the validation split. It needs no level"
        " to be reached, which some runs never would, and is in nats.",
        looks,
    ]


def _limits(runs: Runs) -> list[str]:
    sentences = [
        "The source's formulas of schedules, its depths and widths are not known here: patterns and"
        " sizes are this toolkit's (see each study.toml). What is undecided or not supported here"
        " may hold at the source's own sizes.",
        "Training runs are short, so that all fit into a few hours on two cores. The source's text,"
        " 1,000 samples of Recycling-the-Web in GPT-2's tokens, is replaced by another.",
        "The split of the data is the same for all seeds, so intervals are over runs only.",
    ]
    raised = [name_of(unit) for unit, table in runs.items() if table["looks"].max() > 1]
    if raised:
        sentences.append(
            "The number of seeds was raised after a look at the results, so errors may be more"
            f" frequent than 5 %: {', '.join(raised)}."
        )
    return sentences


def _provenance(runs: Runs) -> list[str]:
    whole = pd.concat([table.dropna(axis=1, how="all") for table in runs.values()])
    columns = [name for name in whole if name.startswith("version_")]
    versions = [f"{name.removeprefix('version_')} {_all_of(whole[name])}" for name in columns]
    data = whole.groupby("data", sort=False)["data_fingerprint"].agg(_all_of)
    return [
        f"Commit {_all_of(whole['commit'])} (a plus: with changes not committed);"
        f" {', '.join(versions)}.",
        *(f"Data {name}: SHA-256 {digest}." for name, digest in data.items()),
    ]


def _all_of(values: pd.Series) -> str:
    return ", ".join(sorted(values.dropna().astype(str).unique())) or "unknown"


def plot_claims(verdicts: pd.DataFrame) -> Figure | None:
    """Every effect with its interval, a panel for each claim, beside the margin.

    Parameters
    ----------
    verdicts : DataFrame
        As `dynamoe_search.claims.verdicts.judge` gives it.

    Returns
    -------
    Figure or None
        None where no question has an effect yet.
    """
    shown = verdicts[verdicts["verdict"].ne(NOT_RUN) & verdicts["effect"].notna()]
    parts = list(shown.groupby(["claim", "outcome"], sort=False))
    if not parts:
        return None
    columns = min(2, len(parts))
    rows = -(-len(parts) // columns)
    sizes = [len(part) for _, part in parts]
    heights = [
        0.6 + 0.26 * max(sizes[place : place + columns]) for place in range(0, len(sizes), columns)
    ]
    size = (6.6 * columns, sum(heights) + 0.9 * rows)
    figure, grid = panels(rows, columns, *size, height_ratios=heights)
    for axes, ((claim, outcome), part) in zip(grid.flat, parts, strict=False):
        _draw(axes, _heading(claim, outcome), part)
    for axes in grid.flat[len(parts) :]:
        axes.remove()
    return figure


def _draw(axes: Axes, heading: str, rows: pd.DataFrame) -> None:
    rows = rows.reset_index(drop=True)
    outcome = OUTCOMES[rows["outcome"].iloc[0]]
    for end in ("effect", "low", "high"):
        rows[end] *= outcome.scale
    margin = outcome.scale * outcome.margin
    axes.axvspan(-margin, margin, color=GREEN, alpha=0.12, lw=0)
    axes.axvline(0, color="black", lw=0.8)
    found = []
    for verdict, color, marker in (
        (SUPPORTED, BLUE, "o"),
        (NOT_SUPPORTED, ORANGE, "D"),
        (EQUIVALENT, GREEN, "s"),
        (UNDECIDED, GRAY, "o"),
    ):
        part = rows[rows["verdict"] == verdict]
        if part.empty:
            continue
        found.append(f"{len(part)} {verdict}")
        axes.hlines(part.index, part["low"], part["high"], color=color, lw=1.5)
        face = "white" if verdict == UNDECIDED else color
        axes.scatter(part["effect"], part.index, s=32, marker=marker, fc=face, ec=color, zorder=3)
    labels = [name_of(Unit(row.about, row.data, row.condition)) for row in rows.itertuples()]
    axes.set_yticks(np.arange(len(rows)), labels, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(
        f"advantage in {outcome.unit}, 95 % interval; above 0 as claimed; green: margin", fontsize=8
    )
    axes.set_title(f"{heading}\n{', '.join(found)}", fontsize=9, loc="right")
