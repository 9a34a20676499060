"""A study as Optuna has it, against the table of its training runs."""

import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from dynamoe_search.log.table import runs_table
from dynamoe_search.search.optuna_study import optuna_study
from tests.search.driver import MemoryLog, Process, plan_of, run_alone

ALSO = (
    ("hidden = 8", "hidden = 52"),
    ('"blend"', '"blend"\nalso = { hidden = [52, 17, 31], k = [1, 3] }'),
)


def begin(path: Path, *changes: tuple[str, str]) -> Process:
    return Process(MemoryLog(), plan_of(path, *changes))


def study_of(process: Process) -> optuna.Study:
    return optuna_study(process.progress, process.plan.study, "digits")


def table_of(process: Process) -> pd.DataFrame:
    return runs_table(process.progress.runs, process.plan.study)


def test_a_trial_per_candidate_whose_value_is_its_mean(small_study: Path) -> None:
    process = begin(small_study, ("runs = 14", "runs = 40"))
    run_alone(process)
    study, runs = study_of(process), table_of(process)
    assert study.study_name == "digits"
    assert study.metric_names == ["loss"]
    means = runs.groupby("candidate")["validation_loss"].mean()
    assert runs.groupby("candidate").size().max() == 2
    found = {t.user_attrs["candidate"]: t.value for t in study.trials}
    assert found == pytest.approx(means.to_dict())
    assert list(found) == list(dict.fromkeys(runs["candidate"]))
    assert [trial.number for trial in study.trials] == list(range(len(means)))
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert study.best_trial.user_attrs["candidate"] == means.idxmin()
    for trial in study.trials:
        of_candidate = runs[runs["candidate"] == trial.user_attrs["candidate"]]
        assert trial.user_attrs["seeds"] == len(of_candidate)
        assert (
            "-".join(str(trial.params[f"experts_{i}"]) for i in range(1, 5))
            == (trial.user_attrs["candidate"])
        )
        assert trial.datetime_start == of_candidate["started"].min()
        # Other blocks follow late in the search.
        assert trial.datetime_complete == of_candidate["finished"].min()
        assert trial.user_attrs["schedule"] == trial.user_attrs["candidate"]
        assert trial.user_attrs["feasible"]
        for column in ("pattern", "group"):
            assert {trial.user_attrs[column]} == set(of_candidate[column])
        parameters = of_candidate.filter(like="parameter_").iloc[0]
        proposed = {k: v for k, v in trial.user_attrs.items() if k.startswith("parameter_")}
        assert proposed == dict(parameters)


def test_several_objectives_and_constraints(small_study: Path) -> None:
    process = begin(
        small_study,
        (
            '"blend"',
            '"blend"\nobjectives = ["utilization_entropy", "loss"]\n'
            'constraints = ["utilization_entropy >= 0.5", "active_experts <= 1"]',
        ),
        ("runs = 14", "runs = 40"),
    )
    run_alone(process)
    study, runs = study_of(process), table_of(process)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["utilization_entropy", "loss"]
    means = runs.groupby("candidate")[["utilization_entropy", "validation_loss"]].mean()
    for trial in study.trials:
        entropy, loss = means.loc[trial.user_attrs["candidate"]]
        assert trial.values == pytest.approx([entropy, loss])
        assert trial.constraints == pytest.approx(
            {"utilization_entropy >= 0.5": 0.5 - entropy, "active_experts <= 1": 0.0}
        )
        assert trial.user_attrs["feasible"] == (entropy >= 0.5)
    assert study.best_trials
    assert all(trial.values[0] >= 0.5 for trial in study.best_trials)


def test_a_constraint_is_met_where_most_seeds_meet_it(small_study: Path) -> None:
    process = begin(
        small_study,
        ('"blend"', '"blend"\nconstraints = ["gradient_noise <= 6"]'),
        ("blocks = 2", "blocks = 4"),
    )
    chance = np.random.default_rng(0)
    while (start := process.start()) is not None:
        process.finish(start, measured={"gradient_noise": float(chance.normal(6.0, 1.0))})
    feasible = table_of(process).groupby("candidate")["feasible"].mean() > 0.5
    assert set(feasible) == {True, False}
    for trial in study_of(process).trials:
        (violation,) = trial.constraints.values()
        assert (violation <= 0) == feasible[trial.user_attrs["candidate"]]
        assert trial.user_attrs["feasible"] == (violation <= 0)


def test_what_is_searched_next_to_the_schedule_is_a_parameter(small_study: Path) -> None:
    process = begin(small_study, *ALSO, ("runs = 14", "runs = 40"))
    run_alone(process)
    study, runs = study_of(process), table_of(process)
    for trial in study.trials:
        schedule = "-".join(str(trial.params[f"experts_{i}"]) for i in range(1, 5))
        settings = f"hidden={trial.params['hidden']} k={trial.params['k']}"
        assert f"{schedule} {settings}" == trial.user_attrs["candidate"]
        assert all(isinstance(value, int) for value in trial.params.values())
    assert {trial.params["hidden"] for trial in study.trials} == {17, 31, 52}
    assert len(study.trials) == runs["candidate"].nunique()


def test_a_threshold_is_a_number_in_its_interval(small_study: Path) -> None:
    process = begin(
        small_study,
        ('"top_k"\nk = 1', '"top_p"'),
        ('"blend"', '"blend"\nalso.p = [0.2, 0.9]'),
    )
    run_alone(process, most=1)
    (trial,) = study_of(process).trials
    assert trial.params["p"] == 0.7
    distribution = trial.distributions["p"]
    assert isinstance(distribution, optuna.distributions.FloatDistribution)
    assert (distribution.low, distribution.high) == (0.2, 0.9)


def test_presets_outside_the_family_are_trials_like_others(small_study: Path) -> None:
    process = begin(small_study, ("blocks = 2", 'blocks = 2\npresets = ["variable_width"]'))
    run_alone(process, most=8)
    trials = {trial.user_attrs["candidate"]: trial for trial in study_of(process).trials}
    preset = trials[str(process.plan.baselines["variable_width"])]
    assert not [key for key in preset.user_attrs if key.startswith("parameter_")]
    assert preset.user_attrs["group"] == "preset"
    assert preset.state == TrialState.COMPLETE
    assert len(preset.params) == 4


def states_of(process: Process) -> dict[str, TrialState]:
    return {t.user_attrs["candidate"]: t.state for t in study_of(process).trials}


def test_states(small_study: Path) -> None:
    process = begin(small_study, ('"random"', '"random"\npruner = "median"'))
    starts = [process.start() for _ in range(9)]
    first, second, third, fourth, fifth, *rest = [one for one in starts if one is not None]
    process.finish(first)
    process.finish(second, "diverged")
    process.lose(third)
    process.finish(fifth, "error")
    pruned = rest[-1]
    for step in (1, 2, 3):
        process.report(pruned, step)
    process.prune(pruned, 3)
    states = states_of(process)
    assert len(states) == 9
    assert states[first.candidate] == TrialState.COMPLETE
    assert states[second.candidate] == states[fifth.candidate] == TrialState.FAIL
    assert states[third.candidate] == TrialState.FAIL  # until it is tried again
    assert states[fourth.candidate] == TrialState.RUNNING
    assert states[pruned.candidate] == TrialState.PRUNED
    again = process.start()
    assert again is not None
    assert states_of(process)[third.candidate] == TrialState.RUNNING
    process.finish(third)
    assert states_of(process)[third.candidate] == TrialState.COMPLETE
    for trial in study_of(process).trials:
        assert (trial.datetime_complete is None) == (trial.state == TrialState.RUNNING)
        assert (trial.value is not None) == (trial.state == TrialState.COMPLETE)


def test_a_late_verdict_is_one(small_study: Path) -> None:
    process = begin(small_study, ('"random"', '"random"\npruner = "median"'))
    while (start := process.start()) is not None and not start.prunable:
        process.finish(start)
    assert start is not None
    process.lose(start)
    process.start()
    process.prune(start, 3)
    assert states_of(process)[start.candidate] == TrialState.PRUNED


def test_a_candidate_with_a_result_stays_complete_while_it_is_trained_again(
    small_study: Path,
) -> None:
    process = begin(small_study)
    while (start := process.start()) is not None and start.block == 0:
        process.finish(start)
    assert start is not None
    trials = {t.user_attrs["candidate"]: t for t in study_of(process).trials}
    assert trials[start.candidate].state == TrialState.COMPLETE
    assert trials[start.candidate].user_attrs["seeds"] == 1


def test_a_pruned_trial_shows_its_curve(small_study: Path) -> None:
    process = begin(small_study, ('"random"', '"random"\npruner = "asha"'), ("= 14", "= 30"))
    run_alone(process)
    pruned = study_of(process).get_trials(states=(TrialState.PRUNED,))
    assert pruned
    curves = {run.start.candidate: run.results[0].curve for run in process.progress.runs}
    for trial in pruned:
        curve = curves[trial.user_attrs["candidate"]]
        assert list(trial.intermediate_values.values()) == [point.loss for point in curve]
        assert list(trial.intermediate_values) == list(range(1, len(curve) + 1))
        assert 0 < len(curve) < 10


def test_a_study_without_runs_has_no_trials(small_study: Path) -> None:
    assert study_of(begin(small_study)).trials == []


def test_a_result_that_is_not_a_number_is_no_value(small_study: Path) -> None:
    process = begin(small_study)
    for loss in (0.5, float("nan")):
        start = process.start()
        assert start is not None
        process.finish(start, validation_loss=loss)
    assert [trial.state.name for trial in study_of(process).trials] == ["COMPLETE", "FAIL"]


def test_it_can_be_made_in_a_storage_of_optunas(small_study: Path) -> None:
    process, storage = begin(small_study), InMemoryStorage()
    run_alone(process)
    made = optuna_study(process.progress, process.plan.study, "digits", storage)
    loaded = optuna.load_study(study_name="digits", storage=storage)
    assert loaded.trials == made.trials
    assert len(loaded.trials) > 7


def test_nobody_is_warned(small_study: Path) -> None:
    process = begin(small_study, *ALSO)
    run_alone(process)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study_of(process)


@pytest.mark.parametrize("evaluator", ["fanova", "ped_anova", "mean_decrease"])
def test_importances(small_study: Path, evaluator: str) -> None:
    process = begin(small_study, *ALSO, ("runs = 14", "runs = 60"))
    run_alone(process)
    made = {
        "fanova": optuna.importance.FanovaImportanceEvaluator(n_trees=8, seed=0),
        "ped_anova": optuna.importance.PedAnovaImportanceEvaluator(),
        "mean_decrease": optuna.importance.MeanDecreaseImpurityImportanceEvaluator(
            n_trees=8, seed=0
        ),
    }
    found = optuna.importance.get_param_importances(study_of(process), evaluator=made[evaluator])
    assert set(found) == {*(f"experts_{i}" for i in range(1, 5)), "hidden", "k"}
    assert sum(found.values()) == pytest.approx(1.0)


PLOTS = (
    *("optimization_history", "param_importances", "slice", "parallel_coordinate", "contour"),
    *("edf", "rank", "timeline", "intermediate_values"),
)


@pytest.mark.parametrize("plot", PLOTS)
def test_plots(small_study: Path, plot: str) -> None:
    pytest.importorskip("plotly")
    process = begin(small_study, *ALSO, ('"random"', '"random"\npruner = "asha"'), ("= 14", "= 40"))
    run_alone(process)
    draw = getattr(optuna.visualization, f"plot_{plot}")
    figure = draw(study_of(process))
    assert len(figure.data) > 0


def test_the_history_shows_means(small_study: Path) -> None:
    pytest.importorskip("plotly")
    process = begin(small_study, ("runs = 14", "runs = 40"))
    run_alone(process)
    runs = table_of(process)
    means = runs.groupby("candidate", sort=False)["validation_loss"].mean()
    figure = optuna.visualization.plot_optimization_history(study_of(process))
    assert figure.data[0].y == pytest.approx(means.tolist())
    assert figure.data[1].y == pytest.approx(np.minimum.accumulate(means).tolist())


def test_a_front_is_drawn(small_study: Path) -> None:
    pytest.importorskip("plotly")
    process = begin(
        small_study,
        ('"blend"', '"blend"\nobjectives = ["loss", "active_flops"]\nalso.k = [1, 3]'),
        ("runs = 14", "runs = 30"),
    )
    run_alone(process)
    figure = optuna.visualization.plot_pareto_front(study_of(process))
    assert figure.layout.xaxis.title.text == "loss"


def test_times_are_local(small_study: Path) -> None:
    process = begin(small_study)
    run_alone(process, most=1)
    (trial,) = study_of(process).trials
    assert trial.datetime_start == datetime.fromtimestamp(process.log.events[0].at)
