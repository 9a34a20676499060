"""Searches replayed on made-up losses: nothing here is trained."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from dynamoe_search.bench.known import KnownLosses
from dynamoe_search.bench.replay import COMPARED_SAMPLERS, compare_samplers, replay
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.runs import RunResult, finished, started
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log, storage_of
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.samplers import compare_with_random
from dynamoe_search.schedules import Schedule, allocate
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.search.samplers import make_sampler
from tests.bench.exhaustive import DIGITS, distance, known_of


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("dynamoe_search.run.worker.train", refuse)


def search_for(known: KnownLosses, path: Path, sampler: str, repetition: int) -> list[str | None]:
    """The leader after each run of a real search: in a log, with a new process for each decision.

    Its study file has the seed of the repetition, and its blocks are in that one's order.
    """
    seed = known.plan.study.seed
    order = np.random.default_rng([seed, repetition]).permutation(known.blocks)
    drawn = int(np.random.SeedSequence([seed, repetition]).generate_state(1)[0])
    path.write_text(path.read_text().replace("exhaustive", sampler))
    study_file = read_study_file(path).model_copy(update={"seed": drawn})
    plan, storage = make_plan(study_file, DIGITS), storage_of(path.parent)
    leading: list[str | None] = []
    with open_log(storage, create=True) as log:
        begin_study(log, State(), study_file, DIGITS.fingerprint, storage)
        while True:
            state, policy = State(), SearchPolicy(plan)
            catch_up(log, state, policy.follow)
            if len(leading) < len(state.search.ended):
                leading.append(policy.best(state.search))
            start = policy.ask(state, worker="", session="")
            if start is None:
                return leading
            size = known.block_size
            of_blocks = np.reshape(known.losses[start.candidate], (known.blocks, size))
            losses = of_blocks[order[start.block]].tolist()
            results = [RunResult(validation_loss=loss) for loss in losses]
            log.append(started(start), finished(start, "complete", results))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "block_size"), [*((sampler, 1) for sampler in COMPARED_SAMPLERS), ("tpe", 3)]
)
def test_a_replay_decides_as_a_real_search_does(
    tmp_path: Path, sampler: str, block_size: int
) -> None:
    runs = ("runs = 63", "runs = 16")
    known = known_of(tmp_path, runs, noise=0.05, blocks=3, block_size=block_size)
    path = tmp_path / "study.toml"
    real = search_for(known, path, sampler, repetition=2)
    assert replay(known, sampler, runs=16, repetition=2)["recommended"].tolist() == real
    assert len(set(real)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", COMPARED_SAMPLERS)
def test_without_noise_regret_falls_to_zero(tmp_path: Path, sampler: str) -> None:
    known = known_of(tmp_path)
    assert known.regrets["5-1-2"] == 0
    # Each schedule once is all there is to train, so the search ends by itself.
    search = replay(known, sampler, runs=60, repetition=0)
    assert search["run"].tolist() == list(range(1, 61))
    first = str(known.plan.baselines["descending"])
    assert search["recommended"][0] == first
    assert search["regret"][0] == pytest.approx(distance(Schedule.parse(first)))
    assert (search["regret"] >= 0).all()
    assert (search["regret"].diff().dropna() <= 0).all()
    assert search["recommended"].iloc[-1] == "5-1-2"
    assert search["regret"].iloc[-1] == 0
    assert (search["unknown"] == 0).all()


def test_a_search_that_has_seen_everything_has_no_regret_despite_noise(tmp_path: Path) -> None:
    known = known_of(tmp_path, noise=0.05, blocks=3)
    search = replay(known, "random", runs=63, repetition=0)
    assert (search["regret"] >= 0).all()
    means = {name: np.mean(losses) for name, losses in known.losses.items()}
    assert search["recommended"].iloc[-1] == min(means, key=means.__getitem__)
    assert search["regret"].iloc[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_random_search_regrets_what_brute_force_expects(tmp_path: Path) -> None:
    """In the family free, random search draws a whole number per layer, uniformly from 1 to 6.

    After the named schedules, it draws those that are not yet known, one after another.
    """
    known = known_of(tmp_path)
    drawn = [str(allocate(weights, 8)) for weights in product(range(1, 7), repeat=3)]
    chances = pd.Series(drawn).value_counts(normalize=True)
    named = {str(candidate) for candidate in known.plan.baselines.values()}
    chances = chances.drop(list(named), errors="ignore")
    so_far = min(known.regrets[name] for name in named)
    after_one = after_two = 0.0
    for first, chance in chances.items():
        chance /= chances.sum()
        best = min(so_far, known.regrets[str(first)])
        after_one += chance * best
        others = chances.drop(first)
        regrets = others.index.map(known.regrets)
        after_two += chance * float((others / others.sum()) @ np.minimum(best, regrets))
    runs = len(named) + 3
    searches = pd.concat(replay(known, "random", runs, n) for n in range(100))
    for run, expected in ((len(named) + 1, after_one), (len(named) + 2, after_two)):
        found = searches.loc[searches["run"] == run, "regret"]
        assert found.std() > 0
        assert abs(found.mean() - expected) < 4 * found.sem()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_search(tmp_path: Path) -> None:
    known = known_of(tmp_path, noise=0.05, blocks=3)
    once, again = (replay(known, "tpe", runs=30, repetition=4) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)
    assert replay(known, "tpe", 30, 5)["recommended"].tolist() != once["recommended"].tolist()


@pytest.mark.slow
def test_blocks_come_in_another_order_each_time_but_the_same_for_all(tmp_path: Path) -> None:
    known = known_of(tmp_path, blocks=5)
    named = slice(known.baselines)  # in which all searches are alike but for the order
    # What a seed does to all alike must not decide between schedules.
    regrets = [replay(known, "random", runs=7, repetition=n)["regret"] for n in range(10)]
    assert all((regret[named].diff().dropna() <= 0).all() for regret in regrets)
    noisy = known_of(tmp_path, noise=0.5, blocks=5)
    starts = {tuple(replay(noisy, "random", 7, n)["recommended"][named]) for n in range(10)}
    assert 1 < len(starts) <= 5


def test_what_diverged_is_never_recommended_but_costs_a_run(tmp_path: Path) -> None:
    known = known_of(tmp_path)
    first = str(known.plan.baselines["descending"])
    known = replace(known, losses=known.losses | {"5-1-2": (), first: ()})
    search = replay(known, "random", runs=60, repetition=0)
    assert pd.isna(search["recommended"][0])
    assert np.isnan(search["regret"][0])
    assert not search["recommended"].isin(["5-1-2", first]).any()
    assert search["regret"].iloc[-1] == 0
    assert search["regret"].nunique() > 1
    assert search["recommended"].iloc[-1] in ("4-1-3", "4-2-2", "5-2-1", "6-1-1")


def test_what_is_not_known_is_passed_over(tmp_path: Path) -> None:
    known = known_of(tmp_path)
    del known.losses["5-1-2"]
    search = replay(known, "random", runs=60, repetition=0)
    assert search["unknown"].iloc[0] > 0
    assert not (search["recommended"] == "5-1-2").any()
    assert search["regret"].iloc[-1] == 0


def test_a_replay_that_is_stopped_ends(tmp_path: Path) -> None:
    known = known_of(tmp_path)
    answers = iter([False, False, True])
    search = replay(known, "random", 20, 0, lambda: next(answers))
    whole = replay(known, "random", 20, 0)["recommended"]
    assert search["recommended"].tolist() == [*whole[:2], *[whole[1]] * 18]


class Timid(optuna.samplers.RandomSampler):
    """Moves the experts away from the first layer, where they belong."""

    def sample_independent(self, study, trial, name, distribution):  # type: ignore[no-untyped-def]
        if name == "layer_0":
            return 1
        return super().sample_independent(study, trial, name, distribution)


@pytest.mark.slow
def test_a_sampler_that_looks_in_the_wrong_place_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(name: str, seed: int, asked: int, in_vain: int) -> optuna.samplers.BaseSampler:
        if name == "qmc":
            return Timid(seed=seed + asked)
        return make_sampler(name, seed, asked, in_vain)

    monkeypatch.setattr("dynamoe_search.search.proposer.make_sampler", make)
    known = known_of(tmp_path, ("depth = 3", "depth = 4"), ("experts = 8", "experts = 12"))
    searches = [replay(known, name, 40, n) for name in ("random", "qmc") for n in range(10)]
    comparison = compare_with_random(pd.concat(searches))
    assert comparison["verdict"].tolist() == ["worse", "worse"]


@pytest.mark.slow
def test_processes_find_what_one_would(tmp_path: Path) -> None:
    known = known_of(tmp_path, noise=0.05, blocks=3)
    told: list[tuple[int, int]] = []
    table = compare_samplers(
        known, ["tpe"], runs=15, repetitions=2, on_progress=lambda *now: told.append(now)
    )
    expected = [replay(known, name, 15, n) for n in range(2) for name in ("random", "tpe")]
    pd.testing.assert_frame_equal(table, pd.concat(expected, ignore_index=True))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"samplers": ["exhaustive"]}, "'exhaustive' cannot be compared"),
        ({"repetitions": 1}, "takes at least 2"),
        ({"runs": 6}, "no sampler gets to choose; give at least 7"),
    ],
)
def test_impossible_comparisons_are_refused(tmp_path: Path, options, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        compare_samplers(known_of(tmp_path), **options)
