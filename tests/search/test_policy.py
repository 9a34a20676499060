"""What is trained next, with made-up results in place of training."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.runs import Start
from dynamoe_search.log.state import Progress
from dynamoe_search.plan.confirmation import Confirmation, Contender
from dynamoe_search.plan.plan import Plan
from dynamoe_search.search.policy import ConfirmationPolicy, fraction_done
from tests.search.driver import FLOPS, MemoryLog, Process, names, plan_of, run_alone

FEW_SCHEDULES = (
    ("depth = 4", "depth = 2"),
    ("experts = 12", "experts = 7"),
    ("runs = 14", "runs = 100"),
)


def begin(path: Path, *changes: tuple[str, str]) -> Process:
    return Process(MemoryLog(), plan_of(path, *changes))


def after(process: Process, **of: str) -> Process:
    """Another process on the same log."""
    return Process(process.log, process.plan, **of)


def mean_losses(progress: Progress) -> dict[str, float]:
    means = progress.means(["validation_loss"])
    return {candidate: mean["validation_loss"] for candidate, mean in means.items()}


def test_patterns_and_uniform_come_first_once_each(small_study: Path) -> None:
    process = begin(small_study)
    done = run_alone(process)
    distinct = list(dict.fromkeys(str(s) for s in process.plan.baselines.values()))
    assert [start.candidate for start in done[: len(distinct)]] == distinct
    assert all(start.block == 0 for start in done[: len(distinct)])
    assert len(done) == 14


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "gp", "nsga2", "nsga3"])
@pytest.mark.parametrize("family", ["blend", "mixture", "spline", "free"])
def test_every_sampler_and_family(small_study: Path, sampler: str, family: str) -> None:
    process = begin(small_study, ('"random"', f'"{sampler}"'), ('"blend"', f'"{family}"'))
    done = run_alone(process)
    assert len(done) == 14
    # The patterns come first even where the family does not reach them.
    candidates = {start.candidate for start in done}
    assert candidates >= {str(candidate) for candidate in process.plan.baselines.values()}
    assert {sum(map(int, candidate.split("-"))) for candidate in candidates} == {12}
    assert max(Counter(names(done)).values()) == 1
    assert max(start.block for start in done) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "gp", "nsga2", "nsga3"])
def test_a_search_ends_where_nothing_is_left(small_study: Path, sampler: str) -> None:
    # Six schedules exist; two blocks of each are all there is to train.
    process = begin(small_study, *FEW_SCHEDULES, ('"random"', f'"{sampler}"'))
    done = run_alone(process)
    assert sorted(names(done)) == sorted(
        (f"{first}-{7 - first}", block) for first in range(1, 7) for block in (0, 1)
    )
    seeds = {block: {s.seeds for s in done if s.block == block} for block in (0, 1)}
    assert all(len(of_block) == 1 for of_block in seeds.values())
    assert seeds[0] != seeds[1]
    assert after(process).ask() is None


def test_the_last_quarter_trains_the_leaders_again(small_study: Path) -> None:
    process = begin(small_study, ("runs = 14", "runs = 40"))
    done = run_alone(process)
    assert len(done) == 40
    progress = process.progress
    means = mean_losses(progress)
    for schedule in sorted(means, key=means.__getitem__)[:3]:
        assert len(progress.results[schedule]) == 2
    patterns = [str(candidate) for candidate in process.plan.baselines.values()]
    assert len(progress.results[min(patterns, key=means.__getitem__)]) == 2
    assert all(start.seen is None for start in done if start.block == 1 and start.number >= 30)


def test_several_workers_never_share_a_block(small_study: Path) -> None:
    first = begin(small_study, ("runs = 14", "runs = 30"))
    workers = [first, *(after(first, worker=str(i)) for i in range(2, 5))]
    under_way: dict[str, Start] = {}
    started: list[Start] = []
    while True:
        for process in workers:
            if process.worker not in under_way and (start := process.start()) is not None:
                under_way[process.worker] = start
                started.append(start)
        if not under_way:
            break
        worker, start = next(iter(under_way.items()))
        workers[int(worker) - 1].finish(under_way.pop(worker))
    assert len(started) == 30
    assert max(Counter(names(started)).values()) == 1
    assert [start.number for start in started] == list(range(30))


def test_a_dead_workers_run_is_tried_once_more_with_the_same_seed(small_study: Path) -> None:
    process = begin(small_study)
    first = process.start()
    assert first is not None
    process.lose(first)
    second = process.start()
    assert second is not None
    assert (second.candidate, second.seeds, second.attempt) == (first.candidate, first.seeds, 1)
    process.lose(second)
    # It killed two workers: it is not tried again, and counts as done.
    third = process.start()
    assert third is not None
    assert third.candidate != first.candidate
    assert process.progress.finished == 1
    assert process.progress.given_up == {first.key}


def test_a_run_is_not_blamed_for_the_death_of_its_session(small_study: Path) -> None:
    process = begin(small_study)
    for session in ("a", "b", "c"):
        process.session = session
        start = process.start()
        assert start is not None
        assert start.candidate == str(process.plan.baselines["descending"])
        process.lose(start)
    assert len(run_alone(process)) == 14


def test_interrupted_runs_are_tried_until_they_are_done(small_study: Path) -> None:
    process = begin(small_study)
    for attempt in range(4):
        start = process.start()
        assert start is not None
        assert (start.candidate, start.attempt) == (
            str(process.plan.baselines["descending"]),
            attempt,
        )
        process.lose(start, "interrupted")
    done = run_alone(process)
    assert len(done) == 14
    assert done[0].candidate == str(process.plan.baselines["descending"])


def test_diverged_runs_count_and_are_not_repeated(small_study: Path) -> None:
    process = begin(small_study)
    start = process.start()
    assert start is not None
    process.finish(start, "diverged")
    done = run_alone(process)
    assert len(done) == 13
    assert start.key not in names(done)


def test_errors_one_after_another_end_the_search(small_study: Path) -> None:
    process = begin(small_study)
    for _ in range(5):
        start = process.start()
        assert start is not None
        process.finish(start, "error")
    with pytest.raises(RunFailed, match=r"all ended in an error.*error, made up"):
        process.ask()
    # Another session tries again.
    assert after(process, session="b").ask() is not None


def test_errors_are_one_after_another_in_the_order_in_which_runs_end(small_study: Path) -> None:
    process = begin(small_study)
    for _ in range(4):
        start = process.start()
        assert start is not None
        process.finish(start, "error")
    good, bad = process.start(), process.start()
    assert good is not None
    assert bad is not None
    process.finish(good)
    process.finish(bad, "error")
    assert process.ask() is not None


def test_a_late_error_of_a_dead_worker_counts_once(small_study: Path) -> None:
    process = begin(small_study)
    for session in ("b", "a", "a", "a"):
        process.session = session
        start = process.start()
        assert start is not None
        process.lose(start)
        process.finish(start, "error")
    assert process.ask() is not None


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("training_flops = 1e7", 10), ("training_flops = 1e9\nruns = 9", 9)],
)
def test_stops_at_the_first_limit(small_study: Path, limit: str, expected: int) -> None:
    assert len(run_alone(begin(small_study, ("runs = 14", limit)))) == expected


def test_diverged_runs_count_towards_a_limit_of_flops(small_study: Path) -> None:
    process = begin(small_study, ("runs = 14", f"training_flops = {10 * FLOPS}"))
    for _ in range(4):
        start = process.start()
        assert start is not None
        process.finish(start, "diverged", training_flops=3 * FLOPS)
    assert process.progress.flops == 12 * FLOPS
    assert process.ask() is None


def test_runs_under_way_count_towards_a_limit_of_runs(small_study: Path) -> None:
    process = begin(small_study, ("runs = 14", "runs = 2"))
    first, second = process.start(), process.start()
    assert first is not None
    assert second is not None
    assert process.start() is None
    # What is lost is tried again, though the limit is reached.
    process.finish(first)
    process.lose(second)
    again = process.start()
    assert again is not None
    assert (again.key, again.attempt) == (second.key, 1)


def test_a_limit_of_time_is_of_the_time_in_which_runs_are_under_way(small_study: Path) -> None:
    process = begin(small_study, ("runs = 14", "minutes = 0.1"))
    # By the clock of this log, a run alone takes a second.
    assert len(run_alone(process)) == 6
    assert process.progress.seconds == 6
    assert fraction_done(process.progress, process.plan.study.search) == 1


PRESETS = ("blocks = 2", 'blocks = 2\npresets = ["mola", "variable_width"]')


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "gp", "nsga2"])
def test_presets_are_trained_and_do_not_disturb_the_sampler(
    small_study: Path, sampler: str
) -> None:
    process = begin(small_study, PRESETS, ('"random"', f'"{sampler}"'), ("= 14", "= 24"))
    done = run_alone(process)
    assert len(done) == 24
    baselines = {str(candidate) for candidate in process.plan.baselines.values()}
    assert {start.candidate for start in done} >= baselines
    outside = [start for start in done if start.parameters is None]
    assert {start.candidate for start in outside} <= baselines
    assert outside
    # Optuna never hears of them, and their results count all the same.
    trials = process.policy.proposer.study.get_trials()
    known = [trial for trial in trials if trial.state.name in ("COMPLETE", "RUNNING")]
    assert len(known) >= len(done) - len(outside)
    assert all(len(trial.params) == 6 for trial in known)
    assert process.progress.finished == 24
    assert set(process.progress.results) == {start.candidate for start in done}


def test_a_preset_whose_worker_died_is_tried_again(small_study: Path) -> None:
    process = begin(small_study, PRESETS)
    run_alone(process, most=6)
    preset = process.start()
    while preset is not None and preset.parameters is not None:
        process.finish(preset)
        preset = process.start()
    assert preset is not None
    process.lose(preset)
    again = process.start()
    assert again is not None
    assert again.parameters is None
    assert (again.key, again.seeds) == (preset.key, preset.seeds)
    process.finish(again, validation_loss=0.1)
    # Its loss leads, so it is trained on another block too, without parameters.
    rest = run_alone(process)
    assert [
        (start.block, start.parameters) for start in rest if start.candidate == preset.candidate
    ] == [(1, None)]
    assert process.progress.finished == 14


def test_what_was_begun_is_finished_though_fewer_blocks_are_wanted(small_study: Path) -> None:
    process = begin(small_study, ("runs = 14", "runs = 40"))
    run_alone(process, most=9)
    while True:
        start = process.start()
        assert start is not None
        if start.block == 1:
            break
        process.finish(start)
    process.lose(start, "interrupted")
    fewer = Process(process.log, plan_of(small_study, ("blocks = 2", "blocks = 1")))
    again = fewer.start()
    assert again is not None
    assert again.key == start.key


# Confirmations.


def confirmation_of(*candidates: str, seeds: int) -> Confirmation:
    contenders = tuple(Contender(candidate) for candidate in candidates)
    return Confirmation(candidates[0], contenders, 0.01, (2, seeds), {})


@pytest.fixture
def plan(small_study: Path) -> Plan:
    return plan_of(small_study, ("depth = 4", "depth = 2"), ("experts = 12", "experts = 6"))


CANDIDATES = ("2-4", "3-3", "dense 9x2")


@pytest.fixture
def confirming(plan: Plan) -> Process:
    confirmation = confirmation_of(*CANDIDATES, seeds=3)
    policy = ConfirmationPolicy(plan, confirmation)
    return Process(MemoryLog(), plan, make_policy=lambda plan: policy)


def test_whole_blocks_come_first(confirming: Process) -> None:
    done = run_alone(confirming)
    assert names(done) == [(name, block) for block in range(3) for name in CANDIDATES]
    assert {start.stage for start in done} == {"confirmation"}
    assert confirming.policy.fraction(confirming.progress) == 1
    assert confirming.state.search.runs == []


def test_seeds_that_fill_no_block_take_one_more(small_study: Path) -> None:
    small = (("depth = 4", "depth = 2"), ("experts = 12", "experts = 6"))
    plan = plan_of(small_study, *small, ("seeds = 1", "seeds = 2"))
    confirmation = replace(confirmation_of(*CANDIDATES, seeds=3), seeds_per_block=2)
    policy = ConfirmationPolicy(plan, confirmation)
    process = Process(MemoryLog(), plan, make_policy=lambda plan: policy)
    done = run_alone(process)
    assert names(done) == [(name, block) for block in range(2) for name in CANDIDATES]
    assert {len(start.seeds) for start in done} == {2}
    assert policy.fraction(process.progress) == 1


def test_seeds_are_those_of_blocks_and_none_of_the_searchs(confirming: Process, plan: Plan) -> None:
    done = run_alone(confirming)
    assert all(start.seeds == plan.confirmation_seeds(start.block) for start in done)
    of_search = {seed for block in range(1000) for seed in plan.seeds(block)}
    assert not {seed for start in done for seed in start.seeds} & of_search


def test_what_died_is_tried_again_and_what_diverged_is_not(confirming: Process) -> None:
    first, second = confirming.start(), confirming.start()
    assert first is not None
    assert second is not None
    confirming.lose(first)
    confirming.finish(second, "diverged")
    again = confirming.start()
    assert again is not None
    assert (again.key, again.seeds) == (first.key, first.seeds)
    third = confirming.start()
    assert third is not None
    assert third.candidate == "dense 9x2"


def test_a_confirmation_ends_for_any_number_of_runs(plan: Plan) -> None:
    for candidates in range(1, 15):
        for seeds in range(2, 15):
            confirmation = confirmation_of(*map(str, range(candidates)), seeds=seeds)
            policy = ConfirmationPolicy(plan, confirmation)
            keys = {(str(name), block) for name in range(candidates) for block in range(seeds)}
            progress = Progress(done=keys)
            assert policy.fraction(progress) == 1
            keys.pop()
            assert policy.fraction(progress) < 1
