"""The state of a study is a fold over its events."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event, Refused
from dynamoe_search.log.runs import RunResult, Start, finished, lost, started
from dynamoe_search.log.state import Progress, State, catch_up
from tests.search.driver import MemoryLog

FINAL = ("complete", "pruned", "diverged", "out of memory", "error")
CANDIDATES = ("3-1", "2-2")


def begin(log: MemoryLog, candidate: str, block: int, session: str, prunable: bool) -> None:
    """Start the next attempt at a run, whether or not others are under way."""
    key, starts = (candidate, block), log.starts()
    attempt = sum(one.key == key for one in starts)
    start = Start("search", candidate, block, attempt, 7, "worker", session, number=len(starts))
    log.append(started(replace(start, prunable=prunable)))


@st.composite
def logs(draw: st.DrawFn) -> MemoryLog:
    """Any order of starts, ends and losses, also late, twice, and of the dead; some are refused."""
    log = MemoryLog()
    for _ in range(draw(st.integers(0, 25))):
        starts = log.starts()
        what = draw(st.sampled_from(["start", "finish", "lose"]))
        if what == "start" or not starts:
            candidate, block = draw(st.sampled_from(CANDIDATES)), draw(st.integers(0, 1))
            begin(log, candidate, block, draw(st.sampled_from("ab")), draw(st.booleans()))
            continue
        start = draw(st.sampled_from(starts))
        flops = float(draw(st.integers(0, 5)))
        event = (
            lost(start, draw(st.sampled_from(["died", "interrupted"])))
            if what == "lose"
            else finished(
                start, draw(st.sampled_from(FINAL)), RunResult(flops, validation_loss=1.0)
            )
        )
        try:
            log.append(event)
        except Refused:
            assert event.key in {one.key for one in log.events}
    return log


def folded(log: MemoryLog) -> Progress:
    state = State()
    catch_up(log, state)  # type: ignore[arg-type]
    return state.search


def intervals_of(progress: Progress) -> list[tuple[float, float]]:
    """When runs were under way that count: not of those that died, or were superseded."""
    return [
        (run.started, run.finished)
        for run in progress.runs
        if run.finished is not None and run.state not in ("died", "superseded")
    ]


@given(logs())
@settings(max_examples=300, deadline=None)
def test_what_always_holds(log: MemoryLog) -> None:
    progress = folded(log)
    ends = [event for event in log.events if event.kind == "finished"]
    keys = {(e.content["candidate"], e.content["block"]) for e in ends}
    assert len(keys) == len(ends)  # the log has refused second results
    assert keys == progress.done - progress.given_up
    assert progress.finished == len(progress.done)
    assert progress.flops == sum(e.content["result"]["training_flops"] for e in ends)
    complete = {
        (e.content["candidate"], e.content["block"])
        for e in ends
        if e.content["state"] == "complete"
    }
    assert complete == {(c, b) for c, blocks in progress.results.items() for b in blocks}
    assert [run.number for run in progress.runs] == list(range(len(progress.runs)))
    for run in progress.running.values():
        assert run.state == "running"
        assert progress.runs[run.number] is run
        assert run.start.key not in keys
    for key, run in progress.retries.items():
        assert key not in progress.done
        assert run.state in ("died", "interrupted")
        assert not any(one.start.key == key for one in progress.running.values())
    for key in progress.given_up:
        deaths = [
            r.start.session for r in progress.runs if r.start.key == key and r.state == "died"
        ]
        assert max(map(deaths.count, deaths)) >= 2
    taken = {(c, b) for c, blocks in progress.taken.items() for b in blocks}
    assert taken == progress.done | {one.start.key for one in progress.running.values()}


@given(logs())
@settings(max_examples=200, deadline=None)
def test_time_is_the_union_of_intervals(log: MemoryLog) -> None:
    progress = folded(log)
    moments = sorted({moment for interval in intervals_of(progress) for moment in interval})
    covered = sum(
        after - before
        for before, after in pairwise(moments)
        if any(a <= before and after <= b for a, b in intervals_of(progress))
    )
    assert progress.seconds == pytest.approx(covered)


@given(logs(), st.data())
@settings(max_examples=100, deadline=None)
def test_it_does_not_matter_how_a_log_is_read(log: MemoryLog, data: st.DataObject) -> None:
    state = State()
    for cut in sorted(data.draw(st.lists(st.integers(0, len(log.events)), max_size=4))):
        catch_up(log.until(cut), state)  # type: ignore[arg-type]
    catch_up(log, state)  # type: ignore[arg-type]
    assert state.search == folded(log)


@pytest.mark.parametrize(
    "event",
    [
        Event("begun", {}),
        Event("begun", {"format": 3, "study_file": {"model": 3}}),
        Event("started", {"stage": "search"}),
        Event("started", {"stage": "nowhere"}),
        Event("finished", {"stage": "search", "candidate": "9-9", "block": 0, "attempt": 0}),
        Event("something", {}),
    ],
    ids=lambda event: json.dumps([event.kind, event.content])[:40],
)
def test_a_damaged_event_is_named(event: Event) -> None:
    log = MemoryLog()
    begin(log, "2-2", 0, "a", prunable=False)
    log.append(event)
    state = State()
    message = rf"event 2 of the log \({event.kind}\) is damaged"
    for _ in range(2):  # it is not passed over
        with pytest.raises(InvalidInput, match=message):
            catch_up(log, state)  # type: ignore[arg-type]
    assert state.position == 1
