"""What is at a path that a user has named."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal

from dynamoe_search.errors import InvalidInput

_LONGEST_SHOWN = 200


def kind_at(path: Path) -> Literal["file", "folder", "other", "nothing"]:
    """What is at a path: a file, a folder, something else, or nothing.

    Raises
    ------
    InvalidInput
        If the system does not say: the name is too long, or a folder above must not be read.

    Examples
    --------
    >>> kind_at(Path("/")), kind_at(Path("/no such file"))
    ('folder', 'nothing')
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except OSError as error:
        raise InvalidInput(
            f"{shown(path)} cannot be a file or folder: {error.strerror}; name another"
        ) from error
    except ValueError:  # a NUL character or a lone surrogate: nothing has such a name
        return "nothing"
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "other"


def shown(name: Path | str) -> str:
    """A name as a message shows it: a very long one only by its beginning and its length."""
    text = str(name)
    if len(text) <= _LONGEST_SHOWN:
        return text
    return f"{text[:64]}... ({len(text):,} characters)"


def listed(names: list[str], most: int = 12) -> str:
    """Names in a message, the first few of very many.

    Examples
    --------
    >>> listed(["title", "body"]), listed(list("abcd"), most=2), listed([])
    ('title, body', 'a, b and 2 more', 'none')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more or "none"
