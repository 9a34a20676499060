"""The progress of a study while a command runs it, and the interrupts of the user."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from dynamoe_search.log.events import Log
from dynamoe_search.log.state import Progress, State, catch_up, give_up_dead
from dynamoe_search.plan.baselines import names_of
from dynamoe_search.search.policy import Policy, leaders
from dynamoe_search.statistics.pareto import OBJECTIVES

Leader = tuple[str, float, int]
"""A candidate or a baseline's name, its mean of the first objective, and its seeds."""


@dataclass(frozen=True)
class Snapshot:
    """The progress of a study at one moment.

    Parameters
    ----------
    fraction : float
        The part done, up to the first limit; current runs count in part.
    finished, running : int
        Training runs.
    best : tuple of (str, float, int), optional
        The leading candidate, its mean of the first objective, and its seeds.
    best_pattern : tuple of (str, float, int), optional
        The same among the study's baselines, by name.
    workers : int
        Workers alive.
    finishing : bool
        Whether it was told to end after the current runs.
    """

    fraction: float
    finished: int
    running: int
    best: Leader | None
    best_pattern: Leader | None
    workers: int
    finishing: bool


class Event(Protocol):
    """An event of threads or of processes."""

    def set(self) -> None:
        """Make it true."""

    def is_set(self) -> bool:
        """Whether it is true."""


class Overview:
    """A study as the command that runs it sees it.

    Parameters
    ----------
    log : Log
    policy : SearchPolicy or ConfirmationPolicy
        Of the stage that runs; it only counts here, and is not asked for runs.
    on_progress : callable
        Called with each `Snapshot`.
    """

    def __init__(self, log: Log, policy: Policy, on_progress: Callable[[Snapshot], None]) -> None:
        self.log, self.policy, self.on_progress = log, policy, on_progress
        self.state = State()
        self._names = names_of(policy.plan.baselines)
        self._deaths, self._ended_at_last_death = 0, -1
        self._ranked: tuple[int, Leader | None, Leader | None] = (-1, None, None)

    @property
    def progress(self) -> Progress:
        """The stage as it was last read."""
        return self.state.stages[self.policy.stage]

    def read(self) -> Progress:
        """The stage as the log has it now."""
        catch_up(self.log, self.state)
        return self.progress

    def release(self, is_dead: Callable[[str], bool]) -> None:
        """Let the runs of dead workers be tried again."""
        give_up_dead(self.log, self.read(), is_dead)
        self.read()

    def ended_by_themselves(self) -> int:
        """How many runs have ended, without those that were given up; it reads the log."""
        progress = self.read()
        return progress.finished - len(progress.given_up)

    def count_death(self) -> int:
        """Count a worker's death; how many there were since a run last ended by itself."""
        ended = self.ended_by_themselves()
        self._deaths = self._deaths + 1 if ended == self._ended_at_last_death else 1
        self._ended_at_last_death = ended
        return self._deaths

    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.progress.retries and self.policy.fraction(self.progress) >= 1

    def is_decided(self) -> bool:
        """Whether nothing is left to do, though no limit was reached."""
        return not self.progress.retries and self.policy.is_decided(self.progress)

    def report(self, under_way: float, workers: int, finishing: bool) -> None:
        """Report the progress; `under_way` is the sum of the parts done of current runs."""
        progress = self.progress
        if self._ranked[0] != self.state.position:
            self._ranked = self.state.position, *self._leaders()
        one_run = self.policy.fraction_of_one_run()
        self.on_progress(
            Snapshot(
                fraction=min(1.0, self.policy.fraction(progress) + under_way * one_run),
                finished=progress.finished,
                running=len(progress.running),
                best=self._ranked[1],
                best_pattern=self._ranked[2],
                workers=workers,
                finishing=finishing,
            )
        )

    def _leaders(self) -> tuple[Leader | None, Leader | None]:
        """The best of all candidates, and of the study's baselines by name."""
        progress, search = self.progress, self.policy.plan.study.search
        in_order = leaders(progress, search)
        column = OBJECTIVES[search.objectives[0]].column
        means = progress.means([column])

        def first(candidates: list[str], names: Mapping[str, str]) -> Leader | None:
            for candidate in candidates[:1]:
                value, seeds = means[candidate][column], len(progress.results_of(candidate))
                return names.get(candidate, candidate), value, seeds
            return None

        baselines = [candidate for candidate in in_order if candidate in self._names]
        return first(in_order, {}), first(baselines, self._names)


@contextmanager
def interrupts(finish: Event, abort: Event) -> Iterator[None]:
    """The first interrupt finishes the current runs, the second stops them.

    Only the main thread hears interrupts: from another one, this process cannot be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        if finish.is_set() or number == signal.SIGTERM:
            abort.set()
        finish.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
