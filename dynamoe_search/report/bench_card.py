"""The data card of a tabular benchmark, in Markdown: all its numbers come from the table."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from dynamoe_search.bench import COLUMNS, Bench
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.report.wording import items, p_value, paragraph
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

    Returns
    -------
    str
        Markdown.
    """
    study = StudyFile.model_validate_json(bench.study)
    first = bench.schedules[0]
    title = f"{bench.name}: every schedule of {first.total} experts in {first.depth} layers"
    return "\n\n".join(
        [
            f"# {title}",
            f"<!-- Made by `{made_by}` from the table alone; change that, not this. -->",
            paragraph(_what(bench)),
            _usage(bench),
            "## How it was made",
            paragraph(_how(bench, study)),
            "## What the noise allows",
            items(_noise(bench)),
            "## Columns",
            "A row per training run, in the order of schedules and seed blocks.",
            _columns(),
            "## Limits",
            items(_limits(bench, study)),
            "## Data and license",
            paragraph(_SOURCES.get(study.data.name, "See the source of the data set.")),
            "## How to cite",
            paragraph(_citation(bench, title)) + "\n",
        ]
    )


def _what(bench: Bench) -> str:
    answer = bench.ask(bench.schedules[0])
    return (
        f"All {len(bench.schedules):,} schedules, each trained {len(answer.losses)} times from the"
        f" same seeds: {len(bench.runs):,} training runs of a small Mixture-of-Experts network,"
        " each with its learning curve, active FLOPs, measured K, how the experts are used, and the"
        " noise of the gradients. So a search method can be tried on it without any training, and"
        " questions about schedules are answered by a look into the table."
    )


def _usage(bench: Bench) -> str:
    example = bench.schedules[len(bench.schedules) // 2]
    return f"""\
```python
from dynamoe_search import bench

table = bench.load("{bench.name}")  # checked against its checksum
found = table.ask("{example}")  # or a tuple, or a Schedule
found.loss, found.low, found.high  # the mean in nats, and its 95 % interval
found.losses  # of each seed block
found.curve  # the mean learning curve, a DataFrame
table.runs  # everything, as Study.training_runs gives it; leaderboards and plots take it
```

```console
$ dynamoe-search compare-samplers {bench.name} --family free --plot samplers.png
```"""


def _how(bench: Bench, study: StudyFile) -> str:
    model, training, router = study.model, study.training, study.router
    constants = ", ".join(f"{key} = {value}" for key, value in asdict(router).items())
    rows = bench.runs
    versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
    return (
        f"By `study.toml`, beside this card: {model.depth} blocks of experts of width"
        f" {model.width}, each expert of hidden width {model.hidden}, router ({constants}),"
        f" {rows['total_parameters'].iloc[0]:,.0f} parameters whatever the schedule; AdamW,"
        f" learning rate {training.learning_rate}, batch {training.batch}, {training.epochs}"
        " epochs. Seeds:"
        f" {', '.join(map(str, rows['seed'].unique()))}, the same for every schedule. Together"
        f" {rows['training_seconds'].sum() / 60:.0f} minutes of training on one core. Made with"
        f" {versions} (a plus: with changes not committed); data fingerprint {bench.data}."
    )


def _noise(bench: Bench) -> list[str]:
    found = compare_pairs(bench.losses)
    best, worst = (bench.ask(name) for name in (found.indistinguishable[0], _worst(bench)))
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
        f"**Best**: {best.schedule}, {best.loss:.4f} nats (95 % interval {best.low:.4f} to"
        f" {best.high:.4f}). {len(found.indistinguishable) - 1} of the {found.candidates - 1}"
        " others are statistically indistinguishable from it. It was picked for being best; its"
        f" true loss is expected to be {found.expected_best:.4f} nats.",
        f"**Worst**: {worst.schedule}, {worst.loss:.4f} nats ({worst.low:.4f} to"
        f" {worst.high:.4f}).",
    ]
    return [*sentences, *_named(bench, found), *_compute(bench), _fidelity(bench)]


def _worst(bench: Bench) -> str:
    return str(bench.means["validation_loss"].idxmax())


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
        f" {half['block_tau']:.2f} ({half['block_low']:.2f} to"
        f" {half['block_high']:.2f}); ranks by the means of all seeds after"
        f" {half['fraction']:.0%} of the training agree with those at its end with"
        f" {half['tau']:.2f}."
    )


def _limits(bench: Bench, study: StudyFile) -> list[str]:
    first = bench.schedules[0]
    curves = [bench.ask(schedule).curve["loss"].iloc[-2:] for schedule in bench.schedules]
    before, after = np.mean(curves, axis=0)
    return [
        "Training runs are short. Over the last part of the curve the mean loss of all still falls"
        f" from {before:.4f} to {after:.4f} nats, so differences are in part of learning speed.",
        f"One data set, one small network, one router ({study.router.name}) and one way of"
        " training: what is good here need not be good elsewhere.",
        "Losses and accuracies are of the validation split; the test split was not looked at.",
        f"The intervals are over the {len(bench.losses.columns)} seeds of training: the split of"
        " the data is the same in all.",
        f"A search on the table sees {len(bench.schedules):,} schedules of {first.depth} layers;"
        " large spaces may reward other methods.",
        "Seconds are of one machine under load; everything else repeats bit for bit only with the"
        " same versions on a processor of the same kind.",
    ]


def _columns() -> str:
    lines = [f"| `{name}` | {meaning} |" for name, meaning in COLUMNS.items()]
    return "\n".join(["| column | meaning, unit |", "| --- | --- |", *lines])


def _citation(bench: Bench, title: str) -> str:
    return (
        f"{title}. A tabular benchmark of dynamoe_search {bench.versions['dynamoe_search']},"
        f" commit {bench.versions['commit'][:12]}. Please give the commit, and the checksum of the"
        " table in `dynamoe_search/bench/tables/SHA256SUMS`."
    )
