"""JSON lines: one object per line, one of whose fields is the text of a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynamoe_search.data.places import listed, shown
from dynamoe_search.data.tokenizer import utf8
from dynamoe_search.data.unpacking import open_unpacked
from dynamoe_search.errors import InvalidInput

_LONGEST_LINE = 2**26  # bytes
_MARK = b"\xef\xbb\xbf"  # the byte-order mark
_KINDS = {dict: "an object", list: "a list", str: "text", float: "a number", bool: "true or false"}
_EXPECTED = (
    'JSON lines have one object per line, such as {"text": "..."} (jq -c \'.[]\' makes them from an'
    " array)"
)


def read_json_lines(path: Path, field: str) -> Iterator[str]:
    """Yield the text of each line's object; blank lines, null and empty texts are passed over.

    Parameters
    ----------
    path : Path
        In UTF-8; plain, or packed with gzip or zstandard.
    field : str
        The key of the text in each object.

    Raises
    ------
    InvalidInput
        During iteration: if the file is unreadable or damaged, or a line is longer than 64 MiB, is
        not an object, or has no text in the field.
    """
    try:
        with open_unpacked(path) as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                where = f"line {number:,} of {path}"
                if len(line) > _LONGEST_LINE:
                    raise InvalidInput(
                        f"{where} is longer than {_LONGEST_LINE:,} bytes; split its document, or if"
                        f" it is not JSON lines, convert it: {_EXPECTED}"
                    )
                line = line.removeprefix(_MARK) if number == 1 else line
                if line.strip() and (text := _text_of(line, field, where)):
                    yield text
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error


def _text_of(line: bytes, field: str, where: str) -> str | None:
    record = _object_of(line, where)
    if field not in record:
        raise InvalidInput(
            f"{where} has no field {shown(field)!r}, but {listed(list(record))}; name the field of"
            " the text with --column"
        )
    text = record[field]
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidInput(
            f"the field {shown(field)!r} of {where} is {_KINDS[type(text)]}, not text; name the"
            f" field of the text with --column: {listed(list(record))}"
        )
    try:
        utf8(text)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error
    return text


def _object_of(line: bytes, where: str) -> dict[str, Any]:
    try:
        # A float, and not an int, can have any number of digits.
        record = json.loads(line.decode(), parse_int=float)
    except json.JSONDecodeError as error:
        problem = f"is not JSON ({error.msg} at character {error.pos + 1:,})"
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 ({error.reason} at byte {error.start + 1:,})"
    except RecursionError:
        problem = "is JSON that is nested too deep"
    else:
        if isinstance(record, dict):
            return record
        problem = f"is {_KINDS.get(type(record), 'null')}, not an object"
    raise InvalidInput(f"{where} {problem}; {_EXPECTED}")
