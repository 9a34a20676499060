"""The data card of a tabular benchmark, in Markdown: all its numbers come from the table."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from dynamoe_search.bench import COLUMNS, Bench
from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.report.rendering import render
from dynamoe_search.report.wording import p_value
from dynamoe_search.statistics.fidelity import rank_correlations
from dynamoe_search.statistics.pairwise import PairwiseComparison, compare_pairs

_SOURCES = {
    "digits": "The data are the 1,797 handwritten digits of 8 x 8 pixels that ship with"
    " scikit-learn: the test part of Optical Recognition of Handwritten Digits, E. Alpaydin and"
    " C. Kaynak, UCI Machine Learning Repository 1998, doi 10.24432/C50P49, license CC BY 4.0."
    " The table holds results only and none of the images.",
}


def bench_card(bench: Bench, made_by: str) -> str:
    """What a table is, how it was made, what its columns mean, and how far its numbers go.

    Parameters
    ----------
    bench : Bench
    made_by : str
        The command that makes the card.
    """
    study = StudyFile.model_validate_json(bench.study)
    rows, first = bench.runs, bench.schedules[0]
    curves = [bench.ask(schedule).curve["loss"].iloc[-2:] for schedule in bench.schedules]
    before, after = np.mean(curves, axis=0)
    return render(
        "bench_card.md",
        title=f"{bench.name}: every schedule of {first.total} experts in {first.depth} layers",
        made_by=made_by,
        name=bench.name,
        example=bench.schedules[len(bench.schedules) // 2],
        schedules=f"{len(bench.schedules):,}",
        runs=f"{rows['run'].nunique():,}",
        seeds=rows["seed"].unique().tolist(),
        model=study.model,
        training=study.training,
        router=", ".join(f"{key} = {value}" for key, value in asdict(study.router).items()),
        parameters=f"{rows['total_parameters'].iloc[0]:,.0f}",
        minutes=f"{rows['training_seconds'].sum() / 60:.0f}",
        versions=", ".join(f"{name} {version}" for name, version in bench.versions.items()),
        data=bench.data,
        noise=_noise(bench),
        columns=COLUMNS,
        before=f"{before:.4f}",
        after=f"{after:.4f}",
        source=_SOURCES.get(study.data.name, "See the source of the data set."),
        version=bench.versions["dynamoe_search"],
        commit=bench.versions["commit"][:12],
    )


def _noise(bench: Bench) -> list[str]:
    found = compare_pairs(bench.losses)
    board = make_leaderboard(bench.runs)
    best, worst = board.iloc[0], board.iloc[-1]
    equal = int(board["indistinguishable"].sum()) - 1
    sentences = [
        f"**One training run** varies with its seed by {bench.noise.deviation:.4f} nats (standard"
        " deviation, pooled over schedules). Part of that is the seed's effect on all schedules;"
        f" without it, the mean of {found.seeds} has a standard error of {found.error:.4f} nats.",
        f"**Schedules**: their means scatter by {found.spread:.4f} nats, of whose variance"
        f" {found.reliability:.0%} is not noise (F test that no schedule differs from another:"
        f" p {p_value(found.p_value)}).",
        f"**{found.distinguishable:,} of the {found.pairs:,} pairs**"
        f" ({found.distinguishable / found.pairs:.1%}) differ significantly, at 95 % for all pairs"
        f" together: by noise, two means differ by up to {found.difference:.4f} nats (Tukey).",
        f"**Best**: {_described(best)}. {equal} of the {found.candidates - 1} others are"
        " statistically indistinguishable from it. It was picked for being best; the expected loss"
        " and its interval allow for that.",
        f"**Worst**: {_described(worst)}.",
    ]
    return [*sentences, *_named(bench, found), *_compute(bench), _fidelity(bench)]


def _described(row: pd.Series) -> str:
    return (
        f"{row['schedule']}, expected loss {row['loss']:.4f} nats (95 % interval"
        f" {row['loss_low']:.4f} to {row['loss_high']:.4f}; recorded mean {row['mean_loss']:.4f})"
    )


def _named(bench: Bench, found: PairwiseComparison) -> list[str]:
    """Where the named patterns are in the order of all."""
    ranks = bench.means["validation_loss"].rank(method="min").astype(int)
    named = bench.runs[bench.runs["pattern"] != ""].drop_duplicates("schedule")
    parts = [
        f"{row.pattern} ({row.schedule}) {ranks[row.schedule]}"
        for row in named.sort_values("schedule", key=lambda names: names.map(ranks)).itertuples()
    ]
    return [f"**Ranks of the named schedules**, of {found.candidates}: {', '.join(parts)}."]


def _compute(bench: Bench) -> list[str]:
    """What of the differences goes with active compute, and what is left at equal compute."""
    means = bench.means
    flops = means["flops_per_token"].round(6)
    if flops.nunique() == 1:
        return [f"**Active compute** is the same for all: {flops.iloc[0]:,.0f} FLOPs per token."]
    share = float(np.corrcoef(means["flops_per_token"], means["validation_loss"])[0, 1] ** 2)
    levels = flops.groupby(flops).groups.items()
    among = {
        cost: compare_pairs(bench.losses.loc[names]) for cost, names in levels if len(names) > 2
    }
    parts = [
        f"{cost:,.0f} FLOPs, {found.candidates} schedules: p {p_value(found.p_value)},"
        f" {found.distinguishable:,} of {found.pairs:,} pairs differ significantly"
        for cost, found in among.items()
    ]
    return [
        f"**Active compute differs**: from {flops.min():,.0f} to {flops.max():,.0f} FLOPs per token"
        f" (K {means['active_experts'].min():.2f} to {means['active_experts'].max():.2f});"
        f" {share:.0%} of the variance of the means goes with it in a straight line.",
        f"**At equal compute** (p: no schedule differs from another): {'; '.join(parts)}.",
    ]


def _fidelity(bench: Bench) -> str:
    rows = rank_correlations(bench.runs)
    half = rows.iloc[(rows["fraction"] - 0.5).abs().argmin()]
    return (
        f"**Ranks by one seed** agree with those by another with Kendall's tau ="
        f" {half['seed_tau']:.2f} ({half['seed_low']:.2f} to"
        f" {half['seed_high']:.2f}); ranks by the means of all seeds after"
        f" {half['fraction']:.0%} of the training agree with those at its end with"
        f" {half['tau']:.2f}."
    )
