"""Decisions are a function of the log and the seed, whoever takes them, and whenever."""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from dynamoe_search.log.events import Refused
from dynamoe_search.log.runs import Start, started
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.search_section import PRUNERS, SAMPLERS
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.search.proposer import Proposer
from dynamoe_search.search.samplers import make_sampler
from dynamoe_search.search.space import suggest
from tests.search.driver import (
    POINTS,
    MemoryLog,
    Process,
    described,
    made_up,
    names,
    plan_of,
    run_alone,
)

FEW_SCHEDULES = (
    ("depth = 4", "depth = 2"),
    ("experts = 12", "experts = 7"),
    ("runs = 14", "runs = 100"),
)


def study_of(process: Process) -> optuna.Study:
    assert isinstance(process.policy, SearchPolicy)
    return process.policy.proposer.study


@dataclass
class Busy:
    """A worker with a run under way, and how far it is."""

    process: Process
    start: Start
    step: int = 0
    buried: bool = False


class Office:
    """Three workers that decide, report, finish and die at odd moments, by chance alone.

    Decisions, and verdicts of the pruner, are compared with those of a process that follows the log
    from its beginning.
    """

    def __init__(self, plan: Plan, seed: int, compared: float = 0.5) -> None:
        self.plan, self.chance, self.compared = plan, random.Random(seed), compared
        self.log = MemoryLog()
        self.idle = [Process(self.log, plan, worker) for worker in "123"]
        self.busy: list[Busy] = []
        self.verdicts: list[bool] = []

    def fresh(self, like: Process) -> Process:
        return Process(self.log, self.plan, like.worker, like.session)

    def run(self) -> None:
        while self.step():
            pass
        self.compare()

    def compare(self) -> None:
        """One that has lived through it all has in memory what one has that joins now."""
        for process in self.idle:
            process.catch_up()
            assert described(study_of(process)) == described(study_of(self.fresh(process)))

    def step(self) -> bool:
        """One thing happens; False where nothing is left to happen."""
        if self.idle and (not self.busy or self.chance.random() < 0.5):
            process = self.idle.pop(self.chance.randrange(len(self.idle)))
            if not self.decide(process):
                self.idle.append(self.fresh(process))
                if not self.busy:
                    return False
        if self.busy:
            self.go_on(self.chance.choice(self.busy))
        return True

    def decide(self, process: Process) -> bool:
        """A worker decides, while others go on; another may decide in the same moment."""
        start = process.ask()
        if self.chance.random() < self.compared:
            assert self.fresh(process).ask() == start
        if start is None:
            return False
        while self.busy and self.chance.random() < 0.3:
            self.go_on(self.chance.choice(self.busy))
        if self.idle and self.chance.random() < 0.1:
            self.decide(self.idle.pop())
        try:
            self.log.append(started(start))
        except Refused:
            self.idle.append(self.fresh(process))
            return True
        process.catch_up()
        if start.number in process.progress.running:
            self.busy.append(Busy(process, start))
        else:
            self.idle.append(process)
        return True

    def go_on(self, one: Busy) -> None:
        """A run comes to its next point, or to its end."""
        process, start, luck = one.process, one.start, self.chance.random()
        if self.plan.study.search.pruner != "none":
            luck *= 4  # it has many points, and not much shall happen to it
        if not one.buried and luck < 0.1:
            one.buried = True  # so that its result comes late, if it comes
            self.fresh(process).lose(start)
        elif not one.buried and luck < 0.18:
            self.end(one, lambda: process.lose(start, "interrupted"))
        elif luck < 0.24:
            self.end(one, lambda: process.finish(start, "diverged"))
        elif one.step < POINTS:
            self.report(one)
        else:
            self.end(one, lambda: process.finish(start))

    def report(self, one: Busy) -> None:
        # Without a pruner nothing is reported, and runs end sooner.
        one.step += 1 if self.plan.study.search.pruner != "none" else POINTS
        if self.plan.study.search.pruner == "none":
            return
        verdict = one.process.report(one.start, one.step)
        if verdict or (one.start.prunable and self.chance.random() < self.compared / 10):
            fresh = self.fresh(one.process)
            assert isinstance(fresh.policy, SearchPolicy)
            found = fresh.policy.proposer.is_unpromising(one.start) and one.step < POINTS
            assert found == verdict
            self.verdicts.append(verdict)
        if verdict:
            self.end(one, lambda: one.process.prune(one.start, one.step))

    def end(self, one: Busy, append) -> None:
        self.busy.remove(one)
        try:
            append()
        except Refused:  # another attempt at it came first
            one.process.catch_up()
            assert len(one.process.progress.attempts[one.start.key]) > 1
        self.idle.append(one.process)


def office_of(path: Path, sampler: str, *lines: str, runs: int, seed: int) -> Office:
    changes = ('"random"', f'"{sampler}"'), ("runs = 14", f"runs = {runs}")
    return Office(plan_of(path, *changes, ("blocks = 2", "\n".join(["blocks = 2", *lines]))), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sampler", [one for one in SAMPLERS if one not in ("gp", "posterior")])
def test_a_late_joiner_decides_the_same(small_study: Path, sampler: str, seed: int) -> None:
    office = office_of(small_study, sampler, runs=36, seed=seed)
    office.run()
    progress = Process(office.log, office.plan).progress
    assert {run.state for run in progress.runs} >= {"complete", "diverged", "interrupted", "died"}
    assert progress.finished == 36


@pytest.mark.slow
def test_a_late_joiner_decides_the_same_by_gaussian_processes(small_study: Path) -> None:
    office_of(small_study, "gp", runs=22, seed=0).run()


@pytest.mark.slow
def test_a_late_joiner_decides_the_same_from_a_part_of_the_results(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("MOST_FITTED", 15), ("_BEST", 4), ("_BETWEEN", 5)):
        monkeypatch.setattr(f"dynamoe_search.search.thinning.{name}", number)
    office = office_of(small_study, "tpe", runs=60, seed=4)
    office.run()
    assert Process(office.log, office.plan).progress.finished == 60


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3"])
def test_a_late_joiner_decides_the_same_of_several_objectives(
    small_study: Path, sampler: str
) -> None:
    objectives = 'objectives = ["loss", "active_flops"]'
    constraints = 'constraints = ["utilization_entropy >= 0.5"]'
    office_of(small_study, sampler, objectives, constraints, runs=45, seed=1).run()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        *(("tpe", pruner) for pruner in PRUNERS if pruner != "none"),
        *(("cmaes", "hyperband"), ("nsga2", "asha"), ("qmc", "median")),
    ],
)
def test_a_late_joiner_prunes_the_same(small_study: Path, sampler: str, pruner: str) -> None:
    office = office_of(small_study, sampler, f'pruner = "{pruner}"', runs=40, seed=2)
    office.run()
    assert set(office.verdicts) == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        *(("random", "none"), ("tpe", "hyperband"), ("cmaes", "none"), ("nsga2", "median")),
        ("qmc", "none"),
    ],
)
def test_a_late_joiner_decides_the_same_where_proposals_are_passed_over(
    small_study: Path, sampler: str, pruner: str
) -> None:
    chosen = ('"random"', f'"{sampler}"\npruner = "{pruner}"')
    office = Office(plan_of(small_study, *FEW_SCHEDULES, chosen), seed=3)
    office.run()
    assert any(start.passed_over for start in office.log.starts())
    progress = Process(office.log, office.plan).progress
    assert progress.finished == 12 - len(progress.pruned)


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2", "nsga3"])
def test_a_result_that_comes_while_another_worker_decides(small_study: Path, sampler: str) -> None:
    plan = plan_of(
        small_study,
        ("depth = 4", "depth = 8"),
        ("experts = 12", "experts = 48"),
        ('"random"', f'"{sampler}"'),
        ("= 14", "= 60"),
    )
    log = MemoryLog()
    one, other = Process(log, plan), Process(log, plan)
    under_way = other.start()
    while under_way is not None:
        decided = one.ask()
        other.finish(under_way)
        if decided is not None:
            log.append(started(decided))
            one.catch_up()
        one, other, under_way = other, one, decided
    assert one.progress.finished == 60
    late = Process(log, plan)
    for process in (one, other):
        process.catch_up()
        assert described(study_of(process)) == described(study_of(late))
    # Nothing had to be mended.
    asked_of = [trial.params for trial in study_of(late).trials]
    assert all(start.parameters in asked_of for start in log.starts() if start.seen is not None)
    assert all(trial.state != TrialState.FAIL for trial in study_of(late).trials)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "nsga2", "exhaustive"])
def test_an_interrupted_search_goes_on_as_it_would_have(small_study: Path, sampler: str) -> None:
    plan = plan_of(small_study, ('"random"', f'"{sampler}"'), ("runs = 14", "runs = 36"))
    once = run_alone(Process(MemoryLog(), plan))
    log = MemoryLog()
    pieces: list[Start] = []
    for most in (3, 1, 6, 15, 100):
        pieces += run_alone(Process(log, plan), most)
    assert pieces == once
    # Also where runs are cut short again and again.
    log, chance = MemoryLog(), random.Random(0)
    done: list[tuple[str, int]] = []
    while True:
        process = Process(log, plan, session=str(len(log.events)))
        start = process.start()
        if start is None:
            break
        if chance.random() < 0.3:
            process.lose(start, chance.choice(["died", "interrupted"]))
        else:
            process.finish(start)
            done.append(start.key)
    assert done == names(once)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_no_question_has_the_random_numbers_of_another(
    small_study: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    # Six schedules, two blocks of each: many questions are in vain, and none is recorded.
    drawn: list[float] = []

    def make(name: str, *of: int) -> optuna.samplers.BaseSampler:
        probe = optuna.create_study(sampler=make_sampler("random", *of))
        drawn.append(probe.ask().suggest_float("x", 0, 1))
        return make_sampler(name, *of)

    monkeypatch.setattr("dynamoe_search.search.proposer.make_sampler", make)
    process = Process(
        MemoryLog(), plan_of(small_study, *FEW_SCHEDULES, ('"random"', f'"{sampler}"'))
    )
    done = run_alone(process)
    assert len(done) == 12
    assert len(drawn) > 3 * len(done)
    assert len(set(drawn)) == len(drawn)


def test_questions_in_vain_leave_no_trace_in_the_log(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study, *FEW_SCHEDULES))
    run_alone(process)
    assert sum(start.passed_over for start in process.log.starts()) > 0
    assert [event.kind for event in process.log.events] == ["started", "finished"] * 12


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2", "qmc"])
def test_a_log_holds_no_state_of_a_sampler(small_study: Path, sampler: str) -> None:
    process = Process(
        MemoryLog(), plan_of(small_study, ('"random"', f'"{sampler}"'), ("= 14", "= 50"))
    )
    run_alone(process)
    text = json.dumps([event.content for event in process.log.events])
    assert not re.search(r"cma|generation|qmc|[0-9a-f]{32}", text)
    assert all(
        value is None or isinstance(value, str | int | float | bool | list | dict)
        for event in process.log.events
        for value in event.content.values()
    )


# What samplers that keep state make of baselines, and of what is passed over.


def asked(process: Process) -> list[Start]:
    return [start for start in process.log.starts() if start.seen is not None]


@pytest.mark.slow
def test_qmc_goes_through_its_sequence_whoever_asks(small_study: Path) -> None:
    plan = plan_of(
        small_study,
        ("depth = 4", "depth = 8"),
        ("experts = 12", "experts = 48"),
        ('"random"', '"qmc"'),
        ("= 14", "= 50"),
        ("blocks = 2", "blocks = 1"),
    )
    log = MemoryLog()
    for _ in range(10):
        run_alone(Process(log, plan), most=5)
    alone = optuna.create_study(sampler=make_sampler("qmc", plan.study.seed, 0, 0))
    first = log.starts()[0].parameters
    assert first is not None
    alone.enqueue_trial(dict(first))
    suggest(trial := alone.ask(), plan.space)
    alone.tell(trial, 1.0)
    compared = 0
    for start in asked(Process(log, plan)):
        suggest(trial := alone.ask(), plan.space)
        if start.passed_over == 0:
            assert trial.params == start.parameters
            compared += 1
    assert compared > 30


@pytest.mark.parametrize(
    ("sampler", "key", "counted"),
    [("nsga2", "NSGAIISampler:generation", True), ("cmaes", "cma:generation", False)],
)
def test_generations_grow_beside_the_baselines(
    small_study: Path, sampler: str, key: str, counted: bool
) -> None:
    plan = plan_of(small_study, ('"random"', f'"{sampler}"'), ("= 14", "= 60"))
    process = Process(MemoryLog(), plan)
    run_alone(process)
    baselines = {str(candidate) for candidate in plan.baselines.values()}
    trials = study_of(process).trials
    of_baselines = trials[: len(baselines)]
    assert all((trial.system_attrs.get(key) == 0) == counted for trial in of_baselines)
    generations = [trial.system_attrs[key] for trial in trials if key in trial.system_attrs]
    assert max(generations) >= 1
    assert sorted(generations) == generations


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2"])
def test_what_is_passed_over_is_told_its_mean(small_study: Path, sampler: str) -> None:
    process = Process(
        MemoryLog(), plan_of(small_study, *FEW_SCHEDULES, ('"random"', f'"{sampler}"'))
    )
    done = run_alone(process)
    means = process.progress.means(["validation_loss"])
    told = study_of(process).get_trials(states=(TrialState.COMPLETE,))
    # Those after the last run, when all was known.
    last = told[-20:]
    assert len(told) > len(done) + 20
    for trial in last:
        candidate = process.plan.candidate(in_family(process.plan, trial), {})
        assert trial.value == pytest.approx(means[str(candidate)]["validation_loss"])


def in_family(plan: Plan, trial: optuna.trial.FrozenTrial) -> dict[str, float]:
    return suggest(optuna.trial.FixedTrial(trial.params), plan.space)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_run_has_one_trial_however_often_it_is_tried(small_study: Path, sampler: str) -> None:
    process = Process(MemoryLog(), plan_of(small_study, ('"random"', f'"{sampler}"')))
    run_alone(process, most=8)
    before = len(study_of(process).trials)
    attempts: list[Start] = []
    for session in ("a", "b", "c"):
        process.session = session
        start = process.start()
        assert start is not None
        process.lose(start)
        attempts.append(start)
    assert [start.attempt for start in attempts] == [0, 1, 2]
    assert len({start.key for start in attempts}) == 1
    # A result that comes late is told as any other.
    process.finish(attempts[1])
    run_alone(process, most=1)
    trial = study_of(process).trials[before + attempts[0].passed_over]
    assert trial.params == attempts[0].parameters
    (result,) = made_up(attempts[0], process.plan)
    assert trial.value == result.validation_loss


@pytest.mark.parametrize("sampler", ["cmaes", "nsga2", "qmc", "tpe"])
def test_with_another_sampler_a_study_goes_on(small_study: Path, sampler: str) -> None:
    before = Process(MemoryLog(), plan_of(small_study, ("runs = 14", "runs = 40")))
    done = run_alone(before, most=20)
    after = Process(before.log, plan_of(small_study, ('"random"', f'"{sampler}"')))
    rest = run_alone(after)
    assert len(done + rest) == 40
    told = study_of(after).get_trials(states=(TrialState.COMPLETE,))
    trained = [
        (start.parameters, made_up(start, after.plan)[0].validation_loss)
        for start in done
        if start.seen is not None
    ]
    assert trained
    for of_run in trained:
        assert of_run in [(trial.params, trial.value) for trial in told]


def test_a_search_without_room_finds_nothing_and_a_later_one_does(small_study: Path) -> None:
    changes = *FEW_SCHEDULES, ('"random"', '"cmaes"')
    process = Process(MemoryLog(), plan_of(small_study, *changes))
    run_alone(process)
    log = process.log
    assert Process(log, process.plan).ask() is None
    more = plan_of(small_study, ("blocks = 2", "blocks = 3"))
    first, second = (Process(MemoryLog(log.events), more) for _ in range(2))
    rest = run_alone(first)
    assert len(rest) == 6
    assert {start.block for start in rest} == {2}
    assert run_alone(second) == rest


def test_a_proposal_that_is_forgotten_is_no_run(small_study: Path) -> None:
    process = Process(MemoryLog(), plan_of(small_study))
    run_alone(process, most=8)
    start = process.ask()
    assert start is not None
    assert isinstance(process.policy, SearchPolicy)
    process.policy.forget_proposal()
    assert study_of(process).trials[-1].state == TrialState.FAIL
    process.policy.forget_proposal()
    assert process.start() == start


def test_an_event_of_a_run_outside_the_family_is_passed_by(small_study: Path) -> None:
    plan = plan_of(small_study)
    log = MemoryLog()
    process = Process(log, plan)
    outside = Start("search", "3-3-3-3", 0, 0, (7,), "1", "a")
    log.append(started(outside))
    process.catch_up()
    proposer = Proposer(plan)
    for position, event in log.read():
        proposer.follow(position, event)
    assert proposer.study.trials == []
    assert not proposer.is_unpromising(outside)
