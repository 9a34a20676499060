"""How a study stands, and what the user has asked of a command that is running."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import optuna

from dynamoe_search.analysis import OBJECTIVES
from dynamoe_search.search.agenda import Agenda
from dynamoe_search.search.assignment import leaders
from dynamoe_search.search.plan import Plan, names_of
from dynamoe_search.search.records import Ledger, read_ledger


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
    best: tuple[str, float, int] | None
    best_pattern: tuple[str, float, int] | None
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

    def ledger(self) -> Ledger:
        """The sum of the records by now."""
        return read_ledger(self.study.get_trials(deepcopy=False))

    def is_over(self, ledger: Ledger) -> bool:
        """Whether there is nothing left to do."""
        return not ledger.retries and self.agenda.fraction(ledger) >= 1

    def report(self, ledger: Ledger, under_way: float, workers: int, finishing: bool) -> None:
        """Tell how the study stands; `under_way` is the sum of the parts of current trainings."""
        in_order = leaders(ledger, self.plan.study.search)
        column = OBJECTIVES[self.plan.study.search.objectives[0]].column
        means = ledger.means([column])

        def first(candidates: list[str]) -> tuple[str, float, int] | None:
            if not candidates:
                return None
            leader = candidates[0]
            return leader, means[leader][column], len(ledger.results[leader])

        best_pattern = first([candidate for candidate in in_order if candidate in self.names])
        if best_pattern is not None:
            leader, value, replicates = best_pattern
            best_pattern = (self.names[leader], value, replicates)
        one_training = self.agenda.fraction_of_one_training()
        self.on_progress(
            Progress(
                ledger=ledger,
                fraction=min(1.0, self.agenda.fraction(ledger) + under_way * one_training),
                best=first(in_order),
                best_pattern=best_pattern,
                workers=workers,
                finishing=finishing,
            )
        )


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
