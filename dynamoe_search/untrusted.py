"""Read what others give, which may be anything: small text files and JSON.

What is far larger than any study file, or far deeper, is refused before time and memory are spent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dynamoe_search.errors import InvalidInput

LARGEST_TEXT = 2**20
"""Bytes of a text that is read whole: 1 MB."""
DEEPEST = 32
"""How deep tables and lists may stand in each other."""
_LONGEST_SHOWN = 400  # characters in a message


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte-order mark.

    Raises
    ------
    InvalidInput
        Where it is larger than `LARGEST_TEXT`, is no text, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
        if len(content) <= LARGEST_TEXT:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{shown(str(path))} is not UTF-8 ({error}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{shown(str(path))} cannot be read: {shown(str(error))}") from error
    raise InvalidInput(f"{path} is larger than 1 MB; a file of this kind is much smaller")


def parse_json(text: str, where: str) -> Any:
    """What a JSON text says.

    Parameters
    ----------
    text : str
    where : str
        What the text is, for messages.

    Raises
    ------
    InvalidInput
        Where it is not JSON, is longer than `LARGEST_TEXT`, or goes beyond what `excess_of` allows.

    Examples
    --------
    >>> parse_json('{"seed": 7}', "the header")
    {'seed': 7}
    """
    if len(text) > LARGEST_TEXT:
        raise InvalidInput(f"{where} is longer than 1 MB")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{where} is not valid JSON: {error}") from error
    except RecursionError:
        raise InvalidInput(f"{where} is nested too deep") from None
    if found := excess_of(content):
        keys, problem = found
        raise InvalidInput(f"{where}: {shown('.'.join(keys))}: {problem}")
    return content


def excess_of(content: Any, keys: tuple[str, ...] = ()) -> tuple[tuple[str, ...], str] | None:
    """The first value that no sensible file has: where it is, and what is wrong; None without one.

    Parameters
    ----------
    content : object
        As TOML and JSON are parsed.
    keys : tuple of str
        Where the content is.

    Examples
    --------
    >>> excess_of({"model": {"width": [1, 2**64]}})
    (('model', 'width', '1'), 'an integer of more than 64 bits')
    """
    if isinstance(content, int):
        return (keys, "an integer of more than 64 bits") if content.bit_length() > 63 else None
    if not isinstance(content, dict | list):
        return None
    if len(keys) == DEEPEST:
        return keys, f"is nested more than {DEEPEST} deep"
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = (excess_of(value, (*keys, str(key))) for key, value in items)
    return next((one for one in found if one is not None), None)


def shown(text: str) -> str:
    """A text of others for a message: one line of at most 400 characters, all printable.

    Examples
    --------
    >>> shown("two\\nlines")
    'two\\\\nlines'
    """
    beginning = text[:_LONGEST_SHOWN]
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in beginning)
    return line + "..." * (len(text) > _LONGEST_SHOWN)
