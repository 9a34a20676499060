"""A pilot: what is trained in which time. Most runs are made up, by a clock of their own."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dynamoe_search.budgets import parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run import pilot
from dynamoe_search.run.pilot import AS_IT_IS, Variant, run_pilot
from dynamoe_search.training.loop import NonFiniteLoss, train
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)
TWO_SEEDS = ("seeds = 1", "seeds = 2")
PAPER = (
    ("experts = 12", 'regime = "paper"\nmaximum = 4'),
    ('"blend"', '"mixture"'),
)


class Clock:
    """Training takes as many seconds as it is told, and no time passes else."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds
        self.trained: list[tuple[str, tuple[int, ...]]] = []

    def monotonic(self) -> float:
        return self.now

    def train(self, network, data, settings, seeds):
        self.now += self.seconds
        self.trained.append((str(network.blocks.schedule), tuple(seeds)))
        losses = [SimpleNamespace(seed=one, validation=SimpleNamespace(loss=1.0)) for one in seeds]
        return SimpleNamespace(of_seeds=losses)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock(seconds=1.0)
    monkeypatch.setattr(pilot, "time", clock)
    monkeypatch.setattr(pilot, "train", clock.train)
    return clock


def pilot_of(path: Path, seconds: float, *changes: tuple[str, str]) -> list[Variant]:
    edit(path, *changes)
    return run_pilot(read_study_file(path), DIGITS, seconds)


@pytest.mark.parametrize(
    ("seconds", "of_each"),
    [(0.1, [2]), (3.5, [2]), (4, [2, 2]), (6, [3, 3]), (12, [6, 3, 3]), (60, [7, 3, 7])],
)
def test_it_takes_the_time_that_it_may(
    small_study: Path, clock: Clock, seconds: float, of_each: list[int]
) -> None:
    found = pilot_of(small_study, seconds, TWO_SEEDS)
    # In two layers there are three different patterns.
    assert [one.results["candidate"].nunique() for one in found] == of_each
    assert clock.now <= max(2, seconds)
    assert [one.seconds for one in found] == [1] * len(of_each)


def test_all_are_trained_on_the_first_block(small_study: Path, clock: Clock) -> None:
    told: list[tuple[str, float]] = []
    edit(small_study, TWO_SEEDS)
    study_file = read_study_file(small_study)
    (own,) = run_pilot(study_file, DIGITS, 3, lambda what, part: told.append((what, part)))
    plan = make_plan(study_file, DIGITS)
    names = ("descending", "ascending")
    assert clock.trained == [(str(plan.baselines[name]), plan.seeds(0)) for name in names]
    assert told == [("as it is: descending", 0), ("as it is: ascending", pytest.approx(1 / 3))]
    assert own.results.groupby("candidate")["seed"].apply(tuple).tolist() == [plan.seeds(0)] * 2


def test_where_a_block_is_one_seed_two_are_trained(small_study: Path, clock: Clock) -> None:
    (own,) = pilot_of(small_study, 3)
    first, second = own.plan.seeds(0), own.plan.seeds(1)
    assert [seeds for _, seeds in clock.trained] == [first, second] * 2
    assert own.seconds == 1


def test_other_proxies_differ_in_their_size_alone(small_study: Path, clock: Clock) -> None:
    extra = ("blocks = 2", 'blocks = 2\npresets = ["mola"]\nalpha_lora = [1, 2, 3, 4]')
    own, shallow, wide = pilot_of(small_study, 60, TWO_SEEDS, extra)
    assert own.name == AS_IT_IS
    assert (shallow.plan.depth, shallow.plan.study.model.width) == (2, 8)
    assert (wide.plan.depth, wide.plan.study.model.width) == (4, 12)
    assert [one.plan.solution.experts for one in (own, shallow, wide)] == [12, 6, 12]
    assert {one.plan.study.training for one in (shallow, wide)} == {own.plan.study.training}
    sizes = [parameter_count(one.plan.network).total for one in (shallow, own, wide)]
    assert sizes == sorted(sizes)


def test_the_regime_paper_has_no_other_proxy(small_study: Path, clock: Clock) -> None:
    (own,) = pilot_of(small_study, 60, TWO_SEEDS, *PAPER)
    assert own.results["candidate"].nunique() == 7


def test_patterns_that_are_the_same_are_trained_once(small_study: Path, clock: Clock) -> None:
    small = (("depth = 4", "depth = 2"), ("experts = 12", "experts = 4"))
    own, wide = pilot_of(small_study, 60, TWO_SEEDS, *small)
    assert not own.results.duplicated(["candidate", "seed"]).any()
    assert wide.name == "that is half as wide again"  # of one layer, nothing could be compared


def test_where_all_patterns_are_the_same_there_is_nothing_to_compare(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match="all named patterns are 1-1-1-1: a pilot has nothing"):
        pilot_of(small_study, 60, ("experts = 12", "experts = 4"))


def test_a_run_that_diverges_ends_it(small_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*arguments):
        raise NonFiniteLoss("the loss is nan")

    monkeypatch.setattr(pilot, "train", diverge)
    with pytest.raises(RunFailed, match=r"the pilot's descending diverged: .*lower learning_rate"):
        pilot_of(small_study, 60)


@pytest.mark.slow
def test_its_losses_are_those_of_the_study(small_study: Path) -> None:
    (own,) = pilot_of(small_study, 0.01, TWO_SEEDS)
    plan = own.plan
    for name in ("descending", "ascending"):
        candidate = plan.baselines[name]
        network, settings = plan.network_with(candidate), plan.study.training
        again = train(network, DIGITS, settings, plan.seeds(0)).of_seeds
        found = own.results.set_index("candidate").loc[[str(candidate)], "loss"]
        assert found.tolist() == [one.validation.loss for one in again]
