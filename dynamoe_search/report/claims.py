"""Claims and their verdicts: a page in Markdown and a plot, from tables alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynamoe_search.claims.source import CLAIMS, OUTCOMES, Unit
from dynamoe_search.claims.verdicts import (
    EQUIVALENT,
    LOOKS,
    NOT_RUN,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
)
from dynamoe_search.report.figure import BLUE, GRAY, GREEN, ORANGE, forest, in_own_style, panels
from dynamoe_search.report.rendering import render
from dynamoe_search.report.wording import span
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.comparison import MOST_SEEDS, POWER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs = Mapping[Unit, pd.DataFrame]

_NAMES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
_LOGARITHMIC = ("log_trace", "log_noise_scale")
_LOOKS = {
    SUPPORTED: (BLUE, "o"),
    NOT_SUPPORTED: (ORANGE, "D"),
    EQUIVALENT: (GREEN, "s"),
    UNDECIDED: (GRAY, "o"),
}


def claims_page(
    verdicts: pd.DataFrame, units: Sequence[Unit], runs: Runs, command: str, plot: str | None
) -> str:
    """What a designer can take home, then a verdict for each claim and condition, and how it came.

    Parameters
    ----------
    verdicts : DataFrame
        As `dynamoe_search.claims.verdicts.judge` gives it.
    units, runs
        All units that were planned, and the training runs of those that were begun.
    command, plot : str
        What makes the page, and the name of the picture beside it, if there is one.
    """
    families = verdicts["family"].value_counts()
    counts = verdicts.loc[verdicts["family"] == "primary", "verdict"].value_counts()
    is_open = verdicts["verdict"].isin([UNDECIDED, NOT_RUN]) & (verdicts["family"] != "secondary")
    return render(
        "claims.md",
        command=command,
        plot=plot,
        take_home=take_home(verdicts),
        questions=families.get("primary", 0),
        others=families.get("others", 0),
        secondary=families.get("secondary", 0),
        found=", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts),
        power=f"{100 * POWER:.0f}",
        looks=LOOKS,
        claims=[
            {"heading": _heading(*key), "unit": _unit_of(rows), "rows": _rows(rows)}
            for key, rows in verdicts.groupby(["claim", "outcome"], sort=False)
        ],
        costs=[_costs(unit, runs.get(unit)) for unit in units],
        open=int(is_open.sum()),
        provenance=_provenance(runs) if runs else [],
    )


def take_home(verdicts: pd.DataFrame) -> str:
    """A paragraph for a designer, from the verdicts alone.

    Parameters
    ----------
    verdicts : DataFrame
        As `dynamoe_search.claims.verdicts.judge` gives it.
    """
    if (verdicts["verdict"] == NOT_RUN).all():
        return "Nothing was trained yet."
    of_losses = verdicts[verdicts["outcome"] == "test_loss"]
    schedules = of_losses[of_losses["claim"].isin(_OF_SCHEDULES)]
    sentences = [
        _in_words("The schedule that the source favors is the best of those compared", schedules)
    ]
    decided = schedules[schedules["verdict"].isin([SUPPORTED, NOT_SUPPORTED, EQUIVALENT])]
    if not decided.empty:
        margin = OUTCOMES["test_loss"].margin
        favored = decided["contenders"].str[0]
        better = (decided["verdict"] == SUPPORTED) & ~decided["within_margin"]
        effects = decided["effect"].groupby(favored, sort=False)
        advantages = [f"{_from_to(of_one)} of {name}" for name, of_one in effects]
        sentences.append(
            "Where that is decided, the advantage over the strongest other schedule is, in nats,"
            f" {', '.join(advantages)}."
        )
        advice = (
            f"So at these sizes leave the experts uniform, and look for gains of {margin:g} nats"
            " elsewhere, unless a search at your own size finds another schedule better."
            if not (better & (favored != "uniform")).any()
            else "So try the schedule that won under your conditions, and confirm it at your size."
        )
        sentences.append(advice)
    sentences += [
        _in_words(_capital(claim), rows)
        for claim, rows in verdicts[verdicts["family"] != "secondary"].groupby("claim", sort=False)
        if claim not in _OF_SCHEDULES
    ]
    return " ".join(filter(None, sentences))


_OF_SCHEDULES = tuple(
    claim.sentence
    for claim in CLAIMS
    if claim.outcome == "test_loss" and {claim.better, *claim.rivals} <= {*PATTERNS_AND_UNIFORM}
)

_ALLOW_MARGIN = tuple(claim.sentence for claim in CLAIMS if claim.allows_margin)


def _in_words(what: str, rows: pd.DataFrame) -> str:
    """In how many conditions something is so."""
    if rows.empty:
        return ""
    counts = rows["verdict"].value_counts()
    parts = [f"{name} in {counts[name]}" for name in VERDICTS if name in counts]
    return f"{what}: {', '.join(parts)} of {len(rows)} conditions."


def _from_to(effects: pd.Series) -> str:
    ends = dict.fromkeys(f"{end:+.4f}" for end in (effects.min(), effects.max()))
    return " to ".join(ends)


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


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
        case "placement":
            return f"{data}, dense layers, {unit.condition}"
        case scale:
            return f"{data}, {scale}, {unit.condition}"


def _heading(claim: str, outcome: str) -> str:
    return f"{_capital(claim)}: {OUTCOMES[outcome].title}"


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
    if rows["claim"].iloc[0] in _ALLOW_MARGIN:
        text += " The claim is right above the lower end of the margin."
    if rows["family"].iloc[0] == "secondary":
        text += (
            " A second look at the same claim, with a correction of its own; nothing is trained"
            " for it."
        )
    return text


def _rows(rows: pd.DataFrame) -> list[list[str]]:
    cells = []
    for row in rows.itertuples():
        where = name_of(Unit(row.about, row.data, row.condition))
        if row.verdict == NOT_RUN:
            cells.append([where, NOT_RUN, *[""] * 5])
            continue
        effect, low, high = (_shown(x, row.outcome) for x in (row.effect, row.low, row.high))
        p = f"{'<' if row.p_holm < 0.001 else ''}{max(row.p_holm, 0.001):.3f}"
        seeds = f"{row.seeds}, {row.missing} failed" if row.missing else f"{row.seeds}"
        verdict = f"**{row.verdict}**{_besides(row)}"
        cells.append([where, verdict, effect, f"{low} to {high}", p, seeds, row.rival])
    return cells


def _besides(row: Any) -> str:
    """What is said after a verdict."""
    if row.verdict in (SUPPORTED, NOT_SUPPORTED) and row.within_margin:
        return ", but by less than the margin"
    if row.verdict != UNDECIDED:
        return ""
    if pd.isna(row.seeds_to_decide):
        return f", over {MOST_SEEDS:,} seeds"
    return f", {row.seeds_to_decide:,} seeds"


def _shown(effect: float, outcome: str) -> str:
    if outcome in _LOGARITHMIC:
        return f"{math.exp(effect):.3f}"
    scale = OUTCOMES[outcome].scale
    return f"{scale * effect:+.{4 if scale == 1 else 2}f}"


def _costs(unit: Unit, table: pd.DataFrame | None) -> list[str]:
    """What was held equal: cells of a row."""
    if table is None:
        return [name_of(unit), NOT_RUN, *[""] * 7]
    routing = unit.about == "routing"
    of_network = table.drop_duplicates(["candidate", "place"])
    failed = of_network["log_trace" if routing else "test_loss"].isna()
    each = _range(table["baseline"].value_counts(), "d")
    seconds = f"{of_network['seconds'].mean():.1f}"
    cells = [name_of(unit), each, str(len(of_network)), str(failed.sum()), seconds]
    is_dense = table["candidate"].str.startswith("dense")
    means = table[~is_dense].groupby("baseline").mean(numeric_only=True)
    columns = ("samples", "total_parameters", "active_experts", "flops_per_token")
    if routing:
        columns = ("", "parameters", "mean_active", "")
    forms = (",.0f", ",.0f", ".2f", ",.0f")
    return [
        *cells,
        *(
            _range(means[column], form) if column else ""
            for column, form in zip(columns, forms, strict=True)
        ),
    ]


def _range(values: pd.Series, form: str) -> str:
    return span(format(values.min(), form), format(values.max(), form))


def _provenance(runs: Runs) -> list[str]:
    whole = pd.concat([table.dropna(axis=1, how="all") for table in runs.values()])
    data = whole.groupby("data", sort=False)["data_fingerprint"].agg(_all_of)
    return [
        f"Commit {_all_of(whole['commit'])} (a plus: with changes not committed);"
        f" {_all_of(whole['made_with'])}.",
        *(f"Data {name}: SHA-256 {digest}." for name, digest in data.items()),
    ]


def _all_of(values: pd.Series) -> str:
    return ", ".join(sorted(values.dropna().astype(str).unique())) or "unknown"


@in_own_style
def plot_claims(verdicts: pd.DataFrame) -> Figure | None:
    """Every effect with its interval, a panel for each claim; None where there is none yet."""
    shown = verdicts[np.isfinite(verdicts[["effect", "low", "high"]].astype(float)).all(axis=1)]
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
    outcome = OUTCOMES[rows["outcome"].iloc[0]]
    scaled = rows.assign(**{end: outcome.scale * rows[end] for end in ("low", "effect", "high")})
    counts = forest(axes, scaled, "effect", outcome.scale * outcome.margin, _LOOKS)
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    labels = [name_of(Unit(row.about, row.data, row.condition)) for row in rows.itertuples()]
    axes.set_yticks(np.arange(len(rows)), labels, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(
        f"advantage in {outcome.unit}, 95 % interval; above 0 as claimed; green: margin", fontsize=8
    )
    axes.set_title(f"{heading}\n{found}", fontsize=9, loc="right")
