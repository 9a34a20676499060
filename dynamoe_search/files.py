"""Files as users name them, written whole or not at all, and files that a process owns."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

try:
    import fcntl
except ImportError:
    raise ImportError(
        "dynamoe_search needs a POSIX system, such as Linux or macOS; on Windows, use WSL"
    ) from None

from dynamoe_search.errors import InvalidInput

_LONGEST_NAME = 50  # in characters of up to 4 bytes; a file system takes 255 bytes


def user_path(path: Path | str) -> Path:
    """A path as a user has written it: a ``~`` at its beginning is the home.

    Shells leave it in ``--out=~/report.html`` and in variables, and nobody else replaces it.

    Examples
    --------
    >>> user_path("~/data") == Path.home() / "data", user_path("~lock").name, user_path("a~b").name
    (True, '~lock', 'a~b')
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:  # no user has the name, so that it is a file's
        return path


def shell_word(path: Path | str) -> str:
    r"""A path, or another text, as a command has it that a user can copy.

    What cannot be printed, such as bytes that are no text, is written as bash and zsh read it.

    Examples
    --------
    >>> print(shell_word("digits"), shell_word("is it better?"), shell_word("caf\udce9"))
    digits 'is it better?' $'caf\351'
    """
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = {*range(ord(" "), ord("~") + 1)} - set(b"'\\")
    return "$'" + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in os.fsencode(text)) + "'"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside another, and put it in its place when all of it is on the disk.

    An error, a full disk or a kill leaves the file that was there before. Its permissions are
    kept. What a killed process has left half written is removed by the next one.

    Parameters
    ----------
    path : Path
        As users write it. A device or a pipe is written directly: it has no content to keep.

    Yields
    ------
    Path
        Where to write. It has the same ending.

    Raises
    ------
    OSError
        Where it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "table.csv"
    ...     with replacing(path) as beside:
    ...         _ = beside.write_text("a,b")
    ...         path.exists()
    ...     path.read_text()
    False
    'a,b'
    """
    path = user_path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    if path.is_symlink():
        path = path.resolve()
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    name = path.name[-_LONGEST_NAME:]
    for other in path.parent.glob(f".????????.part.{escape(name)}"):
        remove_unowned(other)
    partial = path.with_name(f".{secrets.token_hex(4)}.part.{name}")
    try:
        with partial.open("x+b") as file:
            own(file.fileno())
            yield partial
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            if path.exists():
                partial.chmod(stat.S_IMODE(path.stat().st_mode))
            partial.replace(path)
    except OSError as error:
        if error.filename in (partial, str(partial)):  # which the user does not know
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, make_folder: bool = False) -> Iterator[Path]:
    """Write a file that a user has named, as `replacing` does.

    Parameters
    ----------
    path : Path
    make_folder : bool
        Whether to make its folder, where there is none.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    InvalidInput
        Where it cannot be written.
    """
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            yield beside
    except (OSError, ValueError) as error:  # ValueError: of a figure, for an unknown format
        raise InvalidInput(f"{path} cannot be written: {error}") from error


def own(descriptor: int) -> None:
    """Own an open file, or folder, until it is closed, or this process ends in whatever way.

    Several processes can own one.
    """
    with suppress(OSError):  # the file system has no locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def has_owner(path: Path) -> bool:
    """Whether a process that has not ended owns a file or a folder."""
    with _unowned(path) as is_unowned:
        return path.exists() and not is_unowned


def remove_unowned(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, unless it has an owner."""
    with _unowned(path) as is_unowned:
        if is_unowned and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif is_unowned:
            path.unlink(missing_ok=True)


@contextmanager
def _unowned(path: Path) -> Iterator[bool]:
    """Whether a file or a folder is there without an owner; until the end, it gets none."""
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:  # it is not there, or of another user
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it has an owner, or that cannot be known
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
