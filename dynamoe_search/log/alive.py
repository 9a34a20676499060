"""Which processes of this machine are alive: each owns a file in one folder of its user.

The system frees the file the moment the process ends, however it ends. What a process has left
there is removed when the next one starts.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dynamoe_search.errors import RunFailed
from dynamoe_search.files import has_owner, own, remove_unowned
from dynamoe_search.log.lock import held, require_locks

_LONGEST = 71  # bytes of our folder: a socket in it has 32 more, and macOS allows 103
_SECONDS_TO_WAIT = 5.0
_TURNS = "turns.lock"


def folder() -> Path:
    """The folder of this user's processes."""
    path = Path(tempfile.gettempdir(), f"dynamoe-search-{os.getuid()}")
    if len(os.fsencode(path)) > _LONGEST:
        path = Path("/tmp", path.name)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def place() -> str:
    """The machine and the folder, as a name: processes of one place see each other's files."""
    return f"{socket.gethostname()}-{folder().stat().st_ino:x}"


@contextmanager
def alive(name: str) -> Iterator[None]:
    """Be seen as alive, under a name that no other process has, until the block ends."""
    path = folder() / name
    with newcomers_take_turns():
        file = _owned(path)
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _owned(path: Path) -> BinaryIO:
    while True:
        file = path.open("w+b")
        own(file.fileno())
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()  # another process has just removed it, before it had an owner


def is_alive(name: str) -> bool:
    """Whether a process of this place is alive under a name."""
    return has_owner(folder() / name)


@contextmanager
def newcomers_take_turns() -> Iterator[Path]:
    """Remove what dead processes have left; in the block, what is made in the folder is safe."""
    with ExitStack() as turn:
        with suppress(RunFailed):  # without locks nothing is removed, and no turn is needed
            require_locks(folder())
            # A process that is stopped in here holds nobody up for long.
            turn.enter_context(held(folder() / _TURNS, _SECONDS_TO_WAIT))
        for path in folder().iterdir():
            if path.name != _TURNS:
                remove_unowned(path)
        yield folder()
