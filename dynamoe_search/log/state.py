"""The state of a study, computed from its events."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from statistics import fmean
from typing import Any

from pydantic import TypeAdapter

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event, Log, Refused
from dynamoe_search.log.runs import (
    FINISH,
    REPORT,
    START,
    WITH_RESULTS,
    Finish,
    Run,
    RunResult,
    RunState,
    Stage,
    Start,
    lost,
)
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.plan.plan import DataShape
from dynamoe_search.plan.study_file import StudyFile

FORMAT = 4
"""Of the events; it grows where older ones cannot be read any more."""

# A run is tried again after its worker has died, but not after two deaths in one session: the run
# itself may be what kills its workers.
_DEATHS_IN_ONE_SESSION = 2
_MOST_NAMED = 5

# What may be raised where the content of an event is not as it was written.
_OF_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError)

Key = tuple[str, int]  # candidate and block

_SHAPE: TypeAdapter[DataShape] = TypeAdapter(DataShape)
_SENTENCES: TypeAdapter[list[str]] = TypeAdapter(list[str])


@dataclass
class Progress:
    """The progress of one stage of a study.

    Attributes
    ----------
    runs : list of Run
        All attempts, in the order of their starts.
    results : dict of str to dict of int to tuple of RunResult
        By candidate and block, those of complete runs, of each seed.
    taken : dict of str to set of int
        By candidate, the blocks that are finished or running.
    pruned : set of str
        Candidates of which a run was pruned, or still may be. They are not trained on another
        block: the blocks that come through would be the lucky ones.
    retries : dict of (str, int) to Run
        By candidate and block, the last attempt at each run that must be tried again.
    running : dict of int to Run
        The attempts under way, by number.
    done : set of (str, int)
        By candidate and block, the runs that have ended for good.
    given_up : set of (str, int)
        Of these, the runs that killed their workers.
    flops : float
        Training FLOPs of all finished runs.
    seconds : float
        The time during which at least one run was under way.
    """

    runs: list[Run] = field(default_factory=list)
    results: dict[str, dict[int, tuple[RunResult, ...]]] = field(default_factory=dict)
    taken: dict[str, set[int]] = field(default_factory=dict)
    pruned: set[str] = field(default_factory=set)
    retries: dict[Key, Run] = field(default_factory=dict)
    running: dict[int, Run] = field(default_factory=dict)
    done: set[Key] = field(default_factory=set)
    given_up: set[Key] = field(default_factory=set)
    flops: float = 0.0
    seconds: float = 0.0
    attempts: dict[Key, list[int]] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    _busy: list[tuple[float, float]] = field(default_factory=list)
    _means: dict[str, dict[str, float]] = field(default_factory=dict, compare=False)

    @property
    def finished(self) -> int:
        """The number of runs that have ended for good."""
        return len(self.done)

    def means(self, columns: Sequence[str]) -> dict[str, dict[str, float]]:
        """The means of some quantities over the seeds of each candidate."""
        for candidate in self.results:
            known = self._means.setdefault(candidate, {})
            for name in columns:
                if name not in known:
                    known[name] = fmean(one.value(name) for one in self.results_of(candidate))
        return self._means

    def results_of(self, candidate: str) -> list[RunResult]:
        """The results of a candidate, of all seeds of its complete runs."""
        return [one for of_block in self.results[candidate].values() for one in of_block]

    def first_free_block(self, candidate: str) -> int:
        """The lowest block of a candidate that is neither finished nor running."""
        taken = self.taken.get(candidate, ())
        return next(block for block in range(len(taken) + 1) if block not in taken)

    def start(self, start: Start, at: float) -> None:
        """A run starts; at once superseded where another attempt at it has just been finished.

        Raises
        ------
        ValueError
            Where it has a seed twice.
        """
        if len(set(start.seeds)) < len(start.seeds):
            raise ValueError(f"{start.candidate}, block {start.block} has a seed twice")
        run = Run(len(self.runs), start, at)
        self.runs.append(run)
        self.attempts.setdefault(start.key, []).append(run.number)
        self.running[run.number] = run
        if start.key in self.done:
            self._end(run, "superseded", at)
            return
        self.retries.pop(start.key, None)
        self.taken.setdefault(start.candidate, set()).add(start.block)
        if start.prunable:
            self.pruned.add(start.candidate)

    def finish(self, finish: Finish, at: float) -> None:
        """A run ends for good; other attempts at it are superseded.

        Raises
        ------
        ValueError
            Where a run that has results has not one for each seed.
        """
        key = finish.candidate, finish.block
        run = self.runs[self.attempts[key][finish.attempt]]
        if finish.state in WITH_RESULTS and len(finish.results) != len(run.start.seeds):
            raise ValueError(f"{len(finish.results)} results of {len(run.start.seeds)} seeds")
        for number in self.attempts[key]:
            if number != run.number and number in self.running:
                self._end(self.running[number], "superseded", at)
        self._end(run, finish.state, at, finish.message, finish.results)
        self._cover(run.started, at)
        self.retries.pop(key, None)
        self.taken[finish.candidate].add(finish.block)
        self.done.add(key)
        self.given_up.discard(key)
        self.flops += sum(result.training_flops for result in finish.results)
        if finish.state == "complete":
            self.results.setdefault(finish.candidate, {})[finish.block] = finish.results
            self._means.pop(finish.candidate, None)
        if finish.state == "pruned":
            self.pruned.add(finish.candidate)
        elif run.start.prunable:
            self.pruned.discard(finish.candidate)

    def lose(self, finish: Finish, at: float) -> None:
        """An attempt ends without a result: its run is tried again, unless it kills its workers."""
        key = finish.candidate, finish.block
        run = self.runs[self.attempts[key][finish.attempt]]
        if run.number not in self.running:
            return
        run = self._end(run, finish.state, at, finish.message)
        if finish.state == "interrupted":
            self._cover(run.started, at)
        if any(number in self.running for number in self.attempts[key]):
            return
        if run.start.prunable:
            self.pruned.discard(finish.candidate)
        attempts = [self.runs[number] for number in self.attempts[key]]
        deaths = Counter(one.start.session for one in attempts if one.state == "died")
        if max(deaths.values(), default=0) < _DEATHS_IN_ONE_SESSION:
            self.retries[key] = run
            self.taken[finish.candidate].discard(finish.block)
        else:
            self.given_up.add(key)
            self.done.add(key)

    def _end(
        self,
        run: Run,
        state: RunState,
        at: float,
        message: str = "",
        results: tuple[RunResult, ...] = (),
    ) -> Run:
        if self.running.pop(run.number, None):
            self.ended.append(run.number)
        ended = replace(run, state=state, finished=at, message=message, results=results)
        self.runs[run.number] = ended
        return ended

    def _cover(self, begin: float, end: float) -> None:
        """Add an interval to the union of those in which a run was under way."""
        end = max(begin, end)  # where a clock was set back
        first = bisect_left(self._busy, begin, key=lambda interval: interval[1])
        last = bisect_right(self._busy, end, key=lambda interval: interval[0])
        merged = self._busy[first:last]
        self.seconds -= sum(b - a for a, b in merged)
        union = min([begin, *(a for a, _ in merged)]), max([end, *(b for _, b in merged)])
        self.seconds += union[1] - union[0]
        self._busy[first:last] = [union]


@dataclass
class State:
    """A study as its log has it.

    Attributes
    ----------
    position : int
        The position of the last event that was applied.
    study_file : StudyFile, optional
        None until the study is begun.
    data : str
        The fingerprint of its data.
    shape : DataShape, optional
        What the networks depend on in the data.
    changes : list of dict
        The changes of the study file: ``after_runs``, and ``changes``, a list of sentences.
    confirmation : Confirmation, optional
        What is confirmed, where that has begun.
    stages : dict of str to Progress
    damaged : list of str
        What could not be read, and is left out: the name of each event in the log, and its kind.
    """

    position: int = 0
    study_file: StudyFile | None = None
    data: str = ""
    shape: DataShape | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    confirmation: Confirmation | None = None
    stages: dict[Stage, Progress] = field(
        default_factory=lambda: {"search": Progress(), "confirmation": Progress()}
    )
    damaged: list[str] = field(default_factory=list)

    @property
    def search(self) -> Progress:
        """The progress of the search."""
        return self.stages["search"]

    def apply(self, position: int, event: Event) -> None:
        """Apply the next event.

        Raises
        ------
        InvalidInput
            Where this version does not write such an event; the state stays as it was.
        """
        content = event.content
        try:
            datetime.fromtimestamp(event.at)  # a table will show it
            match event.kind:
                case "begun" | "changed":
                    self._take_study_file(content)
                case "confirmation":
                    self.confirmation = Confirmation.read(content)
                case "reported":  # only pruners need it
                    REPORT.validate_python(content)
                case "started":
                    start = START.validate_python(content)
                    parse_candidate(start.candidate)
                    self.stages[start.stage].start(start, event.at)
                case "finished":
                    finish = FINISH.validate_python(content)
                    self.stages[finish.stage].finish(finish, event.at)
                case "lost":
                    finish = FINISH.validate_python(content)
                    self.stages[finish.stage].lose(finish, event.at)
                case _:
                    raise KeyError(event.kind)
        except _OF_DAMAGE as error:
            raise InvalidInput(f"the event at {position} ({event.kind}) is damaged") from error
        self.position = position

    def refuse_damage(self, where: object) -> None:
        """`InvalidInput` where what could not be read is more than a point of a learning curve.

        A command that adds to the log must know all of it.
        """
        missing = [name for name in self.damaged if not name.endswith("(reported)")]
        if missing:
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            raise InvalidInput(
                f"{where}: {', '.join(missing[:_MOST_NAMED])}{more} cannot be read: damaged, or"
                " written by another version of dynamoe_search. Restore a copy of the log, or use"
                " that version, or begin a study with another --name. The other results can be"
                " read as they are; to train a damaged one (finished) again, remove it from the log"
            )

    def _take_study_file(self, content: dict[str, Any]) -> None:
        if content["format"] != FORMAT:
            raise KeyError("format")
        # By way of JSON, where pydantic is strict about values and lets tables be dataclasses.
        study_file = StudyFile.model_validate_json(json.dumps(content["study_file"]))
        shape = _SHAPE.validate_python(content["shape"]) if "shape" in content else self.shape
        changes = _SENTENCES.validate_python(content.get("changes", []))
        self.study_file, self.shape = study_file, shape
        self.data = str(content.get("data", self.data))
        if changes:
            self.changes.append({"after_runs": len(self.search.runs), "changes": changes})


def catch_up(
    log: Log,
    state: State,
    follow: Callable[[int, Event], None] = lambda position, event: None,
) -> None:
    """Read what is new in a log; what is damaged is left out, and noted.

    Parameters
    ----------
    log : Log
    state : State
        Of the study; each new event is applied to it.
    follow : callable
        Called with the position and the event after each event that was applied.
    """
    for position, event in log.read(state.position):
        try:
            state.apply(position, event)
        except InvalidInput:
            state.position = position
            state.damaged.append(f"{log.name_of(position)} ({event.kind})")
        else:
            follow(position, event)


def give_up_dead(log: Log, progress: Progress, is_dead: Callable[[str], bool]) -> None:
    """Record that the runs of dead workers are lost, so that they are tried again.

    Parameters
    ----------
    log : Log
    progress : Progress
        Of the stage, as it was last read; it is not brought up to date here.
    is_dead : callable
        Whether a worker, by its name, is dead.
    """
    for run in progress.running.values():
        if is_dead(run.start.worker):
            with suppress(Refused):  # its end was recorded in the meantime
                log.append(lost(run.start, "died"))


def begun(study_file: StudyFile, data: str, shape: DataShape | None = None) -> Event:
    """The event that a study begins; the log refuses a second one."""
    content = {"format": FORMAT, "study_file": _dump(study_file), "data": data}
    if shape is not None:
        content["shape"] = asdict(shape)
    return Event("begun", content, "begun")


def changed(study_file: StudyFile, changes: list[str]) -> Event:
    """The event that a study goes on with another study file; `changes` says what was allowed."""
    content = {"format": FORMAT, "study_file": _dump(study_file), "changes": changes}
    return Event("changed", content)


def _dump(study_file: StudyFile) -> dict[str, Any]:
    return study_file.model_dump(mode="json", exclude_unset=True)
