"""Several processes on one log, some of which are killed or stopped, on a log of each kind."""

import itertools
import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from dynamoe_search.log import jsonlines, sql
from dynamoe_search.log.events import Event, Log, Refused
from dynamoe_search.log.jsonlines import JsonLinesLog
from dynamoe_search.log.storage import LOG_ERRORS, Storage, open_log, reason_of, storage_of
from tests.fixtures import Server
from tests.processes import (
    SECONDS_TO_WAIT,
    another_process,
    context,
    freeze_before,
    is_frozen,
    replace,
    wait_for,
)

ROUNDS = 150


def race(storage: Storage, name: str, rounds: Any) -> None:
    """Try to record each result at the same moment as another process does."""
    with open_log(storage, create=True) as log:
        for number in range(ROUNDS):
            rounds.wait()
            finished = Event("finished", {"by": name}, f"finished search 8-6-4-2 {number}")
            try:
                log.append(Event("before", {"by": name, "number": number}), finished)
            except Refused:
                log.append(Event("refused", {"by": name, "number": number}))


@pytest.mark.slow
def test_of_two_writers_of_one_key_one_wins(storage: Storage, log: Log) -> None:
    rounds = context.Barrier(2, timeout=SECONDS_TO_WAIT)
    with (
        another_process(race, storage, "one", rounds) as one,
        another_process(race, storage, "other", rounds) as other,
    ):
        for process in (one, other):
            process.join()
            assert process.exitcode == 0
    events = [event for _, event in log.read()]
    by_kind = {kind: [e for e in events if e.kind == kind] for kind in ("finished", "refused")}
    keys = Counter(event.key for event in by_kind["finished"])
    assert keys == {f"finished search 8-6-4-2 {number}": 1 for number in range(ROUNDS)}
    winners = {event.key.split()[-1]: event.content["by"] for event in by_kind["finished"]}
    losers = {str(event.content["number"]): event.content["by"] for event in by_kind["refused"]}
    assert len(by_kind["refused"]) == len(losers) == ROUNDS
    assert all(winners[number] != losers[number] for number in winners)
    # What was refused has left nothing: each result has come with what was appended before it.
    assert [event.content["by"] for event in events if event.kind == "before"] == [
        event.content["by"] for event in by_kind["finished"]
    ]


def begin(storage: Storage, start: Any) -> None:
    start.wait()
    with open_log(storage, create=True) as log:
        try:
            log.append(Event("begun", {}, "begun"))
        except Refused:
            log.append(Event("joined", {}))


@pytest.mark.slow
def test_of_those_who_begin_a_study_at_once_one_has_begun_it(
    request: pytest.FixtureRequest, storage: Storage, tmp_path: Path
) -> None:
    for number in range(10):
        if storage.kind == "postgresql":
            database = request.getfixturevalue("server").new_database()
            storage = storage_of(tmp_path, database)
        else:
            storage = changed(storage, file=tmp_path / f"log {number}")
        start = context.Barrier(3, timeout=SECONDS_TO_WAIT)
        processes = [context.Process(target=begin, args=(storage, start)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        with open_log(storage, create=False) as log:
            events = [event.kind for _, event in log.read()]
            assert sorted(events) == ["begun", "joined", "joined"]


def write(storage: Storage, name: str, count: int) -> None:
    """Append one to three events at a time, numbered through."""
    chance, numbers = random.Random(name), itertools.count()
    with open_log(storage, create=True) as log:
        for _ in range(count):
            size = chance.randint(1, 3)
            log.append(*(numbered(name, next(numbers), size, part) for part in range(size)))


def numbered(name: str, number: int, size: int, part: int, weight: int = 0) -> Event:
    content = {"by": name, "number": number, "part": [part, size], "weight": "x" * weight}
    return Event("started", content)


def assert_whole(events: list[Event]) -> None:
    """Each writer's events are there without a gap, in its order, and none of them in part."""
    numbers: dict[str, int] = {}
    rest = iter(events)
    for event in rest:
        name, (part, size) = event.content["by"], event.content["part"]
        assert part == 0
        for other in range(1, size):
            event = next(rest)
            assert event.content["by"] == name
            assert event.content["part"] == [other, size]
        numbers[name] = numbers.get(name, 0) + size
        assert event.content["number"] == numbers[name] - 1


class Reader:
    """Follows a log in a thread of its own."""

    def __init__(self, storage: Storage) -> None:
        self.events: list[tuple[int, Event]] = []
        self.error: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(storage,))

    def _follow(self, storage: Storage) -> None:
        try:
            with open_log(storage, create=True) as log:
                last = False
                while not last:
                    last = self._ended.is_set()
                    self.events += log.read(self.events[-1][0] if self.events else 0)
        except BaseException as error:
            self.error = error

    @contextmanager
    def following(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()
        assert self.error is None


@pytest.mark.slow
def test_readers_miss_nothing_while_others_write(storage: Storage, log: Log) -> None:
    readers = [Reader(storage), Reader(storage)]
    names = ("one", "two", "three", "four")
    with readers[0].following(), readers[1].following():
        processes = [context.Process(target=write, args=(storage, name, 150)) for name in names]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
    found = log.read()
    assert {event.content["by"] for _, event in found} == set(names)
    assert_whole([event for _, event in found])
    assert readers[0].events == readers[1].events == found


def write_for_ever(storage: Storage, name: str, weight: int) -> None:
    write = os.write
    replace("os.write", lambda file, line: write(file, line[:1]))  # which takes its time
    numbers = itertools.count()
    with open_log(storage, create=True) as log:
        while True:
            log.append(*(numbered(name, next(numbers), 2, part, weight) for part in range(2)))


@pytest.mark.slow
def test_writers_killed_in_the_middle_of_an_append(storage: Storage, log: Log) -> None:
    chance, unfinished, reader = random.Random(0), 0, Reader(storage)
    # The lines of a file are long, so that writers are killed in the middle of one.
    weight = 20_000 if storage.kind == "jsonl" else 500
    with reader.following():
        for name in map(str, range(8)):
            with (
                another_process(write_for_ever, storage, name, weight) as one,
                another_process(write_for_ever, storage, f"{name} too", weight) as other,
            ):
                wait_for(lambda name=name: any(is_by(name, event) for event in reader.events[-99:]))
                time.sleep(chance.uniform(0, 0.05))
                one.kill()
                other.kill()
            if storage.kind == "jsonl":
                unfinished += not storage.file.read_bytes().endswith(b"\n")
            # It can be written at once, and without a result that is there already.
            log.append(Event("after", {}, name))
            with pytest.raises(Refused):
                log.append(Event("after", {}, name))
    found = log.read()
    assert reader.events == found
    assert [event.key for _, event in found if event.kind == "after"] == [*map(str, range(8))]
    assert_whole([event for _, event in found if event.kind != "after"])
    if storage.kind == "jsonl":
        assert unfinished > 0


def is_by(name: str, event: tuple[int, Event]) -> bool:
    return event[1].content.get("by", "").startswith(name)


def hold(storage: Storage, then: signal.Signals) -> None:
    with open_log(storage, create=True) as log, log.exclusive("claim", 60) as entered:
        assert entered
        log.append(Event("entered", {}))
        os.kill(os.getpid(), then)
        time.sleep(1e6)


@pytest.mark.slow
def test_a_holder_that_is_stopped_does_not_stop_others(storage: Storage, log: Log) -> None:
    with another_process(hold, storage, signal.SIGSTOP) as holder:
        wait_for(lambda: log.read() and is_frozen(holder.pid))
        with log.exclusive("claim", 0.2) as entered:
            assert not entered
            log.append(Event("finished", {}))
        assert [event.kind for _, event in log.read()] == ["entered", "finished"]


def test_a_holder_that_is_killed_leaves_at_once(storage: Storage, log: Log) -> None:
    with another_process(hold, storage, signal.SIGKILL) as holder:
        wait_for(log.read)
        holder.join()
    # A server has to hear of it from the system.
    with log.exclusive("claim", 10 if storage.kind == "postgresql" else 0) as entered:
        assert entered


def freeze_in_append(storage: Storage, before: str) -> None:
    """Stop in the middle of an append; a server throws it out after a second."""
    settings = sql._POSTGRESQL.replace("session_timeout=10s", "session_timeout=1s")
    assert settings != sql._POSTGRESQL
    replace("dynamoe_search.log.sql._POSTGRESQL", settings)
    with open_log(storage, create=True) as log:
        freeze_before(before)
        log.append(Event("frozen", {}, "key"))


def test_a_writer_that_is_stopped_on_a_server_is_thrown_out(server: Server) -> None:
    storage = Storage("postgresql", "first", server=make_url(server.new_database()))
    with (
        open_log(storage, create=True) as log,
        another_process(freeze_in_append, storage, "sqlalchemy.insert") as writer,
    ):
        wait_for(lambda: is_frozen(writer.pid))
        log.append(Event("finished", {}, "key"))
        os.kill(writer.pid, signal.SIGCONT)
        writer.join()
        assert writer.exitcode == 1
        assert [event.kind for _, event in log.read()] == ["finished"]


def ends_when_continued(process: Any) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
    return not process.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["key", "another"])
@pytest.mark.parametrize("before", ["os.write", "os.pread", "os.fsync"])
def test_a_writer_that_is_stopped_in_a_file_of_lines_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, key: str
) -> None:
    monkeypatch.setattr(jsonlines, "SECONDS_TO_WAIT_FOR_A_TURN", 0.2)
    storage = Storage("jsonl", "first", tmp_path / "log")
    with open_log(storage, create=True) as log, open_log(storage, create=True) as reader:
        log.append(Event("started", {}))
        with another_process(freeze_in_append, storage, before) as writer:
            wait_for(lambda: is_frozen(writer.pid))
            # Others go on without it.
            others = [Event("other", {"number": number}, f"other {number}") for number in range(3)]
            log.append(*others[:2])
            open_log(storage, create=True).append(others[2])
            if before == "os.fsync":
                with pytest.raises(Refused):  # its event is there already
                    log.append(Event("finished", {}, "key"))
            else:
                log.append(Event("finished", {}, key))
            seen = reader.read()
            # It stops again where it tries again.
            wait_for(lambda: ends_when_continued(writer))
        events = log.read()
        # Readers saw nothing that is not there now, and all see the same.
        assert events[: len(seen)] == seen
        assert events == reader.read() == JsonLinesLog(storage.file, "first").read()
        assert events[len(seen) :] == reader.read(seen[-1][0])
    kinds = ["started", "other", "other", "other", "finished"]
    if before == "os.fsync":
        kinds = ["started", "frozen", "other", "other", "other"]
    elif key == "another":
        kinds += ["frozen"]
    assert [event.kind for _, event in events] == kinds
    # It was told that another has come first.
    assert writer.exitcode == (before != "os.fsync" and key == "key")


def begin_to_write(file: Path) -> None:
    """Stop with SQLite's lock on the file."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_writer_that_is_stopped_in_an_sqlite_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "SECONDS_TO_WAIT_FOR_A_WRITER", 0.2)
    storage = Storage("sqlite", "first", tmp_path / "log")
    with open_log(storage, create=True) as log:
        log.append(Event("started", {}))
        with another_process(begin_to_write, storage.file) as writer:
            wait_for(lambda: is_frozen(writer.pid))
            with pytest.raises(LOG_ERRORS) as raised:
                log.append(Event("finished", {}))
            assert re.search("database is locked", reason_of(raised.value, storage))
            assert [event.kind for _, event in log.read()] == ["started"]
            # It is enough to end it: the system frees what it holds.
            writer.kill()
            writer.join()
        log.append(Event("finished", {}))
        assert [event.kind for _, event in log.read()] == ["started", "finished"]


def stop_between_two_statements(storage: Storage) -> None:
    with open_log(storage, create=True) as log:
        freeze_before("dynamoe_search.log.opened.OpenedFile.check")
        log.append(Event("frozen", {}))


def test_between_two_statements_an_sqlite_file_is_free(tmp_path: Path) -> None:
    storage = Storage("sqlite", "first", tmp_path / "log")
    with open_log(storage, create=True) as log:
        with another_process(stop_between_two_statements, storage) as writer:
            for _ in range(2):  # before it has written, and after that
                wait_for(lambda: is_frozen(writer.pid))
                log.append(Event("finished", {}))
                os.kill(writer.pid, signal.SIGCONT)
                time.sleep(0.2)
            writer.join()
            assert writer.exitcode == 0
        assert [event.kind for _, event in log.read()] == ["finished", "frozen", "finished"]
