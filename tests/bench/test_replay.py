"""Searches replayed on made-up recordings: nothing here is trained."""

from itertools import product
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from dynamoe_search.bench.recording import Recording, load_recording
from dynamoe_search.log.definition import record_study_file
from dynamoe_search.log.records import record_failure, record_result
from dynamoe_search.search.assignment import next_assignment

from dynamoe_search.bench.replay import COMPARED_SAMPLERS, compare_samplers, replay
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.storage import place_of
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.samplers import compare_with_random
from dynamoe_search.run.worker import check_data
from dynamoe_search.schedules import Schedule, allocate, enumerate_schedules
from dynamoe_search.search.samplers import make_sampler
from tests.conftest import SMALL_STUDY

DIGITS = embedded_digits(seed=0)
BEST = {3: np.array([5, 1, 2]), 4: np.array([6, 3, 1, 2])}


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("dynamoe_search.run.worker.train", refuse)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def write_study(folder: Path, *changes: tuple[str, str]) -> Path:
    """Three layers share eight experts: 21 schedules, each to be trained three times."""
    text = SMALL_STUDY
    for old, new in (
        ("depth = 4", "depth = 3"),
        ("experts = 12", "experts = 8"),
        ('"random"', '"exhaustive"'),
        ("runs = 14", "runs = 63"),
        ("blocks = 2", "blocks = 3"),
        *changes,
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text)
    return path


def distance(schedule: Schedule) -> float:
    """A landscape of one minimum, 0."""
    return 0.05 * float(np.abs(np.array(schedule.counts) - BEST[schedule.depth]).sum())


def recording_of(
    folder: Path,
    *changes: tuple[str, str],
    noise: float = 0.0,
    blocks: int = 1,
) -> Recording:
    path = write_study(folder, ('"blend"', '"free"'), *changes)
    plan = make_plan(read_study_file(path), DIGITS)
    generator = np.random.default_rng(0)
    of_seed = generator.normal(size=blocks)
    losses = {
        str(schedule): tuple(
            float(loss)
            for loss in distance(schedule) + of_seed + generator.normal(0, noise, blocks)
        )
        for schedule in enumerate_schedules(plan.solution.experts, plan.depth)
    }
    return Recording(plan, losses, coverage=1.0)


def keep_study(path: Path, most: int = 1000, diverging: str = "") -> None:
    """Have the study's own search asked for its trainings, and record made-up results."""
    study_file = read_study_file(path)
    plan = make_plan(study_file, DIGITS)
    place = place_of(path.parent)
    study = optuna.create_study()
    for _ in range(most):
        assignment = next_assignment(study, plan, worker="", run="")
        if assignment is None:
            break
        run, claim = assignment.trial, assignment.claim
        if claim.candidate == diverging:
            record_failure(study, run, "diverged", "loss is nan")
            continue
        loss = distance(assignment.candidate.schedule) + 0.01 * (claim.seed % 7)
        result = {"validation_loss": loss, "training_flops": 1.0}
        record_result(study, run, claim, result, study_file.search)
    kept = begin_study(place, ["minimize"])
    record_study_file(kept, study_file, place)
    check_data(kept, DIGITS, place)
    kept.add_runs(study.runs)


@pytest.mark.parametrize("sampler", COMPARED_SAMPLERS)
def test_without_noise_regret_falls_to_zero(tmp_path: Path, sampler: str) -> None:
    recording = recording_of(tmp_path)
    assert recording.regrets["5-1-2"] == 0
    # Each schedule once is all there is to train, so the search ends by itself.
    search = replay(recording, sampler, runs=60, repetition=0)
    assert search["run"].tolist() == list(range(1, 61))
    first = str(recording.plan.baselines["descending"])
    assert search["recommended"][0] == first
    assert search["regret"][0] == pytest.approx(distance(Schedule.parse(first)))
    assert (search["regret"] >= 0).all()
    assert (search["regret"].diff().dropna() <= 0).all()
    assert search["recommended"].iloc[-1] == "5-1-2"
    assert search["regret"].iloc[-1] == 0
    assert (search["unknown"] == 0).all()


def test_whoever_has_seen_everything_has_no_regret_despite_noise(tmp_path: Path) -> None:
    recording = recording_of(tmp_path, noise=0.05, blocks=3)
    search = replay(recording, "random", runs=63, repetition=0)
    assert (search["regret"] >= 0).all()
    means = {name: np.mean(losses) for name, losses in recording.losses.items()}
    assert search["recommended"].iloc[-1] == min(means, key=means.__getitem__)
    assert search["regret"].iloc[-1] == pytest.approx(0, abs=1e-12)


def test_regret_is_less_than_the_means_make_it_look(tmp_path: Path) -> None:
    recording = recording_of(tmp_path, noise=0.05, blocks=3)
    means = np.array([np.mean(losses) for losses in recording.losses.values()])
    regrets = np.array(list(recording.regrets.values()))
    assert (np.argsort(regrets) == np.argsort(means)).all()
    assert regrets.max() < np.ptp(means)
    once = recording_of(tmp_path, noise=0.05, blocks=1)
    losses = np.array(list(once.losses.values()))[:, 0]
    assert list(once.regrets.values()) == pytest.approx(losses - losses.min())


def test_random_search_regrets_what_brute_force_expects(tmp_path: Path) -> None:
    """In the family free, random search draws a whole number a layer, uniformly from 1 to 6.

    After the named schedules, it draws those that are not yet known, one after another.
    """
    recording = recording_of(tmp_path)
    drawn = [str(allocate(weights, 8)) for weights in product(range(1, 7), repeat=3)]
    chances = pd.Series(drawn).value_counts(normalize=True)
    known = {str(candidate) for candidate in recording.plan.baselines.values()}
    chances = chances.drop(list(known), errors="ignore")
    so_far = min(recording.regrets[name] for name in known)
    after_one = after_two = 0.0
    for first, chance in chances.items():
        chance /= chances.sum()
        best = min(so_far, recording.regrets[str(first)])
        after_one += chance * best
        others = chances.drop(first)
        regrets = others.index.map(recording.regrets)
        after_two += chance * float((others / others.sum()) @ np.minimum(best, regrets))
    runs = len(known) + 3
    searches = pd.concat(replay(recording, "random", runs, n) for n in range(100))
    for run, expected in ((len(known) + 1, after_one), (len(known) + 2, after_two)):
        found = searches.loc[searches["run"] == run, "regret"]
        assert found.std() > 0
        assert abs(found.mean() - expected) < 4 * found.sem()


def test_the_same_seed_gives_the_same_search(tmp_path: Path) -> None:
    recording = recording_of(tmp_path, noise=0.05, blocks=3)
    once, again = (replay(recording, "tpe", runs=30, repetition=4) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)
    assert replay(recording, "tpe", 30, 5)["recommended"].tolist() != once["recommended"].tolist()


def test_blocks_come_in_another_order_each_time_but_the_same_for_all(tmp_path: Path) -> None:
    recording = recording_of(tmp_path, blocks=5)
    named = slice(recording.baselines)  # in which all searches are alike but for the order
    # What a seed does to all alike must not decide between schedules.
    regrets = [replay(recording, "random", runs=7, repetition=n)["regret"] for n in range(10)]
    assert all((regret[named].diff().dropna() <= 0).all() for regret in regrets)
    noisy = recording_of(tmp_path, noise=0.5, blocks=5)
    starts = {tuple(replay(noisy, "random", 7, n)["recommended"][named]) for n in range(10)}
    assert 1 < len(starts) <= 5


def test_what_diverged_is_never_recommended_but_costs_a_training(tmp_path: Path) -> None:
    recording = recording_of(tmp_path)
    recording.losses["5-1-2"] = ()
    first = str(recording.plan.baselines["descending"])
    recording.losses[first] = ()
    search = replay(recording, "random", runs=60, repetition=0)
    assert pd.isna(search["recommended"][0])
    assert np.isnan(search["regret"][0])
    assert not search["recommended"].isin(["5-1-2", first]).any()
    assert search["regret"].iloc[-1] == 0
    assert search["regret"].nunique() > 1
    assert search["recommended"].iloc[-1] in ("4-1-3", "4-2-2", "5-2-1", "6-1-1")


def test_what_is_not_recorded_is_passed_over(tmp_path: Path) -> None:
    recording = recording_of(tmp_path)
    del recording.losses["5-1-2"]
    search = replay(recording, "random", runs=60, repetition=0)
    assert search["unknown"].iloc[0] > 0
    assert not (search["recommended"] == "5-1-2").any()
    assert search["regret"].iloc[-1] == 0


class Timid(optuna.samplers.RandomSampler):
    """Moves the experts away from the first layer, where they belong."""

    def sample_independent(self, study, run, name, distribution):  # type: ignore[no-untyped-def]
        if name == "layer_0":
            return 1
        return super().sample_independent(study, run, name, distribution)


def test_a_sampler_that_looks_in_the_wrong_place_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(name: str, seed: int, asked: int, in_vain: int) -> optuna.samplers.BaseSampler:
        if name == "qmc":
            return Timid(seed=seed + asked)
        return make_sampler(name, seed, asked, in_vain)

    monkeypatch.setattr("dynamoe_search.search.assignment.make_sampler", make)
    recording = recording_of(tmp_path, ("depth = 3", "depth = 4"), ("experts = 8", "experts = 12"))
    searches = [replay(recording, name, 40, n) for name in ("random", "qmc") for n in range(10)]
    comparison = compare_with_random(pd.concat(searches))
    assert comparison["verdict"].tolist() == ["worse", "worse"]


def test_processes_find_what_one_would(tmp_path: Path) -> None:
    recording = recording_of(tmp_path, noise=0.05, blocks=3)
    told: list[tuple[int, int]] = []
    table = compare_samplers(
        recording, ["tpe"], runs=15, repetitions=2, on_progress=lambda *now: told.append(now)
    )
    expected = [replay(recording, name, 15, n) for n in range(2) for name in ("random", "tpe")]
    pd.testing.assert_frame_equal(table, pd.concat(expected, ignore_index=True))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"samplers": ["exhaustive"]}, "'exhaustive' cannot be compared; choose from random, tpe"),
        ({"repetitions": 1}, "takes at least 2"),
        ({"runs": 6}, "no sampler gets to choose; give at least 7"),
    ],
)
def test_impossible_comparisons_are_refused(tmp_path: Path, options, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        compare_samplers(recording_of(tmp_path), **options)


def test_a_study_is_read_for_any_family(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    keep_study(path)
    recording = load_recording(path)
    assert recording.coverage == 1
    assert len(recording.losses) == 21
    assert recording.blocks == 3
    assert recording.baselines == len({str(c) for c in recording.plan.baselines.values()})
    plan = recording.plan
    assert recording.losses["4-2-2"] == pytest.approx(
        [0.1 + 0.01 * (plan.seed(block) % 7) for block in range(3)]
    )
    assert recording.regrets["4-2-2"] == pytest.approx(0.1)
    for family in ("mixture", "spline", "free"):
        assert load_recording(path, family).plan.family.name == family


def test_only_blocks_that_all_have_are_used(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    keep_study(path, most=50, diverging="1-1-6")
    recording = load_recording(path)
    assert recording.blocks == 2
    assert recording.losses["1-1-6"] == ()
    assert {len(losses) for losses in recording.losses.values()} == {0, 2}
    assert "1-1-6" not in recording.regrets


def test_schedules_recorded_once_are_taken_as_they_are(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    keep_study(path, most=21)
    recording = load_recording(path)
    assert recording.blocks == 1
    assert recording.regrets["4-2-2"] == pytest.approx(0.1)


def test_too_few_schedules_are_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    keep_study(path, most=12)
    with pytest.raises(
        InvalidInput, match=r"recorded 12 of the budget's 21 schedules, and \d"
    ) as e:
        load_recording(path, "free")
    assert 'sampler "exhaustive" and runs = 21' in str(e.value)


def test_a_missing_named_schedule_is_refused_whatever_the_coverage(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    keep_study(path, most=0)
    with pytest.raises(InvalidInput, match=r"recorded 0 of the budget's 21 schedules, and 0\.0%"):
        load_recording(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ('constraints = ["active_experts <= 2"]', "by the loss alone"),
        ('objectives = ["loss", "active_flops"]', "by the loss alone"),
        ("also = { k = [1, 2] }", "not all that can be asked for can be recorded"),
    ],
)
def test_other_studies_are_refused(tmp_path: Path, change: str, complaint: str) -> None:
    path = write_study(
        tmp_path, ('"exhaustive"', '"random"'), ("blocks = 3", f"blocks = 3\n{change}")
    )
    place = place_of(path.parent)
    record_study_file(begin_study(place, ["minimize"]), read_study_file(path), place)
    with pytest.raises(InvalidInput, match=complaint):
        load_recording(path)


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    keep_study(path, most=1)
    with pytest.raises(InvalidInput, match="unknown family 'blond'; choose from blend, "):
        load_recording(path, "blond")


def test_nothing_but_noise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(5)
    monkeypatch.setattr(f"{__name__}.distance", lambda schedule: float(noise.normal()))
    path = write_study(tmp_path)
    keep_study(path)
    with pytest.raises(
        InvalidInput, match=r"nothing shows that the schedules in .* differ \(p = 0"
    ):
        load_recording(path)
