"""Several objectives, constraints, what is searched next to the schedule, and pruning.

With made-up results in place of trainings.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from dynamoe_search.log.records import (
    read_ledger,
    record_failure,
    record_pruned,
    record_result,
    settle,
    state_of,
)
from dynamoe_search.run.run import directions_of
from dynamoe_search.search.assignment import Assignment, next_assignment

from dynamoe_search.budgets import experts_of, parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.constraints import parse_constraint
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.search.policy import leaders
from dynamoe_search.search.samplers import make_pruner
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)
TWO = ('"blend"', '"blend"\nobjectives = ["loss", "utilization_entropy"]')


def begin(path: Path, *changes: tuple[str, str]) -> tuple[optuna.Study, Plan]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    edit(path, *changes)
    plan = make_plan(read_study_file(path), DIGITS)
    pruner = make_pruner(plan.study.search.pruner, plan.study.training.evaluations)
    return optuna.create_study(directions=directions_of(plan.study), pruner=pruner), plan


def result_of(assignment: Assignment, plan: Plan) -> dict[str, object]:
    """Layers near the input should hold the experts; many experts a token cost and help."""
    network = plan.network_with(assignment.candidate)
    blocks = experts_of(network)
    counts = np.array(blocks.schedule.counts, dtype=float)
    center = float((np.arange(len(counts)) * counts).sum() / counts.sum())
    k = getattr(blocks.router, "k", 2)
    noise = 0.01 * (assignment.claim.seed % 7)
    loss = center + 1 / k + noise
    return {
        "validation_loss": loss,
        "flops_per_token": float(100 * k * blocks.hidden),
        "active_experts": float(k),
        "active_parameters": float(10 * k),
        "gradient_noise": 5 + counts.std(),
        "utilization_entropy": float(1 / (1 + counts.std())),
        "training_flops": 1.0,
        "curve": [{"fraction": (i + 1) / 10, "loss": loss + 1 - i / 10} for i in range(10)],
    }


def run_alone(study: optuna.Study, plan: Plan) -> list[Assignment]:
    done: list[Assignment] = []
    while (assignment := next_assignment(study, plan, "1", "a")) is not None:
        record_result(
            study,
            assignment.trial,
            assignment.claim,
            result_of(assignment, plan),
            plan.study.search,
        )
        done.append(assignment)
    return done


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "nsga2", "nsga3"])
def test_every_sampler_of_several_objectives(small_study: Path, sampler: str) -> None:
    study, plan = begin(
        small_study, TWO, ('"random"', f'"{sampler}"'), ("trials = 14", "trials = 45")
    )
    done = run_alone(study, plan)
    assert len(done) == 45
    assert len(study.best_trials) >= 1
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    assert all(len(trial.values) == 2 for trial in complete)
    repeats = [t for t in complete if state_of(t) == "repeat"]
    ledger = read_ledger(study.trials)
    means = ledger.means(["validation_loss", "utilization_entropy"])
    last = repeats[-1] if repeats else None
    if last is not None and last.number > max(a.trial.number for a in done):
        assert last.values == pytest.approx(
            list(means[last.user_attrs["repeat"]["candidate"]].values())
        )


def test_the_front_leads_and_is_replicated(small_study: Path) -> None:
    study, plan = begin(small_study, TWO, ("trials = 14", "trials = 40"))
    done = run_alone(study, plan)
    ledger = read_ledger(study.trials)
    means = ledger.means(["validation_loss", "utilization_entropy"])
    in_order = leaders(ledger, plan.study.search)
    assert sorted(in_order) == sorted(means)
    points = {name: (m["validation_loss"], -m["utilization_entropy"]) for name, m in means.items()}
    front = [
        name
        for name, (a, b) in points.items()
        if not any(x <= a and y <= b and (x, y) != (a, b) for x, y in points.values())
    ]
    assert set(in_order[: len(front)]) == set(front)
    assert [points[n] for n in in_order[: len(front)]] == sorted(points[n] for n in front)
    replicated = {str(a.candidate) for a in done if a.claim.replicate == 1}
    assert replicated & set(front)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsga2"])
def test_constraints_are_told_to_the_sampler_and_met_by_the_leaders(
    small_study: Path, sampler: str
) -> None:
    study, plan = begin(
        small_study,
        (
            '"blend"',
            '"blend"\nconstraints = ["utilization_entropy >= 0.5", "active_experts <= 1"]',
        ),
        ('"random"', f'"{sampler}"'),
        ("trials = 14", "trials = 40"),
    )
    run_alone(study, plan)
    ledger = read_ledger(study.trials)
    in_order = leaders(ledger, plan.study.search)
    met = [
        next(iter(ledger.results[name].values()))["utilization_entropy"] >= 0.5 for name in in_order
    ]
    assert 0 < sum(met) < len(met)
    assert met == sorted(met, reverse=True)
    # Unconstrained, the best loss belongs to a schedule that misses the constraint.
    losses = ledger.means(["validation_loss"])
    best = min(losses, key=lambda name: losses[name]["validation_loss"])
    assert not met[in_order.index(best)]
    told = [t.constraints for t in study.trials if state_of(t) == "complete"]
    assert all(set(c) == {"utilization_entropy >= 0.5", "active_experts <= 1"} for c in told)
    assert {c["utilization_entropy >= 0.5"] <= 0 for c in told} == {True, False}


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
    assert parse_constraint(text).violation({"active_experts": value}) == violation


@pytest.mark.parametrize(
    "text", ["active_experts < 2", "k <= 2", "active_experts <= two", "active_experts <= 1.2.3", ""]
)
def test_other_text_is_no_constraint(text: str) -> None:
    with pytest.raises(ValueError, match="is not QUANTITY <= NUMBER"):
        parse_constraint(text)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "nsga2"])
def test_k_and_width_are_searched_at_exactly_equal_parameters(
    small_study: Path, sampler: str
) -> None:
    # 12 (2 * 52 + 1) = 36 (2 * 17 + 1) = 20 (2 * 31 + 1)
    study, plan = begin(
        small_study,
        ("hidden = 8", "hidden = 52"),
        ('"blend"', '"blend"\nalso = { hidden = [52, 17, 31], k = [1, 3] }'),
        ('"random"', f'"{sampler}"'),
        ("trials = 14", "trials = 50"),
    )
    done = run_alone(study, plan)
    assert len(done) == 50
    networks = [plan.network_with(a.candidate) for a in done]
    assert {parameter_count(network).total for network in networks} == {plan.solution.parameters}
    blocks = [experts_of(network) for network in networks]
    assert {(b.hidden, b.schedule.total) for b in blocks} == {(52, 12), (17, 36), (31, 20)}
    assert {b.router.k for b in blocks} == {1, 2, 3}
    # The named patterns at the study file's own values.
    assert {str(a.candidate) for a in done} >= {str(c) for c in plan.baselines.values()}
    assert str(plan.baselines["uniform"]) == "3-3-3-3 hidden=52 k=1"
    assert max(Counter((str(a.candidate), a.claim.replicate) for a in done).values()) == 1
    # Seeds are paired, and leaders are replicated as what they were.
    again = [a for a in done if a.claim.replicate == 1]
    assert again
    assert {str(a.candidate) for a in again} <= {
        str(a.candidate) for a in done if a.claim.replicate == 0
    }


def test_a_threshold_is_searched(small_study: Path) -> None:
    study, plan = begin(
        small_study,
        ('"top_k"\nk = 1', '"top_p"'),
        ('"blend"', '"blend"\nalso.p = [0.2, 0.9]'),
    )
    done = run_alone(study, plan)
    found = [experts_of(plan.network_with(a.candidate)).router.p for a in done]
    assert all(0.2 <= p <= 0.9 for p in found)
    assert 0.7 in found
    assert len(set(found)) > 3


def test_a_constant_of_many_decimals_is_the_baselines_own(small_study: Path) -> None:
    study, plan = begin(
        small_study,
        ('"top_k"\nk = 1', '"top_p"\np = 0.7125'),
        ('"blend"', '"blend"\nalso.p = [0.0004, 0.9]'),
    )
    done = run_alone(study, plan)
    assert [str(a.candidate) for a in done[:7]] == [str(c) for c in plan.baselines.values()]
    assert all(0.0004 <= dict(a.candidate.settings)["p"] <= 0.9 for a in done)
    assert len(done) == plan.study.search.trials


def test_widths_that_do_not_cost_the_same_are_refused(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match=r"width 20 has exactly .* these widths have: .*17.*52"):
        begin(
            small_study,
            ("hidden = 8", "hidden = 52"),
            ('"blend"', '"blend"\nalso.hidden = [52, 20]'),
        )


def test_exhaustive_trains_every_schedule_so_often(small_study: Path) -> None:
    study, plan = begin(
        small_study,
        ("depth = 4", "depth = 3"),
        ("experts = 12", "experts = 7\nmaximum = 4"),
        ('"random"', '"exhaustive"'),
        ("trials = 14", "trials = 1000"),
    )
    done = run_alone(study, plan)
    every = {
        f"{a}-{b}-{7 - a - b}" for a in range(1, 5) for b in range(1, 5) if 1 <= 7 - a - b <= 4
    }
    assert Counter((str(a.candidate), a.claim.replicate) for a in done) == Counter(
        (name, replicate) for name in every for replicate in (0, 1)
    )


def test_exhaustive_of_too_many_schedules_is_refused_at_once(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has 8,361,453,672 schedules; at most 10,000"):
        begin(
            small_study,
            ("depth = 4", "depth = 9"),
            ("experts = 12", "experts = 70"),
            ('"random"', '"exhaustive"'),
        )


def test_diverged_trainings_count_towards_a_limit_of_flops(small_study: Path) -> None:
    study, plan = begin(small_study, ("trials = 14", "training_flops = 10.0"))
    for _ in range(4):
        assignment = next_assignment(study, plan, "1", "a")
        assert assignment is not None
        record_failure(study, assignment.trial, "diverged", "nan", training_flops=3.0)
    assert read_ledger(study.trials).flops == 12
    assert next_assignment(study, plan, "1", "a") is None


def train_with_pruning(study: optuna.Study, plan: Plan) -> list[Assignment]:
    """As a worker does: each point of the curve is reported."""
    done: list[Assignment] = []
    while (assignment := next_assignment(study, plan, "1", "a")) is not None:
        done.append(assignment)
        result = result_of(assignment, plan)
        for step, point in enumerate(result["curve"], start=1):
            assignment.trial.report(point["loss"], step)
            if assignment.claim.prunable and step < 10 and assignment.trial.should_prune():
                spent = {"training_flops": step / 10, "fraction": step / 10}
                record_pruned(study, assignment.trial, spent)
                break
        else:
            record_result(study, assignment.trial, assignment.claim, result, plan.study.search)
    return done


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median", "wilcoxon"])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_only_finds_of_the_sampler_are_pruned(small_study: Path, pruner: str, sampler: str) -> None:
    study, plan = begin(
        small_study,
        ('"random"', f'"{sampler}"\npruner = "{pruner}"'),
        ("trials = 14", "trials = 60"),
        ("replicates = 2", "replicates = 3"),
    )
    done = train_with_pruning(study, plan)
    assert len(done) == 60
    pruned = [a for a in done if state_of(study.trials[a.trial.number]) == "pruned"]
    assert pruned
    names = {str(c) for c in plan.baselines.values()}
    assert not names & {str(a.candidate) for a in pruned}
    assert {a.claim.replicate for a in pruned} == {0}
    ledger = read_ledger(study.trials)
    assert ledger.on_trial == {str(a.candidate) for a in pruned}
    assert ledger.trained == 60
    assert ledger.flops < 60
    # Who was pruned is not trained again: what is left of its seeds would be the lucky ones.
    counts = Counter(str(a.candidate) for a in done)
    assert all(counts[name] == 1 for name in ledger.on_trial)


def test_a_pruned_trial_that_was_not_told_is_kept(small_study: Path) -> None:
    study, plan = begin(small_study, ('"random"', '"random"\npruner = "median"'))
    assignment = next_assignment(study, plan, "1", "a")
    assert assignment is not None
    assignment.trial.report(1.0, 1)
    assignment.trial.set_user_attr("pruned", {"training_flops": 0.1, "fraction": 0.1})
    settle(study, plan.study.search, "1".__eq__)
    assert state_of(study.trials[0]) == "pruned"
    assert read_ledger(study.trials).trained == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('objectives = ["loss", "loss"]', "objectives names one twice"),
        ('objectives = ["speed"]', "objectives"),
        ("objectives = []", "objectives"),
        ('objectives = ["loss", "active_flops"]\npruner = "asha"', "pruner asha goes by the loss"),
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


def test_who_is_on_trial_is_not_trained_beside(small_study: Path) -> None:
    study, plan = begin(
        small_study, ('"random"', '"tpe"\npruner = "median"'), ("trials = 14", "trials = 200")
    )
    running: list[Assignment] = []
    for _ in range(40):
        assignment = next_assignment(study, plan, "1", "a")
        assert assignment is not None
        running.append(assignment)
    names = [str(a.candidate) for a in running if a.claim.prunable]
    assert len(names) > 20
    assert len(set(names)) == len(names)
    assert {a.claim.replicate for a in running if str(a.candidate) in names} == {0}
