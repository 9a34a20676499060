"""What holds for a log of each kind, as long as nothing bad happens."""

import math
import os
import time
from dataclasses import replace
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.events import Event, Log, Refused
from dynamoe_search.log.storage import Storage, open_log, study_names

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(["started", "finished"]),
    content=st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    key=st.none() | st.sampled_from([f"finished search 8-6-4-2 {block}" for block in range(9)]),
    at=st.floats(0, 2e9),
)
studies = count()


def numbered(number: int) -> Event:
    return Event("started", {"number": number})


def numbers_of(log: Log, since: int = 0) -> list[int]:
    return [event.content["number"] for _, event in log.read(since)]


@pytest.mark.slow
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_it_holds_what_was_appended(storage: Storage, data: st.DataObject) -> None:
    storage = replace(storage, name=f"{next(studies)}")
    expected: list[Event] = []
    with open_log(storage, create=True) as one, open_log(storage, create=True) as other:
        read: dict[Log, list[tuple[int, Event]]] = {one: [], other: []}
        for log in data.draw(st.lists(st.sampled_from([one, other]), max_size=12)):
            events = data.draw(st.lists(EVENTS, max_size=4))
            keys = [event.key for event in expected + events if event.key is not None]
            if len(set(keys)) < len(keys):
                with pytest.raises(Refused, match="holds an event with this key already"):
                    log.append(*events)
            else:
                log.append(*events)
                expected += events
            reader = data.draw(st.sampled_from([one, other]))
            since = read[reader][-1][0] if read[reader] else 0
            read[reader] += reader.read(since)
            assert [event for _, event in read[reader]] == expected
        assert one.read() == other.read()
        positions = [position for position, _ in one.read()]
        assert positions == sorted(set(positions))
        # Every position that was given out is one to go on from.
        for number, position in enumerate(positions, start=1):
            assert [event for _, event in one.read(position)] == expected[number:]
    if expected:
        with open_log(storage, create=False) as again:
            assert [event for _, event in again.read()] == expected


def test_a_loss_that_is_no_number_is_kept(log: Log) -> None:
    log.append(Event("finished", {"losses": [math.nan, math.inf, -math.inf]}))
    ((_, event),) = log.read()
    assert str(event.content["losses"]) == "[nan, inf, -inf]"


def test_an_event_is_dated_by_its_writer(log: Log) -> None:
    before = time.time()
    log.append(Event("started", {}))
    ((_, event),) = log.read()
    assert before <= event.at <= time.time()


def test_a_key_is_unique_within_a_study(storage: Storage, log: Log) -> None:
    finished = Event("finished", {}, "finished search 8-6-4-2 0")
    log.append(finished)
    with pytest.raises(Refused, match=r"first holds .* finished search 8-6-4-2 0"):
        log.append(numbered(0), Event("finished", {}, finished.key), numbered(1))
    # Nor from another process, that has not read anything; and it is an error that users see.
    with open_log(storage, create=True) as again, pytest.raises(RunFailed):
        again.append(Event("failed", {}, finished.key))
    with open_log(replace(storage, name="second"), create=True) as other:
        other.append(finished)
        assert other.read()[0][1] == finished
    assert [event for _, event in log.read()] == [finished]


def test_studies_in_one_place_do_not_see_each_other(storage: Storage, log: Log) -> None:
    with open_log(replace(storage, name="second"), create=True) as other:
        assert study_names(storage) == []
        for number in range(6):
            (other if number % 3 else log).append(numbered(number))
        assert (numbers_of(log), numbers_of(other)) == ([0, 3], [1, 2, 4, 5])
        assert numbers_of(log, log.read()[0][0]) == [3]
        log.beat("server-1-0a", 1)
        assert other.heartbeats() == {}
        with log.exclusive("claim", 0) as mine, other.exclusive("claim", 0) as its:
            assert mine
            assert its
    assert study_names(storage) == ["first", "second"]


def test_a_section_is_entered_by_one(storage: Storage, log: Log) -> None:
    with open_log(storage, create=True) as other:
        with log.exclusive("claim", 0) as entered:
            assert entered
            with other.exclusive("claim", 0.1) as too, other.exclusive("run", 0) as elsewhere:
                assert not too
                assert elsewhere
            log.append(numbered(0))
        with other.exclusive("claim", 0) as entered:
            assert entered
        with pytest.raises(RunFailed), other.exclusive("claim", 0):
            raise RunFailed("in the middle of it")
        with log.exclusive("claim", 0) as entered:
            assert entered


def test_a_heartbeat_is_one_count(log: Log) -> None:
    for beat in range(3):
        log.beat("server-1-0a", beat)
        log.beat("server-2-0b", 10 * beat)
    assert log.heartbeats() == {"server-1-0a": 2, "server-2-0b": 20}
    log.forget("server-1-0a")
    log.forget("server-1-0a")
    assert log.heartbeats() == {"server-2-0b": 20}
    assert log.read() == []


def age(storage: Storage, log: Log, worker: str, seconds: float) -> None:
    """Make a heartbeat older."""
    if storage.kind == "jsonl":
        (file,) = storage.file.parent.glob(f"*/{worker}")
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime - seconds))
        return
    of_worker = f"dynamoe_heartbeats WHERE worker = '{worker}'"
    earlier = {
        "sqlite": f"datetime(at, '-{seconds} seconds')",
        "postgresql": f"at - interval '{seconds} seconds'",
    }
    table, where = of_worker.split(" ", 1)
    change = f"UPDATE {table} SET at = {earlier[storage.kind]} {where}"
    with log._engine.begin() as connection:
        assert connection.execute(sa.text(change)).rowcount == 1


def test_heartbeats_expire(storage: Storage, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in ("server-1-0a", "server-2-0b", "server-3-0c"):
        log.beat(worker, 7)
    age(storage, log, "server-1-0a", 25 * 3600)
    age(storage, log, "server-2-0b", 23 * 3600)
    # A day on the store's clock: the clock of who beats does not count.
    monkeypatch.setattr(time, "time", lambda: 4e9)
    log.beat("server-3-0c", 8)
    assert log.heartbeats() == {"server-2-0b": 7, "server-3-0c": 8}
