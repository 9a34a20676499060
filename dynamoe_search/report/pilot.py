"""What a study will be able to decide, by its pilot: in sentences, and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from dynamoe_search.budgets import parameter_count
from dynamoe_search.decision.acquisition import MOST_FORESEEN, runs_to_decide
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import counted, percents
from dynamoe_search.run.pilot import Variant
from dynamoe_search.search.chooser import Chooser
from dynamoe_search.statistics.intervals import CONFIDENCE
from dynamoe_search.statistics.power import (
    POWER,
    PairedNoise,
    detectable_difference,
    paired_noise,
    seeds_to_detect,
)

_MARGINS = (0.02, 0.01, 0.005, 0.002)
# Weights, gradients, the optimizer's two moments, and one tensor to gather gradients, in float32.
_BYTES_OF_A_WEIGHT = 5 * 4


def pilot_sentences(variants: Sequence[Variant], workers: int) -> list[str]:
    """What a study will be able to decide.

    Parameters
    ----------
    variants : sequence of Variant
        As `dynamoe_search.run.pilot.run_pilot` gives them: the study itself first.
    workers : int
        How many processes will train.
    """
    own, noise = variants[0], paired_noise(variants[0].results)
    search, seeds = own.plan.study.search, own.plan.study.training.seeds
    most = search.blocks * seeds
    sentences = [
        f"Pilot: {counted(own.results['candidate'].nunique(), 'named pattern')} on"
        f" {counted(seeds, 'seed')} each. A training run takes {own.seconds:.3g} s on one core;"
        f" the difference of two schedules for one seed scatters by {noise.deviation:.4f} nats"
        f" (95 % {noise.low:.4f} to {noise.high:.4f}).",
        f"The smallest difference of two schedules that it can show is"
        f" {detectable_difference(noise.deviation, most):.4f} nats, in {percents(POWER)} of cases:"
        f" with search.blocks, {counted(search.blocks, 'block')} of {counted(seeds, 'seed')}, for"
        " either."
        if most > 1
        else "It has a single seed for each schedule, and shows no difference of two: raise"
        " search.blocks or training.seeds.",
        _limit(own, noise, workers),
        f"Each worker takes about {_gigabytes(own):.2g} GB for weights, gradients and optimizer,"
        " beside torch, the data and the activations.",
    ]
    return [*sentences, *(_of_variant(one, own, noise) for one in variants[1:])]


def pilot_table(own: Variant, workers: int) -> Table:
    """What it takes to decide by each of some margins, as predicted from the pilot.

    Parameters
    ----------
    own : Variant
        The study itself.
    workers : int
    """
    noise, seeds = paired_noise(own.results), own.plan.study.training.seeds
    posterior = Chooser(own.plan).fit(own.results)
    margins = sorted({*_MARGINS, own.plan.study.search.margin}, reverse=True)
    rows = []
    for margin in margins:
        runs = runs_to_decide(posterior, margin, seeds_per_block=seeds)
        minutes = None if runs is None else runs * own.seconds / 60 / workers
        blocks = -(-seeds_to_detect(noise.deviation, margin) // seeds)
        mark = " (the study's)" if margin == own.plan.study.search.margin else ""
        known = (f"over {MOST_FORESEEN}", "?") if runs is None else (str(runs), f"{minutes:.2g}")
        rows.append([f"{margin:g}{mark}", str(blocks), *known])
    columns = [Column("margin", is_name=True)]
    columns += numbers("blocks for two schedules", "runs to decide", "minutes")
    note = (
        "margin: the loss in nats that does not matter; blocks for two schedules: with which a"
        f" difference of the margin is seen in {percents(POWER)} of cases; runs to decide: training"
        " runs after the pilot until no candidate of the family is better by more, with"
        f" {percents(CONFIDENCE)}, as predicted from little; minutes: with"
        f" {counted(workers, 'worker')}"
    )
    return Table(columns, rows, "What a decision takes", note)


def _limit(own: Variant, noise: PairedNoise, workers: int) -> str:
    search, seeds = own.plan.study.search, own.plan.study.training.seeds
    if search.runs is None:
        return "The study has no limit of training runs."
    minutes = search.runs * own.seconds / 60 / workers
    shown = detectable_difference(noise.deviation, max(2, search.runs * seeds // 4))
    return (
        f"Its limit, {counted(search.runs, 'training run')}, takes about {minutes:.2g} minutes with"
        f" {counted(workers, 'worker')}; half of them on two schedules would show {shown:.4f} nats."
    )


def _gigabytes(own: Variant) -> float:
    weights = parameter_count(own.plan.network).total * own.plan.study.training.seeds
    return weights * _BYTES_OF_A_WEIGHT / 1e9


def _of_variant(one: Variant, own: Variant, noise: PairedNoise) -> str:
    other = paired_noise(one.results)
    ratio = (other.deviation / noise.deviation) ** 2 * one.seconds / own.seconds
    tail = (1 - CONFIDENCE) / 2
    low, high = (
        ratio / stats.f.ppf(level, other.degrees, noise.degrees) for level in (1 - tail, tail)
    )
    model = one.plan.study.model
    if high < 1:
        advice = "it would decide sooner, if its schedules differ as much"
    elif low > 1:
        advice = "it would pay only if its schedules differ by more"
    else:
        advice = "the pilot does not show which decides sooner"
    return (
        f"A proxy {one.name} ({counted(model.depth, 'layer')} of width {model.width}) takes"
        f" {one.seconds:.3g} s per run and scatters by {other.deviation:.4f}: a comparison costs"
        f" {ratio:.2g} times as much (95 % {low:.2g} to {high:.2g}); {advice}."
    )
