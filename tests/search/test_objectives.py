"""Several objectives, constraints, what is searched next to the schedule, and pruning.

With made-up results in place of training.
"""

from collections import Counter
from itertools import product
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from dynamoe_search.budgets import experts_of, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import RunResult, Start
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.constraints import parse_constraint
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.search.policy import leaders
from tests.conftest import edit
from tests.search.driver import FLOPS, MemoryLog, Process, names, plan_of, run_alone

TWO = ('"blend"', '"blend"\nobjectives = ["loss", "utilization_entropy"]')


def begin(path: Path, *changes: tuple[str, str]) -> Process:
    return Process(MemoryLog(), plan_of(path, *changes))


def study_of(process: Process) -> optuna.Study:
    return process.policy.proposer.study


def settings_of(starts: list[Start]) -> list[dict[str, float]]:
    return [dict(parse_candidate(start.candidate).settings) for start in starts]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "nsga2", "nsga3"])
def test_every_sampler_of_several_objectives(small_study: Path, sampler: str) -> None:
    runs = 20 if sampler == "gp" else 45  # which takes seconds
    process = begin(small_study, TWO, ('"random"', f'"{sampler}"'), ("= 14", f"= {runs}"))
    done = run_alone(process)
    assert len(done) == runs
    told = study_of(process).get_trials(states=(TrialState.COMPLETE,))
    assert len(told) >= len(done) - 15  # those of the last quarter need not be told
    results = {
        (result.validation_loss, result.utilization_entropy)
        for candidate in process.progress.results
        for result in process.progress.results_of(candidate)
    }
    assert sum(tuple(trial.values) in results for trial in told) >= len(done) - 15
    assert len(study_of(process).best_trials) >= 1


def test_the_front_leads_and_is_trained_again(small_study: Path) -> None:
    process = begin(small_study, TWO, ("runs = 14", "runs = 40"))
    done = run_alone(process)
    progress = process.progress
    means = progress.means(["validation_loss", "utilization_entropy"])
    in_order = leaders(progress, process.plan.study.search)
    assert sorted(in_order) == sorted(means)
    points = {name: (m["validation_loss"], -m["utilization_entropy"]) for name, m in means.items()}
    front = [
        name
        for name, (a, b) in points.items()
        if not any(x <= a and y <= b and (x, y) != (a, b) for x, y in points.values())
    ]
    assert set(in_order[: len(front)]) == set(front)
    assert [points[n] for n in in_order[: len(front)]] == sorted(points[n] for n in front)
    again = {start.candidate for start in done if start.block == 1}
    assert again & set(front)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsga2"])
def test_constraints_are_told_to_the_sampler_and_met_by_the_leaders(
    small_study: Path, sampler: str
) -> None:
    process = begin(
        small_study,
        (
            '"blend"',
            '"blend"\nconstraints = ["utilization_entropy >= 0.5", "active_experts <= 1"]',
        ),
        ('"random"', f'"{sampler}"'),
        ("runs = 14", "runs = 20" if sampler == "gp" else "runs = 40"),
    )
    run_alone(process)
    progress = process.progress
    in_order = leaders(progress, process.plan.study.search)
    met = [progress.results_of(name)[0].value("utilization_entropy") >= 0.5 for name in in_order]
    assert 0 < sum(met) < len(met)
    assert met == sorted(met, reverse=True)
    # Unconstrained, the best loss belongs to a schedule that misses the constraint.
    losses = progress.means(["validation_loss"])
    best = min(losses, key=lambda name: losses[name]["validation_loss"])
    assert not met[in_order.index(best)]
    told = [t.constraints for t in study_of(process).get_trials(states=(TrialState.COMPLETE,))]
    assert len(told) >= 10
    assert all(set(c) == {"utilization_entropy >= 0.5", "active_experts <= 1"} for c in told)
    assert {c["utilization_entropy >= 0.5"] <= 0 for c in told} == {True, False}


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "nsga2"])
def test_a_result_without_an_objective_does_not_stop_the_study(
    small_study: Path, sampler: str
) -> None:
    process = begin(small_study, ('"random"', f'"{sampler}"'))
    done: list[Start] = []
    while (start := process.start()) is not None:
        done.append(start)
        broken = {"validation_loss": float("nan")} if len(done) == 8 else {}
        process.finish(start, **broken)
    assert len(done) == 14


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("active_experts <= 2", 2.5, 0.5),
        ("active_experts<=2", 2.0, 0.0),
        ("active_experts >= 2.5e0", 2.0, 0.5),
        ("active_experts >= -1", 2.0, -3.0),
    ],
)
def test_constraints_as_text(text: str, value: float, violation: float) -> None:
    constraint = parse_constraint(text)
    assert constraint.violation(value) == violation
    assert RunResult(active_experts=value).value(constraint.key) == value


@pytest.mark.parametrize(
    "text", ["active_experts < 2", "k <= 2", "active_experts <= two", "active_experts <= 1.2.3", ""]
)
def test_other_text_is_no_constraint(text: str) -> None:
    with pytest.raises(ValueError, match="is not QUANTITY <= NUMBER"):
        parse_constraint(text)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "nsga2", "cmaes"])
def test_k_and_width_are_searched_at_exactly_equal_parameters(
    small_study: Path, sampler: str
) -> None:
    runs = 28 if sampler == "gp" else 50
    # 12 (2 * 52 + 1) = 36 (2 * 17 + 1) = 20 (2 * 31 + 1)
    process = begin(
        small_study,
        ("hidden = 8", "hidden = 52"),
        ('"blend"', '"blend"\nalso = { hidden = [52, 17, 31], k = [1, 3] }'),
        ('"random"', f'"{sampler}"'),
        ("runs = 14", f"runs = {runs}"),
    )
    done, plan = run_alone(process), process.plan
    assert len(done) == runs
    networks = [plan.network_with(parse_candidate(start.candidate)) for start in done]
    assert plan.solution is not None
    assert {parameter_count(network).total for network in networks} == {plan.solution.parameters}
    blocks = [experts_of(network) for network in networks]
    assert {(b.hidden, b.schedule.total) for b in blocks} == {(52, 12), (17, 36), (31, 20)}
    assert {b.router.k for b in blocks} == {1, 2, 3}
    # The named patterns at the study file's own values.
    assert {start.candidate for start in done} >= {str(c) for c in plan.baselines.values()}
    assert str(plan.baselines["uniform"]) == "3-3-3-3 hidden=52 k=1"
    assert max(Counter(names(done)).values()) == 1
    # Seeds are paired, and leaders are trained again as what they were.
    again = [start for start in done if start.block == 1]
    assert again
    assert {start.candidate for start in again} <= {s.candidate for s in done if s.block == 0}


def test_a_threshold_is_searched(small_study: Path) -> None:
    process = begin(
        small_study,
        ('"top_k"\nk = 1', '"top_p"'),
        ('"blend"', '"blend"\nalso.p = [0.2, 0.9]'),
    )
    found = [settings["p"] for settings in settings_of(run_alone(process))]
    assert all(0.2 <= p <= 0.9 for p in found)
    assert 0.7 in found
    assert len(set(found)) > 3


def test_a_constant_of_many_decimals_is_the_baselines_own(small_study: Path) -> None:
    process = begin(
        small_study,
        ('"top_k"\nk = 1', '"top_p"\np = 0.7125'),
        ('"blend"', '"blend"\nalso.p = [0.0004, 0.9]'),
    )
    done = run_alone(process)
    baselines = [str(candidate) for candidate in process.plan.baselines.values()]
    assert [start.candidate for start in done[:7]] == baselines
    assert all(0.0004 <= settings["p"] <= 0.9 for settings in settings_of(done))
    assert len(done) == process.plan.study.search.runs


def test_widths_that_do_not_cost_the_same_are_refused(small_study: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"width 20 has exactly .* nearest widths that have: .*17, 22"
    ):
        begin(
            small_study,
            ("hidden = 8", "hidden = 52"),
            ('"blend"', '"blend"\nalso.hidden = [52, 20]'),
        )


def test_exhaustive_trains_every_schedule_so_often(small_study: Path) -> None:
    process = begin(
        small_study,
        ("depth = 4", "depth = 3"),
        ("experts = 12", "experts = 7\nmaximum = 4"),
        ('"random"', '"exhaustive"'),
        ("runs = 14", "runs = 1000"),
    )
    done = run_alone(process)
    every = {
        f"{a}-{b}-{7 - a - b}" for a in range(1, 5) for b in range(1, 5) if 1 <= 7 - a - b <= 4
    }
    assert Counter(names(done)) == Counter((name, block) for name in every for block in (0, 1))


def test_exhaustive_trains_every_active_schedule_at_the_uniform_schedule(small_study: Path) -> None:
    process = begin(
        small_study,
        ("depth = 4", "depth = 3"),
        ("experts = 12", 'experts = 9\nregime = "compute"\nactive = 2'),
        ('family = "blend"', 'family = "none"\nactive_family = "blend"'),
        ('"random"', '"exhaustive"'),
        ("runs = 14", "runs = 1000"),
    )
    every = {
        f"3-3-3 active={a}-{b}-{6 - a - b}"
        for a, b in product((1, 2, 3), repeat=2)
        if 1 <= 6 - a - b <= 3
    }
    done = run_alone(process)
    assert Counter(names(done)) == Counter((name, block) for name in every for block in (0, 1))


def test_exhaustive_of_too_many_schedules_is_refused_at_once(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there are 8,361,453,672 schedules; at most 10,000"):
        begin(
            small_study,
            ("depth = 4", "depth = 9"),
            ("experts = 12", "experts = 70"),
            ('"random"', '"exhaustive"'),
        )


PRUNERS = ["asha", "hyperband", "median", "wilcoxon"]


@pytest.mark.slow
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "nsga2"])
def test_only_finds_of_the_sampler_are_pruned(small_study: Path, pruner: str, sampler: str) -> None:
    process = begin(
        small_study,
        ('"random"', f'"{sampler}"\npruner = "{pruner}"'),
        ("runs = 14", "runs = 60"),
        ("blocks = 2", "blocks = 3"),
    )
    done, progress = run_alone(process), process.progress
    assert len(done) == 60
    pruned = [run.start for run in progress.runs if run.state == "pruned"]
    assert pruned
    baselines = {str(c) for c in process.plan.baselines.values()}
    assert not baselines & {start.candidate for start in pruned}
    assert {start.block for start in pruned} == {0}
    assert progress.pruned == {start.candidate for start in pruned}
    assert progress.finished == 60
    assert progress.flops < 60 * FLOPS
    # Who was pruned is not trained again: what is left of its blocks would be the lucky ones.
    counts = Counter(start.candidate for start in done)
    assert all(counts[name] == 1 for name in progress.pruned)


def test_who_may_be_pruned_is_not_trained_beside(small_study: Path) -> None:
    process = begin(
        small_study, ('"random"', '"tpe"\npruner = "median"'), ("runs = 14", "runs = 200")
    )
    running = [process.start() for _ in range(40)]
    starts = [start for start in running if start is not None]
    assert len(starts) == 40
    candidates = [start.candidate for start in starts if start.prunable]
    assert len(candidates) > 20
    assert len(set(candidates)) == len(candidates)
    assert {start.block for start in starts if start.candidate in candidates} == {0}


def first_prunable(process: Process) -> Start:
    while (start := process.start()) is not None and not start.prunable:
        process.train(start)
    assert start is not None
    return start


PRUNING = ('"random"', '"random"\npruner = "median"')


def test_a_lost_run_may_still_be_pruned(small_study: Path) -> None:
    process = begin(small_study, PRUNING)
    start = first_prunable(process)
    process.lose(start)
    again = process.start()
    assert again is not None
    assert (again.key, again.attempt, again.prunable) == (start.key, 1, True)
    assert process.progress.pruned == {start.candidate}
    process.prune(again, 3)
    assert process.progress.pruned == {start.candidate}
    assert all(one.candidate != start.candidate for one in run_alone(process))


@pytest.mark.parametrize("retried", [False, True])
def test_a_late_verdict_of_a_dead_worker_counts(small_study: Path, retried: bool) -> None:
    process = begin(small_study, PRUNING)
    start = first_prunable(process)
    process.lose(start)
    if retried:
        process.start()
    process.prune(start, 3)
    progress = process.progress
    assert progress.pruned == {start.candidate}
    assert not progress.running
    assert not progress.retries
    assert all(one.candidate != start.candidate for one in run_alone(process))


def test_who_came_through_may_be_trained_again(small_study: Path) -> None:
    process = begin(small_study, PRUNING)
    start = first_prunable(process)
    assert process.progress.pruned == {start.candidate}
    process.finish(start, validation_loss=0.0)
    assert not process.progress.pruned
    assert (start.candidate, 1) in names(run_alone(process))


def test_a_killer_does_not_stay_among_those_that_may_be_pruned(small_study: Path) -> None:
    process = begin(small_study, PRUNING)
    start = first_prunable(process)
    process.lose(start)
    again = process.start()
    assert again is not None
    process.lose(again)
    progress = process.progress
    assert progress.given_up == {start.key}
    assert not progress.pruned
    # Its worker was not dead after all.
    process.prune(start, 3)
    assert not progress.given_up
    assert progress.pruned == {start.candidate}


def test_a_second_attempt_reports_no_point_twice(
    small_study: Path, recwarn: pytest.WarningsRecorder
) -> None:
    process = begin(small_study, PRUNING)
    start = first_prunable(process)
    for step in (1, 2, 3):
        process.report(start, step)
    process.lose(start)
    again = process.start()
    assert again is not None
    process.train(again)
    run_alone(process)
    assert not [one for one in recwarn if "reported" in str(one.message)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('objectives = ["loss", "loss"]', "objectives names one twice"),
        ('objectives = ["speed"]', "objectives"),
        ("objectives = []", "objectives"),
        ('objectives = ["loss", "active_flops"]\npruner = "asha"', "pruner asha compares losses"),
        ('constraints = ["k < 2"]', "is not QUANTITY <= NUMBER"),
        ("also.p = [0.2, 0.9]", r"search\.also\.p cannot be searched: top_k has none"),
        ("also.k = [3, 1]", "give the lower end first"),
        ("also.k = [0, 1]", r"search\.also\.k: k is 0; it must be at least 1"),
        ("also.hidden = [16]", r"must contain model\.hidden, 8"),
        ("also.hidden = [8, 8]", "names a width twice"),
        ("also.q = [0, 1]", r"search\.also\.q: unknown key .*hidden, k, p, tau, target"),
    ],
)
def test_mistakes_are_told(small_study: Path, change: str, message: str) -> None:
    edit(small_study, ('"blend"', f'"blend"\n{change}'))
    with pytest.raises(InvalidInput, match=message):
        read_study_file(small_study)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('objectives = ["loss", "active_flops"]', "active_flops is held equal"),
        ("also.k = [1, 2]", "the regime compute holds K"),
        ("also.hidden = [8, 3]", "changes what an active expert costs"),
    ],
)
def test_what_the_compute_regime_holds_is_not_searched(
    small_study: Path, change: str, message: str
) -> None:
    edit(
        small_study,
        ("experts = 12", 'regime = "compute"\nexperts = 12'),
        ('"blend"', f'"blend"\n{change}'),
    )
    with pytest.raises(InvalidInput, match=message):
        read_study_file(small_study)


def test_one_objective_samplers_say_so(small_study: Path) -> None:
    edit(small_study, TWO, ('"random"', '"cmaes"'))
    with pytest.raises(InvalidInput, match="sampler cmaes takes one objective; choose tpe"):
        read_study_file(small_study)
