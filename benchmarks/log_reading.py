"""What a run's events and the decision for it cost in a long study, against a short one.

python benchmarks/log_reading.py                 some minutes
python benchmarks/log_reading.py --repeats 5 --long 500    a quick look

Logs of 100 and of 5,000 finished runs, on SQLite and on JSON lines, take turns: each decides what
to train next, as a worker does. It reads what is new, asks the policy, appends the start of the
run, and reads it; then it appends the run's result, which is made up. Of a decision, the time in
Optuna's sampler, if it is one, is shown apart. Times are medians. A ratio is the geometric mean of
those of neighboring measurements, long over short, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any
from unittest.mock import patch

import optuna
from optuna.samplers import BaseSampler
from rich.console import Console
from rich.table import Table

from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.runs import RunResult, Start, finished, started
from dynamoe_search.log.state import State, begun, catch_up
from dynamoe_search.log.storage import open_log, storage_of
from dynamoe_search.plan.plan import DataShape, Plan
from dynamoe_search.search import proposer
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.search.samplers import make_sampler
from dynamoe_search.statistics.intervals import Noise, half_width
from dynamoe_search.study import Study
from dynamoe_search.training.settings import CurvePoint

STORAGES = ("sqlite", "jsonl")
# Many more runs than are decided here: the sampler explores until the last quarter. The margin and
# the noise leave no search decided.
STUDY: dict[str, dict[str, Any]] = {
    "model": {"depth": 8, "width": 32, "hidden": 64},
    "budget": {"experts": 32},
    "search": {"sampler": "random", "runs": 100_000, "blocks": 4, "margin": 1e-6},
}
DIGITS = DataShape(inputs=64, classes=10)


def results_of(start: Start) -> list[RunResult]:
    """The results of a run."""
    return [result_of(start, seed) for seed in start.seeds]


def result_of(start: Start, seed: int) -> RunResult:
    """A result of ordinary size, in which experts near the input are good, with much noise."""
    counts = [int(count) for count in start.candidate.split("-")]
    noise = random.Random(f"{start.candidate} {seed}").gauss(0, 0.2)
    loss = 0.1 + sum(layer * count for layer, count in enumerate(counts)) / sum(counts) / 10 + noise
    curve = tuple(CurvePoint(part / 10, part, 1e8 * part, loss, 0.9) for part in range(1, 11))
    means = (2.0,) * len(counts)
    return RunResult(
        training_flops=1e9,
        samples=1000,
        fraction=1.0,
        validation_loss=loss,
        validation_accuracy=0.9,
        active_experts=2.0,
        mean_active=means,
        total_parameters=135_082,
        active_parameters=69_546.0,
        flops_per_token=1e5,
        utilization_entropy=0.9,
        layer_entropy=means,
        curve=curve,
    )


def history(plan: Plan, runs: int) -> list[Event]:
    """The events of a study that has finished this number of runs."""
    state, policy = State(), SearchPolicy(plan)
    events = [begun(plan.study, "data", DIGITS)]
    state.apply(1, events[0])
    for _ in range(runs):
        start = policy.ask(state, "worker", "session")
        assert start is not None
        for event in (started(start), finished(start, "complete", results_of(start))):
            events.append(event)
            state.apply(len(events), event)
            policy.follow(len(events), event)
    return events


def batched(events: list[Event], size: int) -> Iterator[list[Event]]:
    """Some of the events at a time: an append to a database has at most 6,500."""
    for first in range(0, len(events), size):
        yield events[first : first + size]


class Timed(BaseSampler):
    """A sampler whose time is measured."""

    seconds = 0.0  # of all samplers

    def __init__(self, sampler: BaseSampler) -> None:
        self.sampler = sampler

    def _call(self, method: str, *arguments: Any) -> Any:
        start = time.perf_counter()
        answer = getattr(self.sampler, method)(*arguments)
        Timed.seconds += time.perf_counter() - start
        return answer

    def infer_relative_search_space(self, study: optuna.Study, trial: Any) -> Any:
        """As `BaseSampler` has it."""
        return self._call("infer_relative_search_space", study, trial)

    def sample_relative(self, study: optuna.Study, trial: Any, search_space: Any) -> Any:
        """As `BaseSampler` has it."""
        return self._call("sample_relative", study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: Any, name: str, among: Any) -> Any:
        """As `BaseSampler` has it."""
        return self._call("sample_independent", study, trial, name, among)

    def before_trial(self, study: optuna.Study, trial: Any) -> None:
        """As `BaseSampler` has it."""
        self._call("before_trial", study, trial)

    def after_trial(self, study: optuna.Study, trial: Any, state: Any, values: Any) -> None:
        """As `BaseSampler` has it."""
        self._call("after_trial", study, trial, state, values)


@dataclass(frozen=True)
class Seconds:
    """What one run's events and its decision took."""

    append: float
    read: float
    decision: float
    sampler: float
    rest: float


ACTIONS = ("append a run's events", "read them", "decide", "of it, the sampler", "the rest")


class Worker:
    """It follows a log and decides, as a worker does."""

    def __init__(self, log: Log, plan: Plan) -> None:
        self.log, self.state, self.policy = log, State(), SearchPolicy(plan)
        self.catch_up()

    def catch_up(self) -> float:
        """Take in what is new; the seconds that took."""
        begin = time.perf_counter()
        catch_up(self.log, self.state, self.policy.follow)
        return time.perf_counter() - begin

    def append(self, event: Event) -> float:
        """Append an event; the seconds that took."""
        begin = time.perf_counter()
        self.log.append(event)
        return time.perf_counter() - begin

    def decide(self) -> Seconds:
        """Decide what to train next, start it, and finish it at once."""
        Timed.seconds = 0.0
        read = self.catch_up()
        begin = time.perf_counter()
        start = self.policy.ask(self.state, "worker", "session")
        asked = time.perf_counter() - begin
        assert start is not None
        append = self.append(started(start))
        read += self.catch_up()
        sampler, decision = Timed.seconds, read + asked + append
        append += self.append(finished(start, "complete", results_of(start)))
        return Seconds(append, read, decision, sampler, decision - sampler)


def measure(
    kind: str, plan: Plan, events: list[Event], numbers: tuple[int, int], repeats: int
) -> list[tuple[Seconds, Seconds]]:
    """The seconds of a short log and of a long one, which take turns in being first."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = []
        for runs in numbers:
            storage = storage_of(Path(folder), f"{kind}:///{folder}/{runs}", "study")
            log = stack.enter_context(open_log(storage, create=True))
            for some in batched(events[: 1 + 2 * runs], 1_000):
                log.append(*some)
            workers.append(Worker(log, plan))
        stack.enter_context(patch.object(proposer, "make_sampler", _timed))
        pairs = []
        for repeat in range(-1, repeats):
            order = (0, 1) if repeat % 2 else (1, 0)
            measured = {index: workers[index].decide() for index in order}
            if repeat >= 0:  # the first only warms up
                pairs.append((measured[0], measured[1]))
        return pairs


def _timed(name: str, seed: int, asked: int, in_vain: int) -> BaseSampler:
    return Timed(make_sampler(name, seed, asked, in_vain))


def ratio(short: list[float], long: list[float]) -> str:
    """The geometric mean of the ratios, with its 95 % interval."""
    logarithms = [math.log(b / a) for a, b in zip(short, long, strict=True)]
    noise = Noise(stdev(logarithms), degrees=len(logarithms) - 1)
    middle, half = mean(logarithms), float(half_width(noise, len(logarithms)))
    low, high = math.exp(middle - half), math.exp(middle + half)
    return f"{math.exp(middle):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure both kinds of log, and print the table."""
    parser = argparse.ArgumentParser(description="What events and decisions cost.")
    parser.add_argument("--short", type=int, default=100, help="finished runs of the short log")
    parser.add_argument("--long", type=int, default=5_000, help="finished runs of the long log")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--samplers", nargs="+", default=["posterior", "random", "tpe"])
    arguments = parser.parse_args()
    numbers = arguments.short, arguments.long
    titles = (f"ms, {runs:,} runs" for runs in numbers)
    table = Table("log", "sampler", "action", *titles, "ratio (95 %)")
    with tempfile.TemporaryDirectory() as folder:
        plan = Study.create(folder, STUDY).plan
    events = history(plan, max(numbers))
    for kind in STORAGES:
        for sampler in arguments.samplers:
            search = plan.study.search.model_copy(update={"sampler": sampler})
            own = replace(plan, study=plan.study.model_copy(update={"search": search}))
            pairs = measure(kind, own, events, numbers, arguments.repeats)
            # `posterior` is no sampler of Optuna's: there is nothing to show apart.
            for index, action in enumerate(ACTIONS[:3] if sampler == "posterior" else ACTIONS):
                short, long = ([astuple(pair[log])[index] for pair in pairs] for log in (0, 1))
                milliseconds = [f"{1e3 * median(times):.2f}" for times in (short, long)]
                table.add_row(kind, sampler, action, *milliseconds, ratio(short, long))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
