"""Locks that end with the process that holds them: on a file, and in PostgreSQL."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dynamoe_search.errors import RunFailed

# So that the server notices within a minute that whoever holds a lock is gone from the network.
_KEEP_ALIVE = "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=5"
_SECONDS_BETWEEN_TRIES = 0.05


@contextmanager
def file_lock(path: Path, seconds: float | None = None) -> Iterator[None]:
    """Hold a lock on a file; the system releases it however the process ends.

    Parameters
    ----------
    path : Path
        The lock file, made where it does not exist.
    seconds : float, optional
        How long to wait for it; for ever where it is None.

    Raises
    ------
    RunFailed
        Where it was not to be had in time.
    """
    try:
        file = path.open("a")
    except OSError as error:
        raise RunFailed(f"{path} cannot be written: {error.strerror}") from error
    with file:
        if seconds is None:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            _within(seconds, lambda: take_if_free(file.fileno()), str(path))
        yield


def take_if_free(file: int) -> bool:
    """Lock an open file if nobody holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def postgresql_lock(url: str, name: str, seconds: float | None = None) -> Iterator[None]:
    """Hold an advisory lock; the server releases it when the connection ends.

    Parameters
    ----------
    url : str
        As psycopg takes it.
    name : str
        What tells this lock from others of the database.
    seconds : float, optional
        As in `file_lock`.
    """
    import psycopg

    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    reached = False
    try:
        with psycopg.connect(url, autocommit=True, options=_KEEP_ALIVE) as connection:
            reached = True
            if seconds is None:
                connection.execute("SELECT pg_advisory_lock(%s)", (number,))
            else:
                query = "SELECT pg_try_advisory_lock(%s)"
                answer = (True,)
                _within(
                    seconds, lambda: connection.execute(query, (number,)).fetchone() == answer, name
                )
            yield
    except psycopg.Error as error:
        what = "is gone" if reached else "cannot be reached"
        raise RunFailed(f"the PostgreSQL server {what}: {str(error).splitlines()[0]}") from error


def _within(seconds: float, take: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not take():
        if time.monotonic() > deadline:
            raise RunFailed(
                f"another command is working on this study (it holds {what}); wait for it, or join"
                " it with: dynamoe-search worker"
            )
        time.sleep(_SECONDS_BETWEEN_TRIES)
