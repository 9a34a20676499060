"""A log in a file of JSON lines, for file systems that several machines mount.

Each line is one event. It names its study, and its number among the study's events. The number is
what makes appends safe: an event counts only if its number is the next one. Usually a lock sees to
that. But nobody waits for ever for a writer that is stopped: others go on without it, and what it
writes when it is continued has a number that is taken, so no reader counts it.

Nothing that was written is ever removed. What a writer that was killed has written in part is
passed over. It is known from damage: the next event has the number that comes next.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing
from dynamoe_search.log.events import (
    Event,
    Log,
    Refused,
    not_the_same,
    of_version_0_1,
    seal,
    unseal,
)
from dynamoe_search.log.lock import beside, held
from dynamoe_search.log.opened import OpenedFile

SECONDS_TO_WAIT_FOR_A_TURN = 20.0
_SECONDS_ONCE_IN_VAIN = 0.5
_BEGINNING = b'{"study": "'
_UNREADABLE = "unreadable"  # no event has this kind
_DAMAGED = "damaged"  # in a line with another checksum
_USUAL_SIZE = 2**14  # of a line, in bytes, or less
_DAY = 24 * 3600


class _Line(NamedTuple):
    """An event of the study, and the line that it stands in."""

    end: int
    number: int
    text: bytes
    event: Event


class JsonLinesLog(Log):
    """The log of one study in a file. A position is the byte at which a line ends."""

    def __init__(self, file: Path, study: str) -> None:
        self._file, self._study = file, study
        self._counts = beside(file, study, "heartbeats")
        self._handle = file.open("rb")  # what is deleted can still be read
        self._opened = OpenedFile(file, self._rescue)
        self._patience = SECONDS_TO_WAIT_FOR_A_TURN
        # How many bytes of the file are known, the number of the last event there, and the keys.
        self._end, self._number, self._keys = 0, 0, set[str]()

    def begin(self) -> None:
        """See that the file can be written."""
        with held(self._turns, self._patience):
            os.close(os.open(self._file, os.O_WRONLY))

    def has_begun(self) -> bool:
        """Whether the file holds an event of the study."""
        return next(self._lines(0), None) is not None

    def studies(self) -> Iterator[str]:
        """The study of each event in the file."""
        for _, text in self._texts(0):
            line = _parse(text)
            if line is not None:
                yield line["study"]

    def append(self, *events: Event) -> None:
        """Append, and wait for the disk."""
        if not events:
            return
        with held(self._turns, self._patience) as entered:
            self._patience = SECONDS_TO_WAIT_FOR_A_TURN if entered else _SECONDS_ONCE_IN_VAIN
            while not self._append(events):
                pass  # a writer that did not wait for its turn came first

    def _append(self, events: Sequence[Event]) -> bool:
        """Append events under the next numbers; False where another writer has taken these."""
        self._opened.check()
        self._catch_up()
        keys = [event.key for event in events if event.key is not None]
        if len(set(keys)) < len(keys) or not self._keys.isdisjoint(keys):
            raise Refused.because_of(self._study, events)
        head = [
            {"study": self._study, "number": self._number + 1 + part, "part": [part, len(events)]}
            for part in range(len(events))
        ]
        texts = [
            f"{seal(one | vars(event))}\n".encode() for one, event in zip(head, events, strict=True)
        ]
        _write(self._file, b"".join(texts))
        self._opened.check()
        return self._catch_up().issuperset(texts)

    def read(self, since: int = 0) -> list[tuple[int, Event]]:
        """The events of the lines that end further on."""
        self._opened.check()
        found = [(line.end, line.event) for line in self._lines(since, *self._before(since))]
        self._opened.check()
        return found

    def name_of(self, position: int) -> str:
        """The line that ends there."""
        with self._file.open("rb") as file:
            lines = file.read(position).count(b"\n")
        return f"line {lines}"

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
        """Nothing is written between two calls."""
        self._handle.close()

    @property
    def _turns(self) -> Path:
        return self._file.with_name(f".{self._file.name}.append.lock")

    def _rescue(self, path: Path) -> None:
        with replacing(path) as kept, kept.open("wb") as copy:
            self._handle.seek(0)
            shutil.copyfileobj(self._handle, copy)

    def _catch_up(self) -> set[bytes]:
        """Read what is new since the last append; gives its lines."""
        new = list(self._lines(self._end, self._number))
        if new:
            self._end, self._number = new[-1].end, new[-1].number
        self._keys.update(line.event.key for line in new if line.event.key is not None)
        return {line.text for line in new}

    def _lines(self, since: int, number: int = 0, part: int = 0) -> Iterator[_Line]:
        """The events of the study after a position, and what is damaged there.

        `number` is that of the last event before it, and `part` how many events of an append that
        is not complete yet have come before it.
        """
        append: list[_Line] = []
        broken = 0  # the end of the first line since then that is no event
        for end, text in self._texts(since):
            line = _parse(text)
            if line is None:
                broken = broken or end
            elif _DAMAGED in line:
                number += line["study"] == self._study
                yield _Line(end, number, text, Event(_UNREADABLE, {}, at=0.0))
            elif line["study"] == self._study:
                index, size = line["part"]
                if index == 0:
                    # A number that is taken: its writer was stopped meanwhile.
                    append, part = [], 0 if line["number"] > number else size
                if index != part:
                    continue
                if index == 0 and broken and line["number"] > number + 1:
                    yield _Line(broken, number, b"", Event(_UNREADABLE, {}, at=0.0))
                event = Event(line["kind"], line["content"], line["key"], line["at"])
                append.append(_Line(end, line["number"], text, event))
                part += 1
                if part == size:
                    yield from append
                    append, part, number, broken = [], 0, line["number"], 0

    def _before(self, since: int) -> tuple[int, int]:
        """The number of the event that ends at a position, and how many of its append there are."""
        if since in (0, self._end):
            return (self._number if since else 0), 0
        line = _parse(self._text_before(since))
        if line is not None and line["study"] == self._study and _DAMAGED not in line:
            index, size = line["part"]
            return line["number"], (index + 1) % size
        for one in self._lines(0):
            if one.end == since:
                return one.number, 0
        raise not_the_same(self._file)

    def _text_before(self, end: int) -> bytes:
        """The line that ends at a position."""
        size = _USUAL_SIZE
        with self._file.open("rb") as file:
            while True:
                begin = max(0, end - size)
                file.seek(begin)
                text = file.read(end - begin)
                newline = text.rfind(b"\n", 0, -1)
                if newline >= 0 or begin == 0:
                    return text[newline + 1 :] if file.tell() == end else b""
                size *= 8

    def _texts(self, since: int) -> Iterator[tuple[int, bytes]]:
        """The lines after a position, with the bytes at which they end, but for empty ones."""
        end = since
        with self._file.open("rb") as file:
            file.seek(since)
            for text in file:
                end += len(text)
                beginning = text.rstrip(b"\0\n")[: len(_BEGINNING)]
                if end == len(text) and text.strip() and not _BEGINNING.startswith(beginning):
                    if b'"op_code"' in text:
                        raise of_version_0_1(str(self._file), "with another --storage")
                    raise InvalidInput(f"{self._file} is not the log of a study")
                if text.strip():
                    yield end, text


def _parse(text: bytes) -> dict[str, Any] | None:
    """What a line holds, with the mark `_DAMAGED` for another checksum; None if it is no event."""
    if not text.endswith(b"\n"):
        return None  # more of it may be written just now
    line: Any = None
    try:
        line = unseal(text.decode().rstrip("\n"))
    except ValueError:
        with suppress(ValueError, TypeError, RecursionError):
            line = {**json.loads(text), _DAMAGED: True}
    match line:
        case {
            "study": str(),
            "number": int(),
            "part": [int(), int()],
            "kind": str(),
            "content": dict(),
            "key": str() | None,
            "at": float() | int(),
        }:
            return dict(line)
    return None


def _write(file: Path, text: bytes) -> None:
    """Append to a file that exists, below a line that is cut short, and wait for the disk."""
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\0\n" + text  # so that it never becomes an event
        while text:
            text = text[os.write(descriptor, text) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
