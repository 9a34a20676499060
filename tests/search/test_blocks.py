"""What a sampler, a pruner and Optuna's own tools are told of a block of several seeds."""

from pathlib import Path
from statistics import fmean

import pytest
from optuna.trial import TrialState

from dynamoe_search.log.runs import RunResult, Start, are_feasible, finished
from dynamoe_search.search.optuna_study import optuna_study
from dynamoe_search.search.policy import leaders
from tests.search.driver import MemoryLog, Process, made_up, plan_of, run_alone

SEEDS = ("seeds = 1", "seeds = 3")


def begin(path: Path, *changes: tuple[str, str]) -> Process:
    return Process(MemoryLog(), plan_of(path, SEEDS, *changes))


def mean_loss(start: Start, process: Process) -> float:
    return fmean(result.validation_loss for result in made_up(start, process.plan))


@pytest.mark.parametrize("sampler", ["random", "cmaes"])
def test_a_sampler_is_told_the_mean_over_the_seeds(small_study: Path, sampler: str) -> None:
    process = begin(small_study, ('"random"', f'"{sampler}"'), ("runs = 14", "runs = 24"))
    done = run_alone(process)
    assert all(len(start.seeds) == 3 for start in done)
    told = process.policy.proposer.study.get_trials(states=(TrialState.COMPLETE,))
    of_sampler = [start for start in done if start.seen is not None]
    known = [(trial.params, trial.value) for trial in told]
    in_time = [start for start in of_sampler if start.number < 0.7 * len(done)]
    assert len(in_time) > 5
    for start in in_time:
        assert (start.parameters, pytest.approx(mean_loss(start, process))) in known


def test_a_constraint_is_met_where_most_seeds_meet_it(small_study: Path) -> None:
    process = begin(small_study, ('"blend"', '"blend"\nconstraints = ["active_experts <= 2"]'))
    measured = [1.0, 2.0, 7.0], [2.5, 2.25, 0.4]
    starts = [process.start() for _ in measured]
    for start, active in zip(starts, measured, strict=True):
        assert start is not None
        results = [RunResult(validation_loss=0.5, active_experts=k) for k in active]
        process.log.append(finished(start, "complete", results))
    process.catch_up()
    constraints = process.plan.study.search.constraint_list
    of_candidate = [process.progress.results_of(start.candidate) for start in starts if start]
    assert [are_feasible(own, constraints) for own in of_candidate] == [True, False]
    first, _ = leaders(process.progress, process.plan.study.search)
    assert starts[0] is not None
    assert first == starts[0].candidate
    proposer = process.policy.proposer
    proposer.propose(process.progress, process.state.position)
    exported = optuna_study(process.progress, process.plan.study, "digits")
    for trials in (proposer.study.trials, exported.trials):
        told = [trial.constraints["active_experts <= 2"] for trial in trials if trial.constraints]
        assert told == [0.0, 0.25]


def test_a_pruned_block_shows_the_mean_of_its_curves(small_study: Path) -> None:
    process = begin(
        small_study, ('"random"', '"random"\npruner = "median"'), ("runs = 14", "runs = 30")
    )
    run_alone(process)
    pruned = {run.start.candidate: run for run in process.progress.runs if run.state == "pruned"}
    assert pruned
    assert all(len(run.results) == 3 for run in pruned.values())
    own = process.policy.proposer.study.get_trials(states=(TrialState.PRUNED,))
    study = optuna_study(process.progress, process.plan.study, "digits")
    exported = study.get_trials(states=(TrialState.PRUNED,))
    expected = sorted(
        [fmean(points) for points in zip(*losses, strict=True)]
        for run in pruned.values()
        for losses in [[[point.loss for point in one.curve] for one in run.results]]
    )
    for trials in (own, exported):
        found = sorted(list(trial.intermediate_values.values()) for trial in trials)
        assert found == [pytest.approx(curve) for curve in expected]
    # A block's FLOPs are those of all its seeds.
    assert process.progress.flops == sum(
        result.training_flops for run in process.progress.runs for result in run.results
    )
