"""A study as Optuna has it: one trial per candidate, of all that the study knows."""

from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from dynamoe_search.log.table import runs_table
from dynamoe_search.schedules import Schedule
from dynamoe_search.search.optuna_study import optuna_study
from tests.search.driver import MemoryLog, Process, plan_of, run_alone

TWO = ('"blend"', '"blend"\nobjectives = ["loss", "utilization_entropy"]')
BOUND = ('"blend"', '"blend"\nconstraints = ["gradient_noise <= 6"]')


def searched(path: Path, *changes: tuple[str, str]) -> Process:
    process = Process(MemoryLog(), plan_of(path, ("runs = 14", "runs = 24"), *changes))
    run_alone(process)
    return process


def as_optuna(process: Process) -> optuna.Study:
    return optuna_study(process.progress, process.plan.study, "a study")


def table_of(process: Process) -> pd.DataFrame:
    return runs_table(process.progress.runs, process.plan.study)


@pytest.mark.parametrize(
    ("changes", "columns"),
    [((), ["validation_loss"]), ((TWO,), ["validation_loss", "utilization_entropy"])],
)
def test_a_trial_per_candidate_with_the_means_of_all_blocks(
    small_study: Path, changes: tuple[tuple[str, str], ...], columns: list[str]
) -> None:
    process = searched(small_study, *changes)
    runs = table_of(process)
    means = runs.groupby("candidate", sort=False)[columns].mean()
    blocks = runs.groupby("candidate", sort=False).size()
    trials = as_optuna(process).trials
    assert [trial.user_attrs["candidate"] for trial in trials] == list(means.index)
    for trial, (candidate, row) in zip(trials, means.iterrows(), strict=True):
        assert trial.state == TrialState.COMPLETE
        assert trial.values == pytest.approx(row.tolist())
        counts = Schedule.parse(str(candidate)).counts
        assert trial.params == {f"experts_{i}": n for i, n in enumerate(counts, start=1)}
        assert trial.user_attrs["blocks"] == blocks[candidate]
    assert blocks.max() == 2


def test_the_best_trial_is_no_lucky_block(small_study: Path) -> None:
    process = searched(small_study)
    means = table_of(process).groupby("candidate")["validation_loss"].mean()
    best = as_optuna(process).best_trial
    assert best.user_attrs["candidate"] == means.idxmin()
    assert best.value == pytest.approx(means.min())


def test_constraints_are_those_of_optuna(small_study: Path) -> None:
    process = searched(small_study, BOUND)
    feasible = table_of(process).groupby("candidate")["feasible"].mean() > 0.5
    assert set(feasible) == {True, False}
    for trial in as_optuna(process).trials:
        (violation,) = trial.constraints.values()
        assert (violation <= 0) == feasible[trial.user_attrs["candidate"]]
        assert trial.user_attrs["feasible"] == (violation <= 0)


def test_states(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study))
    ends = {}
    for state in ("complete", "diverged", "running", "interrupted"):
        start = process.start()
        assert start is not None
        ends[start.candidate] = state
        if state == "interrupted":
            process.lose(start, "interrupted")
        elif state != "running":
            process.finish(start, state)
    found = {t.user_attrs["candidate"]: t.state.name for t in as_optuna(process).trials}
    expected = {"complete": "COMPLETE", "diverged": "FAIL", "running": "RUNNING"}
    expected["interrupted"] = "FAIL"
    assert found == {candidate: expected[state] for candidate, state in ends.items()}


def test_what_is_searched_next_to_the_schedule(small_study: Path) -> None:
    process = searched(small_study, ('"blend"', '"blend"\nalso = { k = [1, 2] }'))
    trials = as_optuna(process).trials
    assert {trial.params["k"] for trial in trials} == {1, 2}
    assert all(isinstance(trial.params["k"], int) for trial in trials)


@pytest.mark.parametrize("changes", [(), (TWO,)])
def test_optuna_draws_and_ranks_it(small_study: Path, changes: tuple[tuple[str, str], ...]) -> None:
    pytest.importorskip("plotly")
    study = as_optuna(searched(small_study, *changes))
    target = {} if not changes else {"target": lambda trial: trial.values[0], "target_name": "loss"}
    for name in ("optimization_history", "slice", "parallel_coordinate", "contour"):
        figure = getattr(optuna.visualization, f"plot_{name}")(study, **target)
        assert figure.data
    importances = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        target=target.get("target"),
    )
    assert set(importances) == {f"experts_{layer}" for layer in range(1, 5)}
    if changes:
        assert optuna.visualization.plot_pareto_front(study).data
