"""Documents from files and folders of text, and the embedded documents.

Files are read in pieces, so that memory depends on the longest document and not on the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

from dynamoe_search.data.json_lines import read_json_lines
from dynamoe_search.data.parquet import read_parquet
from dynamoe_search.data.places import kind_at, shown
from dynamoe_search.data.plain_text import read_plain_text
from dynamoe_search.data.unpacking import PACKED_ENDINGS
from dynamoe_search.errors import InvalidInput

TextFormat = Literal["text", "jsonl", "parquet"]
# How the names of files end; .gz or .zst may follow that of text and of JSON lines.
ENDINGS: dict[TextFormat, tuple[str, ...]] = {
    "text": (".txt", ".md"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
}
_TABLES = (".csv", ".tsv")


def read_documents(
    path: Path, column: str = "text", text_format: TextFormat | None = None
) -> Iterator[str]:
    """Yield the documents of a file, or of all files below a folder.

    A plain-text file in UTF-8 is split at blank lines into documents of some thousands of
    characters; together they are exactly the file. In JSON lines each object is a document, in
    parquet each row, except those whose text is null or empty. Text and JSON lines may be packed
    with gzip or zstandard.

    Parameters
    ----------
    path : Path
        A file or a folder. A folder gives the documents of all files below it with an ending of
        `ENDINGS`, in the order of their sorted paths; names that begin with a dot are passed over.
    column : str
        The text column of parquet files, and the text field of JSON lines.
    text_format : {"text", "jsonl", "parquet"}, optional
        How to read a file, and which files of a folder to read. By default the ending of a name
        decides; a file with another ending is plain text, and a folder must have one format.

    Raises
    ------
    InvalidInput
        During iteration: if a file is missing, unreadable, damaged, not UTF-8 or empty, or has no
        text in the column; if plain text looks like JSON, or a folder has several formats, and no
        format is given.
    """
    empty = True
    for file in _files(path, text_format):
        for document in _read(file, column, text_format):
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


def _read(file: Path, column: str, text_format: TextFormat | None) -> Iterator[str]:
    match text_format or _format_of(file):
        case "parquet":
            return read_parquet(file, column)
        case "jsonl":
            return read_json_lines(file, column)
        case _:
            return read_plain_text(file, sure=text_format == "text")


def _format_of(file: Path) -> TextFormat | None:
    """The format that the ending of a name says."""
    name = _unpacked_name(file)
    return next((known for known, endings in ENDINGS.items() if name.endswith(endings)), None)


def _unpacked_name(file: Path) -> str:
    name = file.name.lower()
    packed = next((ending for ending in PACKED_ENDINGS if name.endswith(ending)), "")
    return name.removesuffix(packed)


def _files(path: Path, text_format: TextFormat | None) -> list[Path]:
    match kind_at(path):
        case "file":
            if text_format is None and _unpacked_name(path).endswith(_TABLES):
                raise InvalidInput(
                    f"{path} is a table; save it as parquet or JSON lines and name its column of"
                    " text with --column (--format text learns the table's characters)"
                )
            return [path]
        case "folder":
            return _files_below(path, text_format)
    raise InvalidInput(
        f"{shown(path)} does not exist; name a file of text, JSON lines or parquet, or a folder"
    )


def passed_over(source: Path, text_format: TextFormat | None) -> list[Path]:
    """The files below a folder of text that are not read: hidden ones, and those of other formats.

    Parameters
    ----------
    source : Path
        None is passed over of a file.
    text_format : str, optional
        As for `read_documents`.
    """
    if not source.is_dir():
        return []
    read = set(_files_below(source, text_format))
    return [file for file in sorted(source.rglob("*")) if file.is_file() and file not in read]


def _files_below(folder: Path, text_format: TextFormat | None) -> list[Path]:
    files = {
        file: known
        for file in sorted(folder.rglob("*"))
        if (known := _format_of(file)) and not _hidden(file.relative_to(folder)) and file.is_file()
    }
    counts = Counter(files.values())
    wanted = text_format or next(iter(counts), None)
    if text_format is None and len(counts) > 1:
        found = ", ".join(f"{count:,} {known}" for known, count in sorted(counts.items()))
        raise InvalidInput(
            f"{folder} has files of several formats ({found}); choose one of them, as with --format"
            f" {counts.most_common(1)[0][0]}"
        )
    if wanted not in counts:
        endings = ENDINGS[wanted] if wanted else sum(ENDINGS.values(), ())
        raise InvalidInput(
            f"there is no {', '.join(endings)} file below {folder}; name another folder"
        )
    return [file for file, known in files.items() if known == wanted]


def _hidden(file: Path) -> bool:
    """Whether a file, or a folder above it, is kept by a system and not by its user."""
    return any(part.startswith(".") or part == "__MACOSX" for part in file.parts)
