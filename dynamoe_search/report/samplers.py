"""Samplers beside random search: what replayed searches say, in sentences, as a table and a plot.

All take the ``table`` of `dynamoe_search.bench.replay.compare_samplers`, and some the ``known``
losses that the searches were replayed on. Intervals and tests are
Student's, over repetitions; differences to random search are paired by repetition. Repetitions
differ in the samplers' seeds and in the order of the seed blocks: the schedules and their losses
are the same in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from dynamoe_search.report.figure import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    in_own_style,
    legend_below,
    one_panel,
)
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import p_value
from dynamoe_search.statistics.comparison import ERROR_RATE, difference_p_value, holm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dynamoe_search.bench.known import KnownLosses

_REFERENCE = "random"
# Okabe and Ito's colors, and a dash for each, so that lines differ without color, too.
_LOOKS_OF: Mapping[str, tuple[str, Any]] = {
    "random": ("black", "-"),
    "posterior": ("#56B4E9", "-"),
    "tpe": (BLUE, "--"),
    "qmc": (GREEN, "-."),
    "cmaes": (ORANGE, ":"),
    "gp": ("#CC79A7", (0, (5, 1))),
    "nsga2": ("#E69F00", (0, (3, 1, 1, 1))),
}
_SPANS = {"end": "at the end", "whole": "over the whole search"}


def summarize_regret(table: pd.DataFrame) -> pd.DataFrame:
    """The mean regret after each training run.

    Returns
    -------
    DataFrame
        ``sampler``, ``run``, ``regret`` (its mean over repetitions), and ``margin``: the 95 %
        interval of the mean is regret - margin to regret + margin.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "sampler": "random", "repetition": [0, 1], "run": 1, "regret": [0.1, 0.3],
    ... })
    >>> summarize_regret(table).round(2).to_dict("records")
    [{'sampler': 'random', 'run': 1, 'regret': 0.2, 'margin': 1.27}]
    """
    grouped = table.groupby(["sampler", "run"], sort=False)["regret"]
    found = grouped.agg(["mean", "sem", "count"]).reset_index()
    found["margin"] = _margin(found["sem"], found["count"])
    return found.rename(columns={"mean": "regret"})[["sampler", "run", "regret", "margin"]]


def _margin(error: Any, count: Any) -> Any:
    """Half the width of the 95 % interval of a mean of this many; NaN for fewer than 2."""
    return stats.t.isf(ERROR_RATE / 2, np.maximum(count - 1, 0)) * error


def compare_with_random(table: pd.DataFrame) -> pd.DataFrame:
    """Each sampler against random search: at the end, and over the whole search.

    Returns
    -------
    DataFrame
        Two rows for each sampler but random search, least regret first: ``span`` (end; or whole,
        the mean over all runs, which is the area under the curve of regret by their number),
        ``sampler``, ``regret``, ``random`` (the same of random search), ``difference`` (of the two,
        below 0 where the sampler is better), ``margin`` (of its 95 % interval), ``p`` and
        ``p_holm`` (corrected for the samplers, each span by itself), ``verdict`` (better, worse or
        undecided).
    """
    grouped = table.groupby(["sampler", "repetition"], sort=False)["regret"]
    spans = {"end": grouped.last(), "whole": grouped.mean()}
    parts = {span: _compared(values.unstack("sampler")) for span, values in spans.items()}
    return pd.concat(parts, names=["span"]).reset_index("span").reset_index(drop=True)


def _compared(regrets: pd.DataFrame) -> pd.DataFrame:
    """Of regrets, a row for each repetition and a column for each sampler."""
    rows = []
    for sampler in regrets.columns.drop(_REFERENCE):
        pairs = regrets[[sampler, _REFERENCE]].dropna()
        difference = pairs[sampler] - pairs[_REFERENCE]
        margin, p = _margin(difference.sem(), len(pairs)), difference_p_value(difference)
        rows.append((sampler, *pairs.mean(), difference.mean(), float(margin), float(p)))
    columns = ["sampler", "regret", "random", "difference", "margin", "p"]
    found = pd.DataFrame(rows, columns=columns).sort_values("regret", kind="stable")
    found["p_holm"] = holm(found["p"])
    verdict = np.where(found["difference"] < 0, "better", "worse")
    return found.assign(verdict=np.where(found["p_holm"] <= ERROR_RATE, verdict, "undecided"))


def sampler_sentences(table: pd.DataFrame, known: KnownLosses) -> list[str]:
    """Which samplers beat random search, in sentences that claim no more than the tests allow."""
    comparison = compare_with_random(table)
    searches = table.drop_duplicates(["sampler", "repetition"])["sampler"].value_counts()
    sentences = [
        f"Replayed on {len(known.losses):,} schedules of known loss, in the"
        f" {known.family} family: {searches.max()} searches of"
        f" {table['run'].max()} training runs by each of {len(searches)} samplers.",
        _about_noise(known),
    ]
    last = summarize_regret(table).groupby("sampler").last().loc[_REFERENCE]
    sentences.append(
        f"Random search ends with a regret of {last['regret']:.4f} ± {last['margin']:.4f} nats"
        " (mean and 95 % interval)."
    )
    for span, words in _SPANS.items():
        sentences += _verdicts(comparison[comparison["span"] == span], words)
    sentences += _unknown(table)
    return [
        *sentences,
        "This holds for the schedules of this study and this number of runs: repetitions differ"
        " only in the samplers' seeds and in the order of the seed blocks.",
    ]


def _about_noise(known: KnownLosses) -> str:
    if known.seeds == 1:
        return (
            "Each schedule was trained from one seed, so that its luck counts as merit; more"
            " seeds would separate the two."
        )
    found = known.means
    return (
        f"Mean losses of {known.seeds} seeds scatter by {found.means.std(ddof=1):.4f} nats"
        f" between schedules; noise alone would scatter them by {found.error:.4f}. Regret is how"
        " much worse than the best the leader is expected to be, given that noise."
    )


def _verdicts(comparison: pd.DataFrame, words: str) -> list[str]:
    sentences = []
    for row in comparison[comparison["verdict"] != "undecided"].itertuples():
        relation = "less" if row.verdict == "better" else "more"
        sentences.append(
            f"{row.sampler} has {relation} regret than random search {words}:"
            f" {_difference(row)} nats (p {p_value(row.p_holm)} after Holm)."
        )
    undecided = comparison[comparison["verdict"] == "undecided"]
    if not undecided.empty:
        names = ", ".join(f"{row.sampler} ({_difference(row)})" for row in undecided.itertuples())
        sentences.append(f"Statistically indistinguishable from random search {words}: {names}.")
    return sentences


def _unknown(table: pd.DataFrame) -> list[str]:
    searches = table.drop_duplicates(["sampler", "repetition"])
    passed_over = searches.groupby("sampler", sort=False)["unknown"].sum()
    times = passed_over[passed_over > 0]
    by = ", ".join(f"{sampler} {count:,}" for sampler, count in times.items())
    sentence = f"Proposals that were passed over, as the loss of their schedule is not known: {by}."
    return [sentence] if by else []


def _difference(row: Any) -> str:
    return f"{row.difference:+.4f} ± {row.margin:.4f}"


def samplers_table(table: pd.DataFrame) -> Table:
    """The regret of each sampler along the search, and its difference to random search."""
    most = int(table["run"].max())
    runs = sorted({max(1, round(most * part)) for part in (0.25, 0.5, 1)})
    summary = summarize_regret(table).set_index(["sampler", "run"])
    whole = table.groupby("sampler")["regret"].mean()
    comparison = compare_with_random(table).set_index(["sampler", "span"])
    in_order = summary["regret"].xs(runs[-1], level="run").sort_values(kind="stable").index
    rows = []
    for sampler in in_order:
        along = [summary.loc[(sampler, run)] for run in runs]
        against = [["", ""], ["", ""]]
        if sampler != _REFERENCE:
            spans = [comparison.loc[(sampler, span)] for span in _SPANS]
            against = [[_difference(row), p_value(row.p_holm).removeprefix("= ")] for row in spans]
        at_end, over_all = against
        cells = [f"{point['regret']:.4f} ± {point['margin']:.4f}" for point in along]
        rows.append([sampler, *cells, *at_end, f"{whole[sampler]:.4f}", *over_all])
    compared = ("less random's", "p")
    headers = (*map(str, runs), *compared, "all", *compared)
    columns = [Column("sampler", is_name=True), *numbers(*headers)]
    caption = (
        "mean regret in nats after each number of training runs, and over all of them, ± 95 %; less"
        " random's: paired by repetition; p: of no difference, after Holm"
    )
    emphasized = {list(in_order).index(_REFERENCE)}
    return Table(columns, rows, "", caption, emphasized)


@in_own_style
def plot_samplers(table: pd.DataFrame, known: KnownLosses, axes: Axes | None = None) -> Figure:
    """Regret after each training run, a line with its 95 % band for each sampler."""
    figure, axes = one_panel(axes, 8.5, 5.0)
    for sampler, points in summarize_regret(table).groupby("sampler", sort=False):
        color, dash = _LOOKS_OF[str(sampler)]
        low = (points["regret"] - points["margin"]).clip(lower=0)
        high = points["regret"] + points["margin"]
        axes.fill_between(points["run"], low, high, color=color, alpha=0.1, lw=0)
        axes.plot(points["run"], points["regret"], color=color, ls=dash, lw=1.8, label=sampler)
    _mark_stages(axes, known.baselines, int(table["run"].max()))
    axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])  # so that a line at 0 is seen
    axes.set_xlabel("training runs")
    axes.set_ylabel("regret (nats), mean and 95 % band")
    axes.set_title(_finding(table, known), fontsize=10, pad=16)
    legend_below(axes, columns=6)
    return figure


def _mark_stages(axes: Axes, baselines: int, runs: int) -> None:
    """Where no sampler chooses: the named schedules first, the leaders again in the end."""
    from dynamoe_search.search.policy import FINAL_SHARE

    axes.set_xlim(1, runs)
    for begin, end, name in (
        (1.0, baselines, "named schedules"),
        (runs * (1 - FINAL_SHARE), runs, "leaders again"),
    ):
        axes.axvspan(begin, end, color=GRAY, alpha=0.12, lw=0)
        place = axes.get_xaxis_transform()
        axes.text(begin, 1.01, name, transform=place, color="#555555", fontsize=8)


def _finding(table: pd.DataFrame, known: KnownLosses) -> str:
    comparison = compare_with_random(table)
    at_end = comparison[comparison["span"] == "end"]
    parts = []
    for verdict, relation in (("better", "less"), ("worse", "more")):
        names = at_end.loc[at_end["verdict"] == verdict, "sampler"]
        if len(names):
            parts.append(f"{', '.join(names)}: {relation} regret than random search at the end")
    found = "; ".join(parts) or "At the end no sampler is shown to differ from random search"
    if at_end.empty:
        found = "Random search"
    return (
        f"{found}\n{table['repetition'].nunique()} searches each, replayed on"
        f" {len(known.losses):,} schedules of known loss in the {known.family} family"
    )
