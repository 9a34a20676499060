"""A study in memory: its log, and processes that follow it and decide. Results are made up."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import optuna
from optuna.trial import TrialState

from dynamoe_search.budgets import experts_of
from dynamoe_search.data import embedded_digits
from dynamoe_search.log.events import Event, Refused
from dynamoe_search.log.runs import (
    START,
    FinalState,
    LostState,
    RunResult,
    Start,
    finished,
    lost,
    reported,
    started,
)
from dynamoe_search.log.state import Progress, State, catch_up
from dynamoe_search.plan.candidate import DenseBaseline, parse_candidate
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.search.policy import Policy, SearchPolicy
from dynamoe_search.training.settings import CurvePoint
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)
FLOPS = 1e6
POINTS = 10


def plan_of(path: Path, *changes: tuple[str, str]) -> Plan:
    """The plan of a study file after some changes."""
    edit(path, *changes)
    return make_plan(read_study_file(path), DIGITS)


class MemoryLog:
    """A log in memory, by whose clock each event takes a second."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)

    def append(self, *events: Event) -> None:
        for event in events:
            if event.key is not None and event.key in {one.key for one in self.events}:
                raise Refused(f"the log holds an event with this key already: {event.key}")
            content = json.loads(json.dumps(event.content))
            self.events.append(replace(event, content=content, at=float(len(self.events))))

    def read(self, since: int = 0) -> list[tuple[int, Event]]:
        return list(enumerate(self.events, start=1))[since:]

    def name_of(self, position: int) -> str:
        return f"event {position}"

    def until(self, position: int) -> "MemoryLog":
        """The log as it was then."""
        return MemoryLog(self.events[:position])

    def starts(self) -> list[Start]:
        """All starts, as they were decided."""
        content = [event.content for event in self.events if event.kind == "started"]
        return [START.validate_python(one) for one in content]


class Process:
    """A process that follows the log from the beginning, and decides."""

    def __init__(
        self,
        log: MemoryLog,
        plan: Plan,
        worker: str = "1",
        session: str = "a",
        make_policy: Callable[[Plan], Policy] = SearchPolicy,
    ) -> None:
        self.log, self.plan, self.worker, self.session = log, plan, worker, session
        self.state, self.policy = State(), make_policy(plan)
        self.catch_up()

    @property
    def progress(self) -> Progress:
        return self.state.stages[self.policy.stage]

    def catch_up(self) -> None:
        catch_up(self.log, self.state, self.policy.follow)  # type: ignore[arg-type]

    def ask(self) -> Start | None:
        """What would be started next. Start it, or begin anew with another process."""
        self.catch_up()
        return self.policy.ask(self.state, self.worker, self.session)

    def start(self) -> Start | None:
        """Start the next run."""
        start = self.ask()
        if start is not None:
            self.log.append(started(start))
            self.catch_up()
        return start

    def finish(self, start: Start, state: FinalState = "complete", **of_result: object) -> None:
        """End a run for good; a complete one with a made-up result for each seed."""
        results = made_up(start, self.plan) if state == "complete" else [RunResult()]
        changed = [replace(result, **of_result) for result in results]
        self.log.append(finished(start, state, changed, f"{state}, made up"))
        self.catch_up()

    def lose(self, start: Start, state: LostState = "died") -> None:
        """Note that an attempt has ended without a result."""
        self.log.append(lost(start, state, "as made up"))
        self.catch_up()

    def train(self, start: Start) -> None:
        """As a worker does: report each point of the curve where there is a pruner."""
        for step in range(1, POINTS + 1):
            if self.report(start, step):
                self.prune(start, step)
                return
        self.finish(start)

    def report(self, start: Start, step: int) -> bool:
        """Report a point of the curve; whether the run ends there."""
        if self.plan.study.search.pruner == "none":
            return False
        assert isinstance(self.policy, SearchPolicy)
        loss = fmean(one.curve[step - 1].loss for one in made_up(start, self.plan))
        self.log.append(reported(start, step, loss))
        self.catch_up()
        return start.prunable and step < POINTS and self.policy.proposer.is_unpromising(start)

    def prune(self, start: Start, step: int) -> None:
        """End a run early, as its worker does."""
        part, curves = step / POINTS, [one.curve[:step] for one in made_up(start, self.plan)]
        results = [RunResult(part * FLOPS, fraction=part, curve=curve) for curve in curves]
        self.log.append(finished(start, "pruned", results))
        self.catch_up()


def run_alone(process: Process, most: int = 1000) -> list[Start]:
    """Carry out runs one after another, until none are left or so many are done."""
    done: list[Start] = []
    while len(done) < most and (start := process.start()) is not None:
        process.train(start)
        done.append(start)
    return done


def names(starts: Iterable[Start]) -> list[tuple[str, int]]:
    return [start.key for start in starts]


def described(study: optuna.Study) -> list[object]:
    """The trials of a sampler; of those in vain, another process knows only that they were."""
    kept = [trial for trial in study.trials if trial.state != TrialState.FAIL]
    return [
        (t.number, t.state, t.params, t.values, t.intermediate_values, t.constraints, notes_of(t))
        for t in kept
    ]


def notes_of(trial: optuna.trial.FrozenTrial) -> dict[str, object]:
    """What samplers and pruners have noted, and look at later."""
    notes = trial.system_attrs.items()
    return {key: note for key, note in notes if re.search("generation|completed_rung", key)}


def made_up(start: Start, plan: Plan) -> list[RunResult]:
    """The results of a run's seeds."""
    return [_of_seed(start.candidate, seed, plan) for seed in start.seeds]


def _of_seed(name: str, seed: int, plan: Plan) -> RunResult:
    """Layers near the input should hold the experts; many experts a token cost and help."""
    candidate = parse_candidate(name)
    if isinstance(candidate, DenseBaseline):
        return RunResult(training_flops=FLOPS, fraction=1.0, validation_loss=1.0, test_loss=1.0)
    blocks = experts_of(plan.network_with(candidate))
    counts = np.array(blocks.schedule.counts, dtype=float)
    center = float((np.arange(len(counts)) * counts).sum() / counts.sum())
    k = getattr(blocks.router, "k", 2)
    loss = center + 1 / k + 0.01 * (seed % 7)
    points = range(1, POINTS + 1)
    return RunResult(
        training_flops=FLOPS,
        fraction=1.0,
        validation_loss=loss,
        active_experts=float(k),
        active_parameters=float(10 * k),
        flops_per_token=float(100 * k * blocks.hidden),
        utilization_entropy=float(1 / (1 + counts.std())),
        mean_active=(float(k),) * len(counts),
        curve=tuple(
            CurvePoint(point / POINTS, point, point * FLOPS, loss + (POINTS - point) / POINTS, 0.5)
            for point in points
        ),
        measured={"gradient_noise": 5 + float(counts.std())},
    )
