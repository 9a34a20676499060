"""How a study stands, and what the user has asked of a command that is running."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import optuna

from dynamoe_search.log.records import Ledger, read_ledger
from dynamoe_search.plan.plan import Plan, names_of
from dynamoe_search.search.agenda import Agenda
from dynamoe_search.search.assignment import leaders
from dynamoe_search.statistics.pareto import OBJECTIVES

_Leader = tuple[str, float, int]


@dataclass(frozen=True)
class Progress:
    """How a study stands.

    Parameters
    ----------
    ledger : Ledger
        The sum of its records.
    fraction : float
        The part done, towards the first limit; current trainings count in part.
    best : tuple of (str, float, int), optional
        The leading candidate, its mean of the first objective, and its replicates.
    best_pattern : tuple of (str, float, int), optional
        The same among the study's baselines, by name.
    workers : int
        Workers alive.
    finishing : bool
        Whether it was told to end after the current trainings.
    """

    ledger: Ledger
    fraction: float
    best: _Leader | None
    best_pattern: _Leader | None
    workers: int
    finishing: bool


class Event(Protocol):
    """An event of threads or of processes."""

    def set(self) -> None:
        """Let it be so."""

    def is_set(self) -> bool:
        """Whether it is so."""


class Overview:
    """A study as the command that runs it sees it.

    Parameters
    ----------
    study : Study
    plan : Plan
    agenda : SearchAgenda or ConfirmationAgenda
    on_progress : callable
        Told how the study stands.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: Plan,
        agenda: Agenda,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.study, self.plan, self.agenda = study, plan, agenda
        self.on_progress = on_progress
        self.names = names_of(plan.baselines)
        self._read: tuple[float, Ledger] | None = None
        self._ranked: tuple[Ledger, _Leader | None, _Leader | None] | None = None

    def ledger(self, age: float = 0.0) -> Ledger:
        """The sum of the records, as it was so many seconds ago or later."""
        now = time.monotonic()
        if self._read is None or now - self._read[0] >= age:
            self._read = now, read_ledger(self.study.get_trials(deepcopy=False))
        return self._read[1]

    def ended(self) -> int:
        """How many trainings came to an end by themselves; it is counted anew."""
        ledger = self.ledger()
        return ledger.trained - ledger.given_up

    def is_over(self, ledger: Ledger) -> bool:
        """Whether there is nothing left to do."""
        return not ledger.retries and self.agenda.fraction(ledger) >= 1

    def report(self, ledger: Ledger, under_way: float, workers: int, finishing: bool) -> None:
        """Tell how the study stands; `under_way` is the sum of the parts of current trainings."""
        if self._ranked is None or self._ranked[0] is not ledger:
            self._ranked = ledger, *self._leaders(ledger)
        _, best, best_pattern = self._ranked
        one_training = self.agenda.fraction_of_one_training()
        self.on_progress(
            Progress(
                ledger=ledger,
                fraction=min(1.0, self.agenda.fraction(ledger) + under_way * one_training),
                best=best,
                best_pattern=best_pattern,
                workers=workers,
                finishing=finishing,
            )
        )

    def _leaders(self, ledger: Ledger) -> tuple[_Leader | None, _Leader | None]:
        """The best of all candidates, and of the study's baselines by name."""
        in_order = leaders(ledger, self.plan.study.search)
        column = OBJECTIVES[self.plan.study.search.objectives[0]].column
        means = ledger.means([column])

        def first(candidates: Iterable[str], names: Mapping[str, str]) -> _Leader | None:
            for candidate in candidates:
                value, replicates = means[candidate][column], len(ledger.results[candidate])
                return names.get(candidate, candidate), value, replicates
            return None

        baselines = (candidate for candidate in in_order if candidate in self.names)
        return first(in_order, {}), first(baselines, self.names)


@contextmanager
def interrupts(finish: Event, abort: Event) -> Iterator[None]:
    """The first interrupt finishes the current trainings, the second stops them."""

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
