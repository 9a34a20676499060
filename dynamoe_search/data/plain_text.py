"""Plain text in UTF-8, cut into documents at blank lines."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from dynamoe_search.data.unpacking import open_unpacked
from dynamoe_search.errors import InvalidInput

# A document ends at the first blank line after SHORTEST characters, or at the first line end after
# _LONGEST; longer lines are split.
SHORTEST = 4096
_LONGEST = 65_536
# An object or an array of objects or texts, after a byte-order mark and spaces.
_JSON = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[{"])')


def read_plain_text(path: Path, sure: bool = False) -> Iterator[str]:
    """Yield the documents of a text file; together they are exactly the file.

    Parameters
    ----------
    path : Path
        Plain, or packed with gzip or zstandard.
    sure : bool
        Whether to read even what looks like JSON or like no text.

    Raises
    ------
    InvalidInput
        During iteration: if the file is unreadable, damaged or not UTF-8; if it looks like JSON or
        has NUL characters, and `sure` is False.
    """
    parts: list[str] = []
    length = read = 0
    try:
        with open_unpacked(path) as unpacked:
            if not sure:
                _refuse_other_than_text(path, unpacked.peek()[:SHORTEST])
            # newline="" keeps the line ends of the file.
            file = io.TextIOWrapper(unpacked, encoding="utf-8", newline="")
            while line := file.readline(_LONGEST):
                parts.append(line)
                length += len(line)
                read += len(line)
                blank = not line.strip()
                if length >= _LONGEST or (length >= SHORTEST and blank):
                    yield "".join(parts)
                    parts, length = [], 0
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is not UTF-8 ({error.reason}, a little after character {read:,});"
            " convert it to UTF-8 first (of packed files, gzip and zstandard are read)"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    if parts:
        yield "".join(parts)


def _refuse_other_than_text(path: Path, beginning: bytes) -> None:
    if _JSON.match(beginning):
        raise InvalidInput(
            f"{path} is read as plain text by its name, but looks like JSON; if each line is an"
            " object, rename it to end in .jsonl; to learn the JSON itself, add --format text"
        )
    if b"\0" in beginning:
        raise InvalidInput(
            f"{path} is read as plain text by its name, but has NUL characters, as an archive or"
            " UTF-16 has; unpack it, or convert it to UTF-8 (--format text reads it as it stands)"
        )
