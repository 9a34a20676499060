"""What a study will be able to decide, by its pilot: the numbers are those of the functions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.budgets import parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.pilot import pilot_sentences, pilot_table
from dynamoe_search.run.pilot import AS_IT_IS, Variant
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.power import detectable_difference, paired_noise, seeds_to_detect
from tests.conftest import edit
from tests.report.shown import shown

DIGITS = embedded_digits(seed=0)
SMALL = (
    *(("seeds = 1", "seeds = 4"), ('"random"', '"posterior"'), ("blocks = 2", "blocks = 5")),
    *(("depth = 4", "depth = 3"), ("experts = 12", "experts = 6"), ('"blend"', '"free"')),
)


def variant(
    path: Path, *changes: tuple[str, str], name: str = AS_IT_IS, noise: float, seconds: float = 3.0
) -> Variant:
    """A pilot of all named patterns; that of the descending one is best by 0.1."""
    edit(path, *changes)
    plan = make_plan(read_study_file(path), DIGITS)
    candidates = sorted({str(plan.baselines[name]) for name in PATTERNS_AND_UNIFORM})
    seeds, generator = plan.seeds(0), np.random.default_rng(0)
    best = str(plan.baselines["descending"])
    rows = [
        (one, seed, 1.0 - 0.1 * (one == best) + place + noise * generator.standard_normal())
        for one in candidates
        for place, seed in enumerate(seeds)
    ]
    return Variant(name, plan, pd.DataFrame(rows, columns=["candidate", "seed", "loss"]), seconds)


def test_it_says_what_the_study_can_show(small_study: Path) -> None:
    own = variant(small_study, *SMALL, noise=0.01)
    noise, count = paired_noise(own.results), own.results["candidate"].nunique()
    assert 0.005 < noise.deviation < 0.03
    first, second, limit, memory = pilot_sentences([own], workers=2)
    assert first == (
        f"Pilot: {count} named patterns on 4 seeds each. A training run takes 3 s on one core; the"
        f" difference of two schedules for one seed scatters by {noise.deviation:.4f} nats (95 %"
        f" {noise.low:.4f} to {noise.high:.4f})."
    )
    shown = detectable_difference(noise.deviation, 20)
    assert second == (
        f"The smallest difference of two schedules that it can show is {shown:.4f} nats, in 80 % of"
        " cases: with search.blocks, 5 blocks of 4 seeds, for either."
    )
    # Half of 14 runs of 4 seeds are 14 seeds for either of two schedules.
    assert limit == (
        "Its limit, 14 training runs, takes about 0.35 minutes with 2 workers; half of them on two"
        f" schedules would show {detectable_difference(noise.deviation, 14):.4f} nats."
    )
    weights = parameter_count(own.plan.network).total * 4
    assert memory.startswith(f"Each worker takes about {weights * 20 / 1e9:.2g} GB for weights")


def test_a_single_seed_shows_nothing(small_study: Path) -> None:
    own = variant(small_study, ("seeds = 1", "seeds = 2"), noise=0.01)
    edit(small_study, ("seeds = 2", "seeds = 1"), ("blocks = 2", "blocks = 1"))
    single = Variant(AS_IT_IS, make_plan(read_study_file(small_study), DIGITS), own.results, 1.0)
    assert "It has a single seed for each schedule" in pilot_sentences([single], workers=1)[1]


def test_without_a_limit_of_runs_none_is_said(small_study: Path) -> None:
    own = variant(small_study, *SMALL, ("runs = 14", "minutes = 5"), noise=0.01)
    assert pilot_sentences([own], 1)[2] == "The study has no limit of training runs."


@pytest.mark.parametrize(
    ("noise", "seconds", "advice"),
    [
        (0.001, 1.5, "it would decide sooner, if its schedules differ as much"),
        (0.1, 6.0, "it would pay only if its schedules differ by more"),
        (0.01, 3.0, "the pilot does not show which decides sooner"),
    ],
)
def test_another_proxy_is_compared_by_noise_and_time(
    small_study: Path, noise: float, seconds: float, advice: str
) -> None:
    own = variant(small_study, *SMALL, noise=0.01)
    wide = ("width = 8", "width = 12")
    name = "that is half as wide again"
    other = variant(small_study, wide, name=name, noise=noise, seconds=seconds)
    sentence = pilot_sentences([own, other], 1)[-1]
    deviations = [paired_noise(one.results).deviation for one in (other, own)]
    ratio = (deviations[0] / deviations[1]) ** 2 * seconds / 3
    assert sentence.startswith(
        f"A proxy {name} (3 layers of width 12) takes {seconds:.3g} s per run and"
        f" scatters by {deviations[0]:.4f}: a comparison costs {ratio:.2g} times as much (95 % "
    )
    assert sentence.endswith(f"{advice}.")


@pytest.mark.slow
def test_the_table_has_what_each_margin_takes(small_study: Path) -> None:
    own = variant(small_study, *SMALL, ("runs = 14", "runs = 14\nmargin = 0.05"), noise=0.01)
    noise = paired_noise(own.results)
    rows = pilot_table(own, workers=2).rows
    margins = (0.05, 0.02, 0.01, 0.005, 0.002)
    assert [row[0] for row in rows] == ["0.05 (the study's)", "0.02", "0.01", "0.005", "0.002"]
    blocks = [-(-seeds_to_detect(noise.deviation, margin) // 4) for margin in margins]
    assert [row[1] for row in rows] == [str(number) for number in blocks]
    runs = [int(row[2]) for row in rows if row[2].isdigit()]
    assert runs == sorted(runs)
    assert runs
    for row in rows:
        known = row[2].isdigit()
        assert row[3] == (f"{int(row[2]) * 3 / 60 / 2:.2g}" if known else "?")
        assert known or row[2] == "over 500"
    assert "with 2 workers" in shown(pilot_table(own, workers=2))
