"""A log in the tables of an SQLite file or a PostgreSQL database, which hold many studies."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing
from dynamoe_search.log.events import (
    SECONDS_TO_WAIT_FOR_A_WRITER,
    Event,
    Log,
    Refused,
    damaged,
    not_the_same,
    seal,
    unseal,
)
from dynamoe_search.log.lock import beside, fingerprint, held
from dynamoe_search.log.opened import OpenedFile

_PAGES_BETWEEN_SYNCS = 16  # a training run writes about as many
_POSTGRESQL = (
    f"-c lock_timeout={SECONDS_TO_WAIT_FOR_A_WRITER}s"
    # A writer that is stopped within an append is thrown out before the others give up.
    " -c idle_in_transaction_session_timeout=10s"
    # The server notices within a minute that a client is gone from the network.
    " -c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=5"
)
_SECONDS_BETWEEN_TRIES = 0.05

_tables = sa.MetaData()
_events = sa.Table(
    "dynamoe_events",
    _tables,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("study", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),  # JSON, which PostgreSQL would deny a NaN
    sa.Column("key", sa.Text),
    sa.Column("at", sa.Double, nullable=False),
    sa.UniqueConstraint("study", "key"),
    sa.Index("dynamoe_events_in_order", "study", "number"),
)
_heartbeats = sa.Table(
    "dynamoe_heartbeats",
    _tables,
    sa.Column("study", sa.Text, primary_key=True),
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)


def sqlite_engine(file: Path) -> sa.Engine:
    """Connect to an SQLite file, which exists, and may be read-only."""
    writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)

    def connect() -> sqlite3.Connection:
        if writable:
            return _connect(file, "rw")
        # Even to read, SQLite needs files beside it, which are there as long as there is a writer.
        if file.with_name(file.name + "-wal").exists():
            with suppress(sqlite3.OperationalError):  # it has just ended
                return _connect(file, "ro")
        return _connect(file, "ro&immutable=1")

    pool = sa.QueuePool if writable else sa.NullPool  # to look each time whether there is one
    return sa.create_engine("sqlite://", creator=connect, poolclass=pool)


def postgresql_engine(url: sa.URL) -> sa.Engine:
    """Connect to a PostgreSQL database; `InvalidInput` where its driver is not installed."""
    url, arguments = url.set(drivername="postgresql+psycopg"), {"options": _POSTGRESQL}
    try:
        return sa.create_engine(url, connect_args=arguments, pool_pre_ping=True)
    except ImportError:
        raise InvalidInput(
            "PostgreSQL needs its driver; install the extra:"
            " pip install 'dynamoe-search[postgresql]'"
        ) from None


class SqlLog(Log):
    """The log of one study in a database; `file` is that of SQLite, None for PostgreSQL."""

    def __init__(self, engine: sa.Engine, study: str, file: Path | None = None) -> None:
        self._engine, self._study, self._file = engine, study, file
        self._opened = None if file is None else OpenedFile(file, self._rescue)
        # A process that is stopped between two statements leaves no transaction open.
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")

    def begin(self) -> None:
        """Make the tables where they are missing, and see that they can be written."""
        if self._file is not None:
            lock = self._file.with_name(f".{self._file.name}.begin.lock")
            # One at a time: the others would fail at once instead of waiting.
            with held(lock, SECONDS_TO_WAIT_FOR_A_WRITER), self._single.connect() as connection:
                connection.execute(sa.text("PRAGMA journal_mode = WAL"))
        with self._engine.begin() as connection:
            if self._file is None:
                self._wait_for_others(connection, "tables")
            else:
                connection.execute(sa.text("BEGIN IMMEDIATE"))
            _tables.create_all(connection)

    def has_begun(self) -> bool:
        """Whether the database holds an event of the study."""
        mine = sa.select(_events.c.number).where(_events.c.study == self._study).limit(1)
        if not self._has_events():
            return False
        with self._single.connect() as connection:
            return connection.scalar(mine) is not None

    def studies(self) -> list[str]:
        """The names of all studies in the database, in the order of their first events."""
        if not self._has_events():
            return []
        names = sa.select(_events.c.study).group_by(_events.c.study)
        with self._single.connect() as connection:
            return list(connection.scalars(names.order_by(sa.func.min(_events.c.number))))

    def studies_of_version_0_1(self) -> list[str]:
        """The names of all studies in the tables of version 0.1, which were Optuna's."""
        if not {"studies", "trials"} <= set(sa.inspect(self._single).get_table_names()):
            return []
        with self._single.connect() as connection:
            return list(connection.scalars(sa.text("SELECT study_name FROM studies")))

    def append(self, *events: Event) -> None:
        """Append in one statement."""
        study = {"study": self._study}
        rows = [study | vars(event) | {"content": seal(event.content)} for event in events]
        if not rows:
            return
        self._check()
        insert = sa.insert(_events).values(rows)
        try:
            if self._file is not None:
                with self._single.connect() as connection:
                    connection.execute(insert)
            else:
                with self._engine.begin() as connection:
                    # Else a number may be committed after a greater one, and readers miss it.
                    self._wait_for_others(connection, f"append {self._study}")
                    connection.execute(insert)
        except IntegrityError as error:
            raise Refused.because_of(self._study, events) from error
        self._check()

    def read(self, since: int = 0) -> list[tuple[int, Event]]:
        """The events with a greater number."""
        row = _events.c
        query = sa.select(row.number, row.kind, row.content, row.key, row.at)
        query = query.where(row.study == self._study, row.number >= since).order_by(row.number)
        with self._single.connect() as connection:
            rows = list(connection.execute(query))
        self._check()
        if since and (not rows or rows.pop(0).number != since):
            raise not_the_same(self._file or self._engine.url.database)
        return [
            (number, Event(kind, _content(content), key, at))
            for number, kind, content, key, at in rows
        ]

    def name_of(self, position: int) -> str:
        """The event with that number."""
        return f"event {position}"

    @contextmanager
    def exclusive(self, section: str, seconds: float) -> Iterator[bool]:
        """Hold the lock on a file beside SQLite's, or an advisory lock of PostgreSQL."""
        if self._file is not None:
            path = beside(self._file, self._study, f"{section}.lock")
            with held(path, seconds) as entered:
                yield entered
            return
        lock, deadline = _number(f"{section} {self._study}"), time.monotonic() + seconds
        with self._single.connect() as connection:
            while not (entered := connection.scalar(sa.func.pg_try_advisory_lock(lock))):
                if time.monotonic() > deadline:
                    break
                time.sleep(_SECONDS_BETWEEN_TRIES)
            try:
                yield bool(entered)
            finally:
                if entered:
                    with suppress(SQLAlchemyError):  # a server that is gone holds no lock
                        connection.scalar(sa.func.pg_advisory_unlock(lock))

    def beat(self, worker: str, count: int) -> None:
        """Change a row, and remove those that have expired."""
        row = _heartbeats.c
        mine = {"study": self._study, "worker": worker}
        with self._single.connect() as connection:
            now = connection.scalars(sa.select(sa.func.now())).one()
            beat = {"count": count, "at": now}
            change = sa.update(_heartbeats).filter_by(**mine).values(beat)
            if connection.execute(change).rowcount == 0:
                connection.execute(sa.insert(_heartbeats).values(mine | beat))
            expired = row.at < now - timedelta(days=1)
            connection.execute(sa.delete(_heartbeats).where(expired))

    def heartbeats(self) -> dict[str, int]:
        """The rows of this study."""
        row = _heartbeats.c
        query = sa.select(row.worker, row.count).where(row.study == self._study)
        with self._single.connect() as connection:
            return dict(connection.execute(query).all())

    def forget(self, worker: str) -> None:
        """Delete a row."""
        mine = sa.delete(_heartbeats).filter_by(study=self._study, worker=worker)
        with self._single.connect() as connection:
            connection.execute(mine)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _check(self) -> None:
        if self._opened is not None:
            self._opened.check()

    def _rescue(self, path: Path) -> None:
        """Copy the database, which can be read as long as it is open."""
        with (
            replacing(path) as kept,
            closing(sqlite3.connect(kept)) as copy,
            self._single.connect() as connection,
        ):
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            source.backup(copy)

    def _has_events(self) -> bool:
        return sa.inspect(self._single).has_table(_events.name)

    @staticmethod
    def _wait_for_others(connection: sa.Connection, what: str) -> None:
        connection.scalar(sa.func.pg_advisory_xact_lock(_number(what)))


def _content(text: object) -> dict[str, Any]:
    try:
        if not isinstance(text, str):  # SQLite takes anything
            raise ValueError("it is no text")
        return unseal(text)
    except ValueError as error:
        return damaged(error)


def _number(lock: str) -> int:
    return int.from_bytes(fingerprint(f"dynamoe_search {lock}"), signed=True)


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.as_uri()}?mode={mode}",
        uri=True,
        timeout=SECONDS_TO_WAIT_FOR_A_WRITER,
        check_same_thread=False,  # the pool takes care of it
    )
    # A process that is killed loses nothing; a machine without power, about a training run.
    connection.execute("PRAGMA synchronous = NORMAL")
    # A text that is damaged is noticed by its checksum.
    connection.text_factory = _text
    connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_BETWEEN_SYNCS}")
    return connection


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
