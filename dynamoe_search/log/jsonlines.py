"""A log in a file of JSON lines, for file systems that several machines mount.

Each line is one event, and names its study. The last one is cut short if its writer is killed or
the machine loses its power: readers stop before it, and the next append removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.events import (
    SECONDS_TO_WAIT_FOR_A_WRITER,
    Event,
    Log,
    Refused,
    of_version_0_1,
)
from dynamoe_search.log.lock import beside, held

_FIELDS = {"study", "kind", "content", "key", "at"}
_BEGINNING = b'{"study": "'
_CONTINUED = "continued"  # in all lines of an append but the last
_DAY = 24 * 3600


class JsonLinesLog(Log):
    """The log of one study in a file. A position is the byte at which a line ends."""

    def __init__(self, file: Path, study: str) -> None:
        self._file, self._study = file, study
        self._counts = beside(file, study, "heartbeats")
        # How many bytes of the file are known, and the study's keys in them.
        self._end, self._keys = 0, set[str]()

    def begin(self) -> None:
        """See that the file can be written."""
        with self._alone():
            self._file.open("ab").close()

    def has_begun(self) -> bool:
        """Whether the file holds an event of the study."""
        return self._study in self.studies()

    def studies(self) -> Iterator[str]:
        """The study of each event in the file."""
        return (line["study"] for _, line in self._lines(0))

    def append(self, *events: Event) -> None:
        """Append under a lock, and wait for the disk."""
        lines = [{"study": self._study} | vars(event) for event in events]
        lines = [line | {_CONTINUED: True} for line in lines[:-1]] + lines[-1:]
        written = "".join(json.dumps(line) + "\n" for line in lines).encode()
        keys = [event.key for event in events if event.key is not None]
        with self._alone():
            for end, line in self._lines(self._end):
                self._end = end
                if line["study"] == self._study and line["key"] is not None:
                    self._keys.add(line["key"])
            if len(set(keys)) < len(keys) or not self._keys.isdisjoint(keys):
                raise Refused.because_of(self._study, events)
            if self._file.stat().st_size > self._end:
                os.truncate(self._file, self._end)
            with self._file.open("ab") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            self._end += len(written)
            self._keys.update(keys)

    def read(self, since: int = 0) -> list[tuple[int, Event]]:
        """The events of the lines that end further on."""
        return [
            (end, Event(line["kind"], line["content"], line["key"], line["at"]))
            for end, line in self._lines(since)
            if line["study"] == self._study
        ]

    def exclusive(self, section: str, seconds: float) -> AbstractContextManager[bool]:
        """Hold the lock on a file beside the log."""
        return held(beside(self._file, self._study, f"{section}.lock"), seconds)

    def beat(self, worker: str, count: int) -> None:
        """Write a file of its own, and remove those that have expired."""
        self._counts.mkdir(exist_ok=True)
        mine = self._counts / worker
        mine.write_text(str(count))
        now = mine.stat().st_mtime
        for other in self._counts.iterdir():
            with suppress(FileNotFoundError):
                if now - other.stat().st_mtime > _DAY:
                    other.unlink()

    def heartbeats(self) -> dict[str, int]:
        """The counts in the files."""
        counts = dict[str, int]()
        for file in self._counts.glob("*"):
            with suppress(FileNotFoundError, ValueError):  # it is being removed, or written
                counts[file.name] = int(file.read_text())
        return counts

    def forget(self, worker: str) -> None:
        """Remove a file."""
        (self._counts / worker).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._file.with_name(f".{self._file.name}.append.lock")
        with held(lock, SECONDS_TO_WAIT_FOR_A_WRITER) as entered:
            if not entered:
                raise RunFailed(
                    f"{self._file} cannot be written: another process has held {lock} for"
                    f" {SECONDS_TO_WAIT_FOR_A_WRITER} s; continue it or end it, and start again"
                )
            yield

    def _lines(self, since: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The lines of complete appends after a position, with the bytes at which they end."""
        group: list[tuple[int, dict[str, Any]]] = []
        end, cut_short = since, 0
        with self._file.open("rb") as file:
            file.seek(since)
            for text in file:
                end += len(text)
                if not text.strip():
                    continue
                if cut_short:
                    raise self._damaged(cut_short)
                line = _parse(text)
                if line is None:
                    beginning = text[: len(_BEGINNING)].rstrip(b"\0")
                    if end == len(text) and not _BEGINNING.startswith(beginning):
                        raise InvalidInput(f"{self._file} is not the log of a study")
                    if not text.endswith(b"\n"):
                        return  # more of it may be written just now
                    cut_short = end
                elif "op_code" in line:
                    raise of_version_0_1(str(self._file), "with another --storage")
                else:
                    group.append((end, line))
                    if _CONTINUED not in line:
                        yield from group
                        group.clear()

    def _damaged(self, end: int) -> InvalidInput:
        with self._file.open("rb") as file:
            number = file.read(end).count(b"\n")
        return InvalidInput(
            f"{self._file}, line {number}: not an event, though others follow; the file is"
            " damaged: restore a copy of it, or remove that line"
        )


def _parse(text: bytes) -> dict[str, Any] | None:
    """What a line holds; None if it was cut short or is something else."""
    with suppress(ValueError):
        line = json.loads(text.decode())
        whole = text.endswith(b"\n") and isinstance(line, dict)
        if whole and (line.keys() >= _FIELDS or "op_code" in line):
            return dict(line)
    return None
