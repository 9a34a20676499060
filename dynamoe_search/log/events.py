"""What a log is: events that are only ever appended, and beside them the workers' heartbeats."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from dynamoe_search.errors import InvalidInput, RunFailed

SECONDS_TO_WAIT_FOR_A_WRITER = 60
_CHECKSUM = "checksum"


@dataclass(frozen=True)
class Event:
    """Something that has happened in a study.

    Parameters
    ----------
    kind : str
        What has happened, for example ``"finished"``. Logs treat all kinds alike.
    content : dict
        What JSON can hold; NaN and infinities are kept.
    key : str, optional
        The log of a study holds at most one event with this key; any number without a key.
    at : float
        Seconds since the epoch, by the writer's clock; now where it is not given.
    """

    kind: str
    content: dict[str, Any]
    key: str | None = None
    at: float = field(default_factory=time.time)


class Refused(RunFailed):
    """The log holds an event with the same key already; nothing was appended."""

    @classmethod
    def because_of(cls, study: str, events: Iterable[Event]) -> Self:
        """The error for events of which one, or more, had such a key."""
        keys = ", ".join(event.key for event in events if event.key is not None)
        return cls(f"the log of {study} holds an event with this key already: {keys}")


class Heartbeats(Protocol):
    """The heartbeats of a study's workers: one count for each worker, and no history.

    What has not changed for a day, by the clock of the store, is removed at another's beat.
    """

    def beat(self, worker: str, count: int) -> None:
        """Set the count of a worker."""

    def heartbeats(self) -> dict[str, int]:
        """The count of each worker."""

    def forget(self, worker: str) -> None:
        """Remove the count of a worker, if there is one."""


class Log(Heartbeats, Protocol):
    """The log of one study; as a context manager, it is closed at the end.

    If the file or the server fails, a method raises one of `storage.LOG_ERRORS`; where the file was
    deleted or replaced, `RunFailed`.
    """

    def append(self, *events: Event) -> None:
        """Append all of the events, in this order, or none of them.

        Raises
        ------
        Refused
            If the log holds an event with one of their keys, or two of them have the same key.
        """

    def read(self, since: int = 0) -> list[tuple[int, Event]]:
        """The events after a position, each with its own position, which grows.

        The order is the same for every reader. The cost depends on the events after `since` only.
        What is damaged is there, too, as an event of a kind or a content that no study has.

        Parameters
        ----------
        since : int
            0, or a position from an earlier call.

        Raises
        ------
        RunFailed
            Where no event ends at `since`: it is not the log that was read before.
        """

    def name_of(self, position: int) -> str:
        """What a user calls the event at a position: "event 12", or "line 12"."""

    def exclusive(self, section: str, seconds: float) -> AbstractContextManager[bool]:
        """Enter a section of the study, in which at most one process is at a time.

        The block runs in either case; its value is whether the section was entered in time. So
        sections avoid wasted work, and only keys make sure that nothing is recorded twice. The
        system frees a section when the process in it dies.

        Parameters
        ----------
        section : str
            Its name, of letters and digits.
        seconds : float
            How long to wait for another process to leave it.
        """

    def close(self) -> None:
        """Release files and connections; the last one folds SQLite's files into one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def seal(content: dict[str, Any]) -> str:
    """A JSON object in one line, which ends with a checksum of what stands before."""
    text = json.dumps(content)
    comma = ", " if content else ""
    return f'{text[:-1]}{comma}"{_CHECKSUM}": "{zlib.crc32(text.encode()):08x}"}}'


def unseal(text: str) -> dict[str, Any]:
    """What `seal` has written; an object without a checksum is taken as it is.

    Raises
    ------
    ValueError
        Where it is no such object, or not the one that was written.
    """
    before, found, after = text.rpartition(f'"{_CHECKSUM}": "')
    if found:
        text = before.removesuffix(", ") + "}"
        if after != f'{zlib.crc32(text.encode(errors="replace")):08x}"}}':
            raise ValueError("it has another checksum")
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    return content


def damaged(error: ValueError) -> dict[str, Any]:
    """In place of a content that cannot be read; no event of a study has such a content."""
    return {"damaged": str(error)}


def not_the_same(where: object) -> RunFailed:
    """The error where a log is not the one that was read before."""
    return RunFailed(
        f"{where} is not the log that was read before: it was replaced, or cut short; open the"
        " study again"
    )


def of_version_0_1(where: str, elsewhere: str) -> InvalidInput:
    """The error for a log that this version cannot read; `elsewhere` says where to begin again."""
    return InvalidInput(
        f"{where} holds a log of version 0.1, which this version cannot read: finish the study"
        f" with version 0.1, or begin it again {elsewhere}"
    )
