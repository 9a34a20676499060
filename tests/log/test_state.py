"""What the events of a study add up to, against counting them one by one."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event, Refused
from dynamoe_search.log.runs import (
    FINISH,
    START,
    Finish,
    RunResult,
    Start,
    finished,
    lost,
    reported,
    started,
)
from dynamoe_search.log.state import FORMAT, Progress, State, catch_up
from dynamoe_search.training.settings import MOST_SEEDS
from tests.search.driver import MemoryLog

FINAL = ("complete", "pruned", "diverged", "out of memory", "error")
KEYS = [(candidate, block) for candidate in ("2-1", "1-2") for block in (0, 1)]


def seeds_of(block: int) -> tuple[int, int]:
    return 2 * block, 2 * block + 1


class History:
    """Events as they may come about, by odd choices; and what follows from them, counted plainly.

    A run starts again after its last attempt was lost; or in the moment after a late result, which
    whoever started it had not read. Whatever was started may end, also after it was thought lost.
    """

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.starts: list[Start] = []
        self.at: list[float] = []
        self.interrupted: set[int] = set()
        self.now = 1000.0

    def add(self, *events: Event) -> bool:
        before = len(self.log.events)
        try:
            self.log.append(*events)
        except Refused:
            return False
        self.log.events[before:] = [replace(one, at=self.now) for one in self.log.events[before:]]
        return True

    def act(self, what: str, pick: int, kind: int, seconds: float) -> None:
        self.now += seconds
        if what == "start":
            self.start(pick, session="ab"[kind % 2])
        elif self.starts:
            start = self.starts[pick % len(self.starts)]
            if start.number in self.interrupted:
                return  # by its own worker, which does not go on
            if what == "finish":
                state = FINAL[kind % len(FINAL)]
                if state == "pruned" and not start.prunable:
                    state = "complete"
                results = [RunResult(float(kind), validation_loss=float(pick + i)) for i in (0, 1)]
                self.add(finished(start, state, results, "so it ended"))  # type: ignore[arg-type]
            elif kind % 2:
                self.add(lost(start, "died"))
            elif self.add(lost(start, "interrupted")):
                self.interrupted.add(start.number)

    def start(self, pick: int, session: str) -> None:
        candidate, block = KEYS[pick % len(KEYS)]
        attempts = [start for start in self.starts if start.key == (candidate, block)]
        progress = self.count()
        may_start = not attempts or (candidate, block) in progress.retries
        if may_start or (candidate, block) in self.results():
            start = Start(
                *("search", candidate, block, len(attempts), seeds_of(block), "worker", session),
                number=len(self.starts),
                prunable=block == 0,
            )
            self.add(started(start))
            self.starts.append(start)
            self.at.append(self.now)

    def results(self) -> dict[tuple[str, int], Finish]:
        events = [event for event in self.log.events if event.kind == "finished"]
        ends = [FINISH.validate_python(event.content) for event in events]
        return {(end.candidate, end.block): end for end in ends}

    def count(self) -> Progress:
        state = State()
        catch_up(self.log, state)  # type: ignore[arg-type]
        return state.search


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "finish", "finish", "lose"]),
        st.integers(0, 11),
        st.integers(0, 9),
        st.floats(-2.0, 20.0),
    ),
    max_size=40,
)


def history_of(actions: Sequence[tuple[str, int, int, float]]) -> History:
    history = History()
    for action in actions:
        history.act(*action)
    return history


@pytest.mark.slow
@settings(max_examples=150)
@given(ACTIONS)
def test_the_state_is_what_the_events_add_up_to(
    actions: Sequence[tuple[str, int, int, float]],
) -> None:
    history = history_of(actions)
    progress, starts = history.count(), history.starts
    ends = history.results()
    states = plain_states(history)
    assert [run.start for run in progress.runs] == starts
    assert [run.number for run in progress.runs] == list(range(len(starts)))
    assert [run.state for run in progress.runs] == states
    assert [run.started for run in progress.runs] == history.at

    # Each candidate and block has its results once, one for each seed, whatever else was tried.
    complete = {key: end for key, end in ends.items() if end.state == "complete"}
    found = {(c, b): r for c, blocks in progress.results.items() for b, r in blocks.items()}
    assert found.keys() == complete.keys()
    assert all(found[key] == end.results for key, end in complete.items())
    assert all(len(of_seeds) == 2 for of_seeds in found.values())
    assert progress.flops == sum(one.training_flops for end in ends.values() for one in end.results)
    for candidate in progress.results:
        losses = [
            one.validation_loss
            for (name, _), end in complete.items()
            if name == candidate
            for one in end.results
        ]
        mean = progress.means(["validation_loss"])[candidate]["validation_loss"]
        assert mean == pytest.approx(sum(losses) / len(losses))

    # Each key that was started is done, under way, or to be tried again.
    by_key = {start.key: [] for start in starts}
    for start, state in zip(starts, states, strict=True):
        by_key[start.key].append((start.session, state))
    running = {key for key, all_of in by_key.items() if "running" in [s for _, s in all_of]}
    killers = {
        key
        for key, all_of in by_key.items()
        if key not in ends
        and key not in running
        and max(Counter(session for session, s in all_of if s == "died").values(), default=0) > 1
    }
    assert progress.done == ends.keys() | killers
    assert progress.finished == len(ends.keys() | killers)
    assert progress.given_up == killers
    assert set(progress.retries) == by_key.keys() - running - progress.done
    assert {run.start.key for run in progress.running.values()} == running
    assert [run.number for run in progress.running.values()] == [
        number for number, state in enumerate(states) if state == "running"
    ]
    for candidate in ("2-1", "1-2"):
        taken = {block for name, block in running | progress.done if name == candidate}
        assert progress.taken.get(candidate, set()) == taken
        assert progress.first_free_block(candidate) == min({0, 1, 2} - taken)
    assert progress.pruned == {
        candidate
        for candidate, block in by_key
        if block == 0
        and (
            (candidate, 0) in running or getattr(ends.get((candidate, 0)), "state", "") == "pruned"
        )
    }
    assert progress.seconds == pytest.approx(plain_seconds(history, states), abs=1e-6)


def plain_states(history: History) -> list[str]:
    """The state of each attempt, by the rules as they are written."""
    states = ["running"] * len(history.starts)
    number_of = {(start.key, start.attempt): i for i, start in enumerate(history.starts)}
    done: set[tuple[str, int]] = set()
    for event in history.log.events:
        key = event.content["candidate"], event.content["block"]
        number = number_of[key, event.content["attempt"]]
        if event.kind == "started" and key in done:
            states[number] = "superseded"
        elif event.kind == "finished":
            done.add(key)
            for other, start in enumerate(history.starts):
                if start.key == key and start.attempt <= latest(history, event, key):
                    states[other] = "superseded" if states[other] == "running" else states[other]
            states[number] = event.content["state"]
        elif event.kind == "lost" and states[number] == "running":
            states[number] = event.content["state"]
    return states


def latest(history: History, until: Event, key: tuple[str, int]) -> int:
    """The last attempt that had been started before an event."""
    before = history.log.events[: history.log.events.index(until)]
    starts = [START.validate_python(one.content) for one in before if one.kind == "started"]
    return max(start.attempt for start in starts if start.key == key)


def plain_seconds(history: History, states: Sequence[str]) -> float:
    """The length of the union of the intervals, piece by piece."""
    number_of = {(start.key, start.attempt): i for i, start in enumerate(history.starts)}
    intervals = []
    for event in history.log.events:
        content = event.content
        number = number_of[(content["candidate"], content["block"]), content["attempt"]]
        interrupted = event.kind == "lost" and content["state"] == "interrupted"
        if event.kind == "finished" or (interrupted and states[number] == "interrupted"):
            intervals.append((history.at[number], max(event.at, history.at[number])))
    points = sorted({point for interval in intervals for point in interval})
    return sum(
        end - begin
        for begin, end in pairwise(points)
        if any(low <= begin and end <= high for low, high in intervals)
    )


@settings(max_examples=60)
@given(ACTIONS, st.lists(st.integers(0, 40), max_size=4))
def test_it_does_not_matter_how_often_the_log_is_read(
    actions: Sequence[tuple[str, int, int, float]], cuts: list[int]
) -> None:
    log = history_of(actions).log
    at_once = State()
    catch_up(log, at_once)  # type: ignore[arg-type]
    in_pieces = State()
    seen: list[int] = []
    for cut in [*sorted(cuts), len(log.events)]:
        catch_up(log.until(cut), in_pieces, lambda position, event: seen.append(position))  # type: ignore[arg-type]
    assert in_pieces == at_once
    assert seen == list(range(1, len(log.events) + 1))
    # Means that were asked for in between do not linger.
    asked = State()
    for position, event in log.read():
        asked.apply(position, event)
        asked.search.means(["validation_loss"])
    assert asked.search.means(["validation_loss"]) == at_once.search.means(["validation_loss"])


def start_of(number: int = 0, candidate: str = "2-1", attempt: int = 0, **of: object) -> Start:
    return replace(
        Start("search", candidate, 0, attempt, (7, 8), "w", "a"),
        number=number,
        **of,  # type: ignore[arg-type]
    )


def progress_of(*events: tuple[Event, float]) -> Progress:
    state = State()
    for position, (event, at) in enumerate(events, start=1):
        state.apply(position, replace(event, content=json.loads(json.dumps(event.content)), at=at))
    return state.search


def test_a_late_result_counts_and_the_second_attempt_is_superseded() -> None:
    first, second = start_of(), start_of(1, attempt=1)
    progress = progress_of(
        (started(first), 0.0),
        (lost(first, "died"), 5.0),
        (started(second), 6.0),
        (finished(first, "complete", [RunResult(3.0, validation_loss=x) for x in (0.5, 0.6)]), 8.0),
    )
    assert [run.state for run in progress.runs] == ["complete", "superseded"]
    assert progress.runs[0].message == ""
    assert not progress.running
    assert not progress.retries
    assert progress.seconds == 8.0
    assert [one.validation_loss for one in progress.results["2-1"][0]] == [0.5, 0.6]
    assert progress.flops == 6.0
    assert progress.ended == [0, 1]


def test_an_attempt_that_starts_after_the_result_is_superseded_at_once() -> None:
    first, second = start_of(), start_of(1, attempt=1)
    progress = progress_of(
        (started(first), 0.0),
        (lost(first, "died"), 5.0),
        (finished(first, "complete", BOTH), 8.0),
        (started(second), 9.0),
        (lost(second, "died"), 20.0),
    )
    assert [run.state for run in progress.runs] == ["complete", "superseded"]
    assert not progress.running
    assert not progress.retries
    assert progress.finished == 1


def test_stages_are_apart() -> None:
    state = State()
    one = start_of()
    for position, stage in enumerate(("search", "confirmation"), start=1):
        state.apply(position, started(replace(one, stage=stage)))  # type: ignore[arg-type]
    assert len(state.search.runs) == len(state.stages["confirmation"].runs) == 1
    state.apply(3, finished(replace(one, stage="confirmation"), "complete", BOTH))
    assert state.search.finished == 0
    assert state.stages["confirmation"].finished == 1


def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    one, other = start_of(), start_of(1, "1-2")
    progress = progress_of(
        (started(one), 100.0),
        (finished(one, "complete", BOTH), 110.0),
        (started(other), 120.0),
        (finished(other, "complete", BOTH), 90.0),
    )
    assert progress.seconds == 10.0


def test_results_come_back_to_the_bit() -> None:
    result = RunResult(
        training_flops=1e17 / 3,
        validation_loss=0.1 + 0.2,
        mean_active=(1.1, 2.2),
        measured={"gradient_noise": math.inf},
        tables={"load": [{"layer": 1, "load": 3}]},
        seconds={"training_seconds": 1 / 3},
        versions={"torch": "2.11"},
    )
    start = start_of(parameters={"tilt": 1 / 3}, seen=4, passed_over=2)
    end = finished(start, "complete", [result, RunResult()])
    (run,) = progress_of((started(start), 0.0), (end, 1.0)).runs
    assert run.start == start
    assert run.results == (result, RunResult())
    assert run.results[0].value("gradient_noise") == math.inf
    assert math.isnan(run.results[0].value("gini"))


def content_of(event: Event, **changes: object) -> Event:
    return replace(event, content={**event.content, **changes})


BOTH = [RunResult(), RunResult()]
SOME_STUDY = {
    "data": {"name": "digits"},
    "model": {"depth": 2, "width": 8, "hidden": 8},
    "budget": {"experts": 4},
    "router": {"name": "top_k"},
    "search": {"runs": 1},
}
DAMAGED = {
    "no key": replace(started(start_of()), content={"stage": "search"}),
    "no dict": replace(started(start_of()), content=[]),  # type: ignore[arg-type]
    "another stage": content_of(started(start_of()), stage="train"),
    "another state": content_of(finished(start_of(), "complete", BOTH), state="done"),
    "never started": finished(start_of(candidate="9-9"), "complete", BOTH),
    "no such attempt": lost(start_of(attempt=7), "died"),
    "results of text": content_of(finished(start_of(), "complete", BOTH), results="good"),
    "a word for a number": content_of(
        finished(start_of(), "complete", BOTH), results=[{"samples": "no"}, {}]
    ),
    "no results": finished(start_of(), "complete"),
    "a result too few": finished(start_of(), "complete", BOTH[:1]),
    "a result too many": finished(start_of(), "complete", [*BOTH, RunResult()]),
    "too few of a pruned run": finished(start_of(), "pruned", BOTH[:1]),
    "no seeds": content_of(started(start_of(1)), seeds=[]),
    "a seed twice": content_of(started(start_of(1)), seeds=[7, 7]),
    "a seed that is no number": content_of(started(start_of(1)), seeds=[7, "eight"]),
    "more seeds than may be trained at once": content_of(
        started(start_of(1)), seeds=list(range(MOST_SEEDS + 1))
    ),
    "a seed in place of seeds": content_of(started(start_of(1)), seeds=7),
    "no loss": replace(reported(start_of(), 1, 0.5), content={"candidate": "2-1", "block": 0}),
    "another format": Event("begun", {"format": 99, "study_file": {}}),
    "no study file": Event("changed", {"format": FORMAT}),
    "a broken study file": Event("begun", {"format": FORMAT, "study_file": {"seed": "one"}}),
    "no confirmation": Event("confirmation", {"reference": "2-1"}),
    "an unknown kind": Event("renamed", {}),
    "another candidate": content_of(started(start_of(1)), candidate="8-six"),
    "a block below 0": content_of(started(start_of(1)), block=-1),
    "a block too large for a table": content_of(started(start_of(1)), block=2**63),
    "a seed too large for a table": content_of(started(start_of(1)), seeds=[2**63]),
    "an attempt below 0": content_of(finished(start_of(), "complete", BOTH), attempt=-1),
    "proposals without end": content_of(started(start_of(1)), passed_over=10**9),
    "no time": replace(started(start_of(1)), at=math.nan),
    "a time of text": replace(started(start_of(1)), at="now"),  # type: ignore[arg-type]
    "a time beyond the calendar": replace(started(start_of(1)), at=1e300),
    "changes of another kind": Event(
        "changed", {"format": FORMAT, "study_file": SOME_STUDY, "changes": [1]}
    ),
    "a shape of another kind": Event(
        "changed", {"format": FORMAT, "study_file": SOME_STUDY, "shape": {"inputs": "many"}}
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_event_is_named_and_left_out(damage: str) -> None:
    one, other = start_of(), start_of(1, "1-2")
    events, kind = [started(one), DAMAGED[damage], started(other)], DAMAGED[damage].kind
    state, followed = State(), list[int]()
    log = MemoryLog(events)
    catch_up(log, state, lambda position, event: followed.append(position))  # type: ignore[arg-type]
    assert state.damaged == [f"event 2 ({kind})"]
    assert (state.position, followed) == (3, [1, 3])
    without = State()
    catch_up(MemoryLog([events[0], events[2]]), without)  # type: ignore[arg-type]
    assert replace(state, position=2, damaged=[]) == without
    if kind == "reported":
        state.refuse_damage("study.db")  # only pruners read it
    else:
        with pytest.raises(InvalidInput, match=rf"study\.db: event 2 \({kind}\) cannot be read"):
            state.refuse_damage("study.db")
