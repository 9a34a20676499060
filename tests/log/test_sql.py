"""What is particular to SQLite's files and to PostgreSQL's server."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.dialects.sqlite  # noqa: F401 - a user whom a test becomes may not read it
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.storage import Storage, open_log, study_names
from tests.fixtures import Server
from tests.processes import another_process, context, die, wait_for


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage("sqlite", "study", tmp_path / "study.db")


def numbered(number: int) -> Event:
    return Event("finished", {"number": number}, f"finished search 8-6-4-2 {number}")


def numbers_of(storage: Storage) -> list[int]:
    with open_log(storage, create=False) as log:
        return [event.content["number"] for _, event in log.read()]


def visible_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_after_the_end_all_is_in_the_one_file(storage: Storage, tmp_path: Path) -> None:
    with open_log(storage, create=True) as log, open_log(storage, create=True) as other:
        for number in range(5):
            (log if number % 2 else other).append(numbered(number))
        assert visible_in(tmp_path) == ["study.db", "study.db-shm", "study.db-wal"]
    assert visible_in(tmp_path) == ["study.db"]
    shutil.copy(tmp_path / "study.db", tmp_path / "copy.db")
    assert numbers_of(replace(storage, file=tmp_path / "copy.db")) == [*range(5)]
    assert visible_in(tmp_path) == ["copy.db", "study.db"]


def test_what_the_one_file_lacks_meanwhile_is_about_a_training_run(
    storage: Storage, tmp_path: Path
) -> None:
    with open_log(storage, create=True) as log:
        for number in range(50):
            log.append(Event("started", {}, f"started {number}"))
            log.append(Event("finished", {"weight": "x" * 2000}, f"finished {number}"))
        shutil.copy(tmp_path / "study.db", tmp_path / "copy.db")
    with open_log(replace(storage, file=tmp_path / "copy.db"), create=False) as copy:
        assert len(copy.read()) >= 96


def append_and_die(storage: Storage) -> None:
    log = open_log(storage, create=True)
    for number in range(7):
        log.append(numbered(number))
    die()


def test_a_process_that_is_killed_loses_nothing(storage: Storage, tmp_path: Path) -> None:
    with another_process(append_and_die, storage) as process:
        process.join()
    assert (tmp_path / "study.db-wal").stat().st_size > 0
    assert numbers_of(storage) == [*range(7)]


def test_who_reads_leaves_the_file_as_it_is(storage: Storage, tmp_path: Path) -> None:
    with open_log(storage, create=True) as log:
        log.append(numbered(0))
    with closing(sqlite3.connect(storage.file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.execute("PRAGMA journal_mode = DELETE")
    before = storage.file.read_bytes()
    assert numbers_of(storage) == [0]
    assert study_names(storage) == ["study"]
    assert storage.file.read_bytes() == before
    assert visible_in(tmp_path) == ["study.db"]


@contextmanager
def unable_to_write(folder: Path) -> Iterator[None]:
    """Be a user who can only read a folder."""
    root = os.getuid() == 0
    folder.chmod(0o555)
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o755)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_folder_that_cannot_be_written_can_be_read(folder: Path, kind: str) -> None:
    storage = Storage(kind, "study", folder / "a log? 100%#1")
    with open_log(storage, create=True) as log:
        log.append(numbered(0))
    storage.file.chmod(0o444)
    names = sorted(folder.iterdir())
    with unable_to_write(folder):
        assert numbers_of(storage) == [0]
        assert study_names(storage) == ["study"]
        with pytest.raises(InvalidInput, match=r"cannot be read and written: .*(denied|readonly)"):
            open_log(storage, create=True)
        with pytest.raises(InvalidInput, match="holds no results of other yet"):
            open_log(replace(storage, name="other"), create=False)
    assert sorted(folder.iterdir()) == names


def follow(storage: Storage, read: Any, count: int) -> None:
    """Read as another user, while the log is written, until so many events have been seen."""
    with unable_to_write(storage.file.parent), open_log(storage, create=False) as log:
        events: list[tuple[int, Event]] = []
        while len(events) < count:
            events += log.read(events[-1][0] if events else 0)
            read.value = len(events)
        assert [event.content["number"] for _, event in events] == [*range(count)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_who_cannot_write_sees_what_others_write(folder: Path) -> None:
    storage = Storage("sqlite", "study", folder / "study.db")
    with open_log(storage, create=True) as log:
        log.append(numbered(0))
    read = context.RawValue("i", 0)
    # Now there is a writer, and now there is none; what it has written last may be seen after it.
    with another_process(follow, storage, read, 6) as reader:
        wait_for(lambda: read.value == 1)
        for number in range(1, 6):
            with open_log(storage, create=True) as log:
                log.append(numbered(number))
                if number % 2:
                    wait_for(lambda number=number: read.value > number)
            wait_for(lambda number=number: read.value > number)
        reader.join()
        assert reader.exitcode == 0


def test_a_server_that_was_away_is_found_again(server: Server) -> None:
    storage = Storage("postgresql", "study", server=make_url(server.new_database()))
    with open_log(storage, create=True) as log:
        with log.exclusive("run", 0) as entered:
            assert entered
            log.append(numbered(0))
            server.stop()
            for act in (lambda: log.append(numbered(1)), log.read, lambda: log.beat("a", 1)):
                with pytest.raises(SQLAlchemyError):
                    act()
            server.start()
        log.append(numbered(1))
        with log.exclusive("run", 0) as entered:
            assert entered
    assert numbers_of(storage) == [0, 1]


def enter(storage: Storage) -> None:
    with open_log(storage, create=True) as log, log.exclusive("run", 60) as entered:
        if entered:
            log.append(numbered(0))


def test_a_section_on_a_server_is_free_as_soon_as_it_is_left(server: Server) -> None:
    storage = Storage("postgresql", "study", server=make_url(server.new_database()))
    with open_log(storage, create=True) as log, open_log(storage, create=True) as other:
        for _ in range(50):
            for one in (log, other):
                with one.exclusive("run", 0) as entered:
                    assert entered
        with log.exclusive("run", 0), another_process(enter, storage) as process:
            process.join(0.5)
            assert log.read() == []
            process.kill()


def rows_of(storage: Storage, table: str) -> int:
    with closing(sqlite3.connect(storage.file)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_heartbeats_do_not_grow_with_the_log(storage: Storage) -> None:
    def act(log: Log, numbers: range) -> None:
        for number in numbers:
            log.append(numbered(number))
            log.beat("server-1-0a", number)

    with open_log(storage, create=True) as log:
        act(log, range(30))
        assert rows_of(storage, "dynamoe_heartbeats") == 1
        assert rows_of(storage, "dynamoe_events") == 30
