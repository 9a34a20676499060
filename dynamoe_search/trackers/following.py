"""Follow a log, and tell callbacks what has happened, beside the training and never in its way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import flat_definition
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.runs import ENDED_FOR_GOOD, Stage
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.log.table import runs_table
from dynamoe_search.plan.confirmation import loss_alone
from dynamoe_search.trackers.happenings import (
    Callback,
    Conclusion,
    Decided,
    RunEnded,
    StudyTold,
)

_SECONDS_BETWEEN_READINGS = 2.0
# At the end a callback that takes no event for so long is not waited for.
_MOST_SECONDS_FOR_AN_EVENT = 60.0

logger = logging.getLogger(__name__)


@contextmanager
def following(
    callbacks: Sequence[Callback],
    storage: Storage,
    stage: Stage,
    name: str,
    conclude: Callable[[], Conclusion],
) -> Iterator[None]:
    """While the block runs, and at its end, tell each callback what the log has of a stage.

    Each has a thread and reads the log for itself, from its beginning. One that raises is told
    nothing more in this session, and a warning is logged; the block goes on.

    Parameters
    ----------
    callbacks : sequence of callable
    storage : Storage
        Of a study that has begun.
    stage : {"search", "confirmation"}
    name : str
        The study's title.
    conclude : callable
        Gives what the stage has found, after the block; `InvalidInput` where that is nothing.
    """
    followers = [_Follower(callback, storage, stage, name) for callback in callbacks]
    for follower in followers:
        follower.start()
    conclusion = None
    try:
        yield
        with suppress(InvalidInput):
            conclusion = conclude()
    finally:
        for follower in followers:
            follower.conclude(conclusion)
        for follower in followers:
            follower.wait()


class _Follower(threading.Thread):
    """Tells one callback what a log has."""

    def __init__(self, callback: Callback, storage: Storage, stage: Stage, name: str) -> None:
        super().__init__(name=f"dynamoe_search tells {name}", daemon=True)
        self.callback, self.storage, self.stage, self.title = callback, storage, stage, name
        self.state, self.identity = State(), ""
        self.told = set[int]()
        self.events = 0  # that the callback took
        self.conclusion: Conclusion | None = None
        self.is_over = threading.Event()

    def run(self) -> None:
        """Tell what happens until it is over; log a warning where that fails."""
        try:
            with open_log(self.storage, create=False) as log:
                self._tell_runs(log)
                while not self.is_over.wait(_SECONDS_BETWEEN_READINGS):
                    self._tell_runs(log)
                self._tell_runs(log)
            self._tell_conclusion()
        except Exception as error:  # whatever a callback raises
            lines = str(error).splitlines() or [""]
            self._warn(f"failed ({type(error).__name__}: {lines[0][:300]})")

    def conclude(self, conclusion: Conclusion | None) -> None:
        """Say that the session ends: what is left is told, and what was found."""
        self.conclusion = conclusion
        self.is_over.set()

    def wait(self) -> None:
        """Wait until all is told, as long as the callback takes events, or until an interrupt."""
        try:
            while self.is_alive():
                before = self.events
                self.join(_MOST_SECONDS_FOR_AN_EVENT)
                if self.is_alive() and self.events == before:
                    self._warn(f"took no event for {_MOST_SECONDS_FOR_AN_EVENT:g} seconds")
                    return
        except KeyboardInterrupt:
            self._warn("was interrupted")

    def _tell_runs(self, log: Log) -> None:
        """Tell of the runs that have ended since the last time."""
        catch_up(log, self.state, self._note_beginning)
        runs = self.state.stages[self.stage].runs
        new = {run.number for run in runs if run.state in ENDED_FOR_GOOD} - self.told
        if not new:
            return
        study, study_file = self._study(), self.state.study_file
        assert study_file is not None
        if self.stage == "confirmation":
            study_file = loss_alone(study_file)
        # Of all runs, as the names of baselines follow from all of them.
        table = runs_table(runs, study_file)
        for row in table[table["run"].isin(new)].to_dict("records"):
            run = runs[row["run"]]
            assert run.finished is not None
            self._tell(RunEnded(study, self.stage, row, run.started, run.finished))
        self.told |= new

    def _tell_conclusion(self) -> None:
        if self.conclusion is None:
            return
        runs = self.state.stages[self.stage].runs
        last = max((runs[number].finished or 0.0 for number in self.told), default=0.0)
        self._tell(Decided(self._study(), self.stage, self.conclusion, len(self.told), last))

    def _tell(self, event: RunEnded | Decided) -> None:
        self.callback(event)
        self.events += 1

    def _note_beginning(self, position: int, event: Event) -> None:
        if event.kind == "begun":
            self.identity = sha256(f"{self.title} {event.at!r}".encode()).hexdigest()[:8]

    def _study(self) -> StudyTold:
        assert self.state.study_file is not None
        return StudyTold(self.title, self.identity, flat_definition(self.state.study_file))

    def _warn(self, what: str) -> None:
        title = getattr(self.callback, "title", None) or repr(self.callback)
        logger.warning(
            "%s %s. Training goes on; the next session of this study tells it what is missing",
            title,
            what,
        )
