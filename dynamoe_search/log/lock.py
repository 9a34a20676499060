"""A lock on a file, which the system releases however its holder ends."""

from __future__ import annotations

import errno
import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from dynamoe_search.errors import RunFailed

_SECONDS_BETWEEN_TRIES = 0.01
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def require_locks(folder: Path) -> None:
    """See that the files of a folder can be locked: as `held` does it, and as SQLite does.

    SQLite itself says only that a database is locked, after a minute.

    Raises
    ------
    RunFailed
        Where the file system has no locks.
    """
    try:
        with TemporaryFile(dir=folder) as file:
            for lock in (fcntl.flock, fcntl.lockf):
                lock(file, fcntl.LOCK_EX)
                lock(file, fcntl.LOCK_UN)
    except OSError as error:
        # What else is wrong, such as a full disk, the next one to write there tells.
        if error.errno in _WITHOUT_LOCKS:
            raise _no_locks(folder, error) from error


@contextmanager
def held(path: Path, seconds: float) -> Iterator[bool]:
    """Hold the lock on a file, which is made where it does not exist, but not its folder.

    Yields whether it was free within these seconds.

    Raises
    ------
    RunFailed
        Where the file system has no locks.
    """
    path.parent.stat()  # filelock would make the folder of a log that is gone
    lock = FileLock(path)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=seconds, poll_interval=_SECONDS_BETWEEN_TRIES)
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        raise _no_locks(path.parent, error) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _no_locks(folder: Path, error: OSError) -> RunFailed:
    return RunFailed(
        f"the file system of {folder} has no locks ({error.strerror}); keep the log on another one,"
        " or in a database: --storage sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    )


def fingerprint(text: str) -> bytes:
    """Eight bytes that stand for a text, the same in every process."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8]


def beside(file: Path, study: str, what: str) -> Path:
    """A hidden path beside the file of a log, of its own for each study in the file."""
    return file.with_name(f".{file.name}.{fingerprint(study).hex()}.{what}")
