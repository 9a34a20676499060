"""Whether the file of a log is still the one that was opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dynamoe_search.errors import RunFailed


class OpenedFile:
    """A file that stays in use while others may delete or replace it.

    Parameters
    ----------
    path : Path
    rescue : callable
        Writes all that the file held to another file, after it was deleted.
    """

    def __init__(self, path: Path, rescue: Callable[[Path], None]) -> None:
        self.path, self._rescue = path, rescue
        self._identity = _identity(path)

    def check(self) -> None:
        """See that the path still leads to this file.

        Raises
        ------
        RunFailed
            Where it does not; what the file held is kept in another one, which the message names.
        FileNotFoundError
            Where its folder is gone, as that of a file system that is not mounted.
        """
        try:
            found = _identity(self.path)
        except FileNotFoundError:
            self.path.parent.stat()
            found = None
        if found == self._identity:
            return
        # The same for all processes that use the file.
        kept = self.path.with_name(f"{self.path.name}.rescued-{self._identity[1]:x}")
        try:
            self._rescue(kept)
            rest = f"what it held is kept in {kept}: move that to {self.path} to go on with it"
        except Exception as error:
            rest = f"what it held could not be kept in {kept} ({error})"
        raise RunFailed(
            f"{self.path} was deleted, moved or replaced while it was in use, and nothing more can"
            f" be recorded; {rest}. Then run the same command again"
        )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
