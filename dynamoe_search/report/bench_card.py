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
from dynamoe_search.training.settings import TrainingSettings

_SOURCES = {
    "digits": "The data are the 1,797 handwritten digits of 8 x 8 pixels that ship with"
    " scikit-learn: the test part of Optical Recognition of Handwritten Digits, E. Alpaydin and"
    " C. Kaynak, UCI Machine Learning Repository 1998, doi 10.24432/C50P49, license CC BY 4.0."
    " The table holds results only and none of the images.",
    "topics": "The data are the English reference of the Python language that ships with Python"
    " (module pydoc_data.topics), a byte a token: Python Software Foundation, PSF License Version"
    " 2. It differs between versions of Python; the fingerprint is of the text that was used. The"
    " table holds results only and none of the text.",
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
    rows = bench.runs
    before, after = np.mean(
        [[point["loss"] for point in curve[-2:]] for curve in rows["curve"]], axis=0
    )
    return render(
        "bench_card.md",
        title=f"{bench.name}: {_every_schedule(bench)}",
        made_by=made_by,
        name=bench.name,
        example=bench.schedules[len(bench.schedules) // 2],
        schedules=f"{len(bench.schedules):,} {'active ' * _is_active(bench)}schedules",
        network="language model" if study.data.is_text else "classifier of images",
        is_text=study.data.is_text,
        renormalizes=_is_active(bench) and getattr(study.router, "renormalize", False),
        has_gradients="gradient_noise" in bench.columns,
        runs=f"{rows['run'].nunique():,}",
        seeds=rows["seed"].nunique(),
        blocks=rows["block"].nunique(),
        model=study.model,
        training=study.training,
        settings=_settings(study.training),
        router=", ".join(f"{key} = {value}" for key, value in asdict(study.router).items()),
        parameters=f"{rows['total_parameters'].iloc[0]:,.0f}",
        minutes=f"{rows['training_seconds'].sum() / 60:.0f}",
        versions=", ".join(f"{name} {version}" for name, version in bench.versions.items()),
        data=bench.data,
        noise=_noise(bench),
        columns={name: COLUMNS[name] for name in bench.columns},
        before=f"{before:.4f}",
        after=f"{after:.4f}",
        source=_SOURCES.get(study.data.name, "See the source of the data set."),
        version=bench.versions["dynamoe_search"],
        commit=bench.versions["commit"][:12],
    )


def _is_active(bench: Bench) -> bool:
    return bench.moving == "active_schedule"


def _every_schedule(bench: Bench) -> str:
    """What the table holds, in a phrase."""
    first = bench.schedules[0]
    if _is_active(bench):
        experts = bench.runs["schedule"].iloc[0]
        return f"every active schedule of mean K = {first.total / first.depth:g} in {experts}"
    return f"every schedule of {first.total} experts in {first.depth} layers"


def _settings(training: TrainingSettings) -> str:
    """The recipe's settings, beside its name."""
    shown = ("weight_decay", "warmup", "final_rate", "clip", "average")
    return ", ".join(f"{name.replace('_', ' ')} {getattr(training, name):g}" for name in shown)


def _noise(bench: Bench) -> list[str]:
    found = compare_pairs(bench.losses)
    board = make_leaderboard(bench.runs)
    best, worst = board.iloc[0], board.iloc[-1]
    others = f"{found.candidates - 1} others"
    equal = int(board["indistinguishable"].sum()) - 1
    sentences = [
        f"**One training run** varies with its seed by {bench.noise.deviation:.4f} nats (standard"
        " deviation, pooled over schedules). Part of that is the seed's effect on all schedules;"
        f" without it, the mean of {found.seeds} has a standard error of {found.error:.4f} nats.",
        f"**Schedules**: their means scatter by {found.spread:.4f} nats, of whose variance"
        f" {found.reliability:.0%} is not noise (F test that no schedule differs from another:"
        f" p {p_value(found.p_value)}).",
        f"**{found.distinguishable:,} of the {found.pairs:,} pairs**"
        f" ({_share(found.distinguishable, found)}) differ significantly, at 95 % for all pairs"
        f" together: by noise, two means differ by up to {found.difference:.4f} nats (Tukey).",
        f"**{found.distinguishable_alone:,} pairs** ({_share(found.distinguishable_alone, found)})"
        " differ significantly at 95 % for each pair by itself:"
        f" by more than {found.difference_alone:.4f} nats (Student). Of equal schedules 5 % would.",
        f"**Best**: {_described(best, bench.moving)}. {equal} of the {others} are statistically"
        " indistinguishable from it. It was picked for being best; the expected loss and its"
        " interval allow for that.",
        f"**Worst**: {_described(worst, bench.moving)}.",
    ]
    return [*sentences, *_named(bench, found), *_compute(bench), _fidelity(bench)]


def _share(pairs: int, found: PairwiseComparison) -> str:
    return f"{pairs / found.pairs:.1%}"


def _described(row: pd.Series, moving: str) -> str:
    return (
        f"{row[moving]}, expected loss {row['loss']:.4f} nats (95 % interval"
        f" {row['loss_low']:.4f} to {row['loss_high']:.4f}; recorded mean {row['mean_loss']:.4f})"
    )


def _named(bench: Bench, found: PairwiseComparison) -> list[str]:
    """Where the named patterns are in the order of all."""
    ranks = bench.means["validation_loss"].rank(method="min").astype(int)
    named = bench.runs[bench.runs["pattern"] != ""].drop_duplicates(bench.moving)
    of_schedule = zip(named[bench.moving], named["pattern"], strict=True)
    in_order = sorted((ranks[schedule], schedule, names) for schedule, names in of_schedule)
    parts = [f"{names} ({schedule}) {rank}" for rank, schedule, names in in_order]
    return [f"**Ranks of the named schedules**, of {found.candidates}: {', '.join(parts)}."]


def _compute(bench: Bench) -> list[str]:
    """What of the differences goes with active compute, and what is left at equal compute."""
    means = bench.means
    flops = means["flops_per_token"].round(6)
    if flops.nunique() == 1:
        return [
            f"**Active compute** is the same for all: {flops.iloc[0]:,.0f} FLOPs per token. So all"
            " of this is at equal compute."
        ]
    share = float(np.corrcoef(means["flops_per_token"], means["validation_loss"])[0, 1] ** 2)
    levels = flops.groupby(flops).groups.items()
    among = {
        cost: compare_pairs(bench.losses.loc[names]) for cost, names in levels if len(names) > 2
    }
    parts = [
        f"{cost:,.0f} FLOPs, {found.candidates} schedules: p {p_value(found.p_value)},"
        f" {found.distinguishable:,} of {found.pairs:,} pairs"
        f" ({_share(found.distinguishable, found)}), and each by itself"
        f" {_share(found.distinguishable_alone, found)}"
        for cost, found in among.items()
    ]
    return [
        f"**Active compute differs**: from {flops.min():,.0f} to {flops.max():,.0f} FLOPs per token"
        f" (K {means['active_experts'].min():.2f} to {means['active_experts'].max():.2f});"
        f" {share:.0%} of the variance of the means goes with it in a straight line.",
        "**At equal compute** (p: no schedule differs from another; then the pairs that differ"
        f" significantly): {'; '.join(parts)}.",
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
