"""Optuna's journal file, with a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

_LONGEST_LINE = 1 << 16


def open_journal(path: Path) -> optuna.storages.JournalStorage:
    """The storage of a journal file, which is made where it does not exist."""
    backend = JournalFileBackend(str(path), _Lock(path))  # type: ignore[arg-type]
    return optuna.storages.JournalStorage(backend)


class _Lock:
    """A lock that the system releases however a writer ends.

    Optuna's own would be held for half a minute after a writer was killed. A line that a killed
    writer left unfinished is removed, as the next would be written into it, and the file could not
    be read again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: int | None = None

    def acquire(self) -> bool:
        lock = self.path.with_name(f".{self.path.name}.write.lock")
        self.file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX)
            _remove_unfinished_line(self.path)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        assert self.file is not None
        os.close(self.file)
        self.file = None


def _remove_unfinished_line(path: Path) -> None:
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        while end > 0:
            start = max(0, end - _LONGEST_LINE)
            file.seek(start)
            piece = file.read(end - start)
            if (newline := piece.rfind(b"\n")) >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)
