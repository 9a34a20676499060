"""Documents from plain text, folders and parquet files, and the embedded documents.

Files are read in pieces, so that memory depends on the longest document and not on the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa
import pyarrow.parquet as pq

from dynamoe_search.errors import InvalidInput

# A document of a plain-text file ends at the first blank line after _SHORTEST characters, or at the
# first line end after _LONGEST; longer lines are split.
_SHORTEST = 4096
_LONGEST = 65_536
_ROWS = 64  # of parquet, decoded at once
_READ_BUFFER = 2**16  # bytes of parquet read at once; a column chunk can be as large as the file
_TEXT_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_ENDINGS = (".txt", ".md", ".parquet")


def read_documents(path: Path, column: str = "text") -> Iterator[str]:
    """Yield the documents of a file, or of all files below a folder.

    A plain-text file in UTF-8 is split at blank lines into documents of some thousands of
    characters; together they are exactly the file. In a parquet file every row is a document,
    except null and empty rows. A folder gives the documents of all ``.txt``, ``.md`` and
    ``.parquet`` files below it, in sorted order.

    Parameters
    ----------
    path : Path
        A folder or a file: parquet if its name ends in ``.parquet``, otherwise plain text.
    column : str
        The text column of parquet files.

    Raises
    ------
    InvalidInput
        During iteration: if a file is missing, unreadable, damaged, not UTF-8 or empty, or the
        column is missing or not text.
    """
    empty = True
    for file in _files(path):
        parquet = file.suffix.lower() == ".parquet"
        for document in _read_parquet(file, column) if parquet else _read_text(file):
            empty = False
            yield document
    if empty:
        raise InvalidInput(f"{path} has no text; name a file or folder with text")


def embedded_documents() -> list[str]:
    """The English language reference in every CPython: one document per topic, sorted by name.

    Topics repeat each other (the ``if`` statement is also in ``compound``). Each paragraph is kept
    only at its first place, so that no test text is also in the training text. The text differs a
    little between Python versions.

    Examples
    --------
    >>> "assert" in embedded_documents()[0]
    True
    """
    seen: set[str] = set()
    documents = []
    for name in sorted(topics):
        paragraphs = dict.fromkeys(topics[name].strip("\n").split("\n\n"))
        documents.append("\n\n".join(text for text in paragraphs if text not in seen))
        seen.update(paragraphs)
    return [document for document in documents if document]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InvalidInput(f"{path} does not exist; name a text or parquet file, or a folder")
    files = [file for file in path.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file()]
    if not files:
        raise InvalidInput(
            f"there is no {', '.join(_ENDINGS)} file below {path}; name another folder"
        )
    return sorted(files)


def _read_text(path: Path) -> Iterator[str]:
    parts: list[str] = []
    length = read = 0
    try:
        # newline="" keeps the line ends of the file.
        with path.open(encoding="utf-8", newline="") as file:
            while line := file.readline(_LONGEST):
                parts.append(line)
                length += len(line)
                read += len(line)
                blank = not line.strip()
                if length >= _LONGEST or (length >= _SHORTEST and blank):
                    yield "".join(parts)
                    parts, length = [], 0
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} is not UTF-8 ({error.reason}, a little after character {read:,});"
            " convert it to UTF-8 first"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    if parts:
        yield "".join(parts)


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(
            path, pre_buffer=False, buffer_size=_READ_BUFFER, page_checksum_verification=True
        ) as file:
            _require_text(path, file.schema_arrow, column)
            for batch in file.iter_batches(_ROWS, columns=[column], use_threads=False):
                # Skips null and empty rows.
                yield from filter(None, batch.column(0).to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{path} cannot be read as parquet: {error}; download the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"column {column!r} of {path} is not UTF-8 ({error.reason}); write the file again"
        ) from error


def _require_text(path: Path, schema: pa.Schema, column: str) -> None:
    columns = dict(zip(schema.names, schema.types, strict=True))
    if column in columns and any(is_text(columns[column]) for is_text in _TEXT_TYPES):
        return
    problem = f"has the type {columns[column]}, not text" if column in columns else "is missing"
    names = ", ".join(f"{name} ({kind})" for name, kind in columns.items())
    raise InvalidInput(f"column {column!r} of {path} {problem}; its columns are {names or 'none'}")
