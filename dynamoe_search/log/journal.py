"""Optuna's journal file, with a lock that dies with its holder."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend

_LONGEST_LINE = 1 << 16


def open_journal(path: Path) -> optuna.storages.JournalStorage:
    """The storage of a journal file, which is made where it does not exist."""
    return optuna.storages.JournalStorage(_File(path))


class _File(JournalFileBackend):
    """A file that waits for the disk at the end of a trial, not at each of its dozen writes.

    Whatever process is killed, all is kept; where the machine loses its power, all but the last
    trial of each worker is.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, _Lock(path)
        super().__init__(str(path), self.lock)  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self.lock.acquire()
        try:
            with self.path.open("ab") as file:
                file.write(lines.encode())
                file.flush()
                if any("state" in log for log in logs):
                    os.fsync(file.fileno())
        finally:
            self.lock.release()


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
