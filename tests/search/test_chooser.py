"""The sampler `posterior`: what it chooses, and when it stops. Results are made up."""

from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.decision.acquisition import next_run
from dynamoe_search.decision.posterior import fit_posterior
from dynamoe_search.log.runs import Start
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.pool import candidate_features
from dynamoe_search.schedules import enumerate_schedules
from dynamoe_search.search.chooser import Chooser
from tests.conftest import SMALL_STUDY
from tests.search.driver import MemoryLog, Process, made_up, names, plan_of, run_alone

BASELINES = 5  # of 6 experts in 3 layers, in which some patterns are the same
EVERY = {str(schedule) for schedule in enumerate_schedules(6, 3, 1)}


def small_plan(folder: Path, *changes: tuple[str, str]) -> Plan:
    """A study of two seeds a block, all of whose ten candidates can be trained."""
    path = folder / "study.toml"
    path.write_text(SMALL_STUDY)
    small = (
        *(("depth = 4", "depth = 3"), ("experts = 12", "experts = 6"), ('"blend"', '"free"')),
        *(('"random"', '"posterior"'), ("seeds = 1", "seeds = 2"), ("runs = 14", "runs = 40")),
    )
    return plan_of(path, *small, *changes)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(tmp_path_factory.mktemp("study"))


def chooser_of(process: Process) -> Chooser:
    chooser = process.policy.chooser  # type: ignore[union-attr]
    assert chooser is not None
    return chooser


def after_the_baselines(plan: Plan) -> Process:
    process = Process(MemoryLog(), plan)
    run_alone(process, BASELINES)
    return process


def losses_of(starts: list[Start], plan: Plan) -> pd.DataFrame:
    rows = [
        (start.candidate, seed, result.validation_loss)
        for start in starts
        for seed, result in zip(start.seeds, made_up(start, plan), strict=True)
    ]
    return pd.DataFrame(rows, columns=["candidate", "seed", "loss"])


def test_baselines_come_first_and_then_what_the_posterior_says(plan: Plan) -> None:
    process = after_the_baselines(plan)
    done = process.log.starts()
    baselines = list(dict.fromkeys(str(one) for one in plan.baselines.values()))
    assert names(done) == [(name, 0) for name in baselines]
    features = candidate_features([parse_candidate(name) for name in sorted(EVERY)])
    expected = fit_posterior(losses_of(done, plan), features)
    found = chooser_of(process).posterior(process.progress)
    assert found is not None
    assert set(found.candidates) == EVERY
    assert found.table()["loss"].to_dict() == pytest.approx(
        expected.table()["loss"].to_dict(), abs=0.05
    )
    start = process.start()
    assert start is not None
    assert start.candidate == next_run(found, seeds_per_block=2)
    assert (start.parameters, start.prunable) == (None, False)
    # The run under way is foreseen by whoever asks next.
    other = Process(process.log, plan, worker="2").ask()
    assert other is not None
    assert other.candidate == next_run(found, [start.candidate], seeds_per_block=2)
    assert other.key != start.key


@pytest.mark.slow
def test_it_ends_when_it_is_decided_and_a_later_process_chooses_the_same(plan: Plan) -> None:
    process = Process(MemoryLog(), plan)
    done = run_alone(process)
    assert BASELINES < len(done) < 40
    assert max(start.block for start in done) < plan.study.search.blocks
    assert process.policy.is_decided(process.progress)
    truth = {name: made_up(Start("search", name, 0, 0, (0,), "", "", 0), plan) for name in EVERY}
    best = min(truth, key=lambda name: truth[name][0].validation_loss)
    assert process.policy.best(process.progress) == best
    for place in range(BASELINES, len(done)):
        killed = Process(process.log.until(2 * place), plan)  # a start and an end of each run
        again = killed.ask()
        assert again is not None
        assert again.key == done[place].key
    assert Process(process.log, plan).ask() is None


@pytest.mark.slow
def test_what_failed_or_has_all_its_blocks_is_not_chosen_again(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, ("blocks = 2", "blocks = 1"))
    process = after_the_baselines(plan)
    chooser, tried = chooser_of(process), set(process.progress.taken)
    failing = process.start()
    assert failing is not None
    assert failing.candidate not in tried
    process.finish(failing, "diverged")
    for _ in EVERY - tried - {failing.candidate}:
        chosen = chooser.choose(process.progress)
        assert chosen is not None
        assert chosen not in {*tried, failing.candidate}
        tried.add(chosen)
        start = process.start()
        if start is None:  # it is decided
            break
        process.finish(start)
    posterior = chooser.posterior(process.progress)
    assert posterior is not None
    assert not posterior.table().loc[failing.candidate, "feasible"]
    assert posterior.best != failing.candidate


def test_all_baselines_are_trained_even_where_anything_would_do(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, ("runs = 40", "runs = 40\nmargin = 1e6"))
    process = Process(MemoryLog(), plan)
    run_alone(process, 3)
    assert chooser_of(process).is_decided(process.progress)
    assert not process.policy.is_decided(process.progress)
    assert len(run_alone(process)) == BASELINES - 3
    assert process.policy.is_decided(process.progress)


def test_where_all_runs_fail_each_candidate_is_tried_once(plan: Plan) -> None:
    process = Process(MemoryLog(), plan)
    while (start := process.start()) is not None:
        process.finish(start, "diverged")
    tried = names(process.log.starts())
    assert len(tried) == len(EVERY)
    assert set(tried) == {(name, 0) for name in EVERY}
    assert chooser_of(process).posterior(process.progress) is None
    assert not process.policy.is_decided(process.progress)
    assert process.policy.best(process.progress) is None


def test_what_misses_a_constraint_is_not_the_best(tmp_path: Path) -> None:
    limit = ("blocks = 2", 'blocks = 2\nconstraints = ["active_experts <= 3"]')
    process = Process(MemoryLog(), small_plan(tmp_path, limit))
    for _ in range(BASELINES):
        start = process.start()
        assert start is not None
        is_best = start.candidate == "3-2-1"
        process.finish(start, active_experts=4.0 if is_best else 1.0)
    posterior = chooser_of(process).posterior(process.progress)
    assert posterior is not None
    table = posterior.table()
    assert table.loc[table["tried"], "loss"].idxmin() == "3-2-1"
    assert table.index[~table["feasible"]].tolist() == ["3-2-1"]
    assert posterior.best != "3-2-1"


@pytest.mark.slow
def test_costs_are_those_of_a_token_over_uniforms(tmp_path: Path) -> None:
    also = ("blocks = 2", "blocks = 2\nalso.k = [1, 2]")
    plan = small_plan(tmp_path, also)
    results = losses_of(run_alone(Process(MemoryLog(), plan), BASELINES), plan)
    costs = Chooser(plan).fit(results).table()["cost"]
    assert costs[str(plan.baselines["uniform"])] == 1
    assert (costs[costs.index.str.contains("k=2")] > 1).all()
    assert costs[costs.index.str.contains("k=1")].max() == 1
