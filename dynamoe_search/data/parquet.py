"""Parquet files, in which each row of a column of text is a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dynamoe_search.data.places import listed, shown
from dynamoe_search.errors import InvalidInput

_TEXT_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_ROWS = 64  # decoded at once
_READ_BUFFER = 2**16  # bytes read at once; a column chunk can be as large as the file
_LARGEST_MEAN = 2**26  # bytes of text per row


def read_parquet(path: Path, column: str) -> Iterator[str]:
    """Yield the texts of a column, without null and empty ones.

    Parameters
    ----------
    path : Path
    column : str
        Its type is a string, a large string, a string view, or a dictionary of such.

    Raises
    ------
    InvalidInput
        During iteration: if the file is unreadable, damaged, or states more than 64 MiB of text per
        row; if the column is missing or not text, or its text is not UTF-8.
    """
    try:
        with (
            path.open("rb") as opened,  # pyarrow itself opens no path that is not UTF-8
            pq.ParquetFile(
                opened, pre_buffer=False, buffer_size=_READ_BUFFER, page_checksum_verification=True
            ) as file,
        ):
            _require_text(path, file.schema_arrow, column)
            _require_plausible_sizes(path, file.metadata, column)
            for batch in file.iter_batches(_ROWS, columns=[column], use_threads=False):
                # Skips null and empty rows.
                yield from filter(None, batch.column(0).to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{path} cannot be read as parquet: {error}; download the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"column {shown(column)!r} of {path} is not UTF-8 ({error.reason}); write the file"
            " again"
        ) from error


def _require_text(path: Path, schema: pa.Schema, column: str) -> None:
    columns = dict(zip(schema.names, schema.types, strict=True))
    if column in columns and _is_text(columns[column]):
        return
    problem = f"has the type {columns[column]}, not text" if column in columns else "is missing"
    names = listed([f"{name} ({kind})" for name, kind in columns.items()])
    raise InvalidInput(
        f"column {shown(column)!r} of {path} {problem}; its columns are {names}; name the column of"
        " text with --column"
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_text(kind) for is_text in _TEXT_TYPES)


def _require_plausible_sizes(path: Path, metadata: pq.FileMetaData, column: str) -> None:
    """Refuse pages that a small file could unpack to all of the memory."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(place) for place in range(group.num_columns)]
        size = sum(
            chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column
        )
        if size > group.num_rows * _LARGEST_MEAN:
            raise InvalidInput(
                f"row group {number} of {path} states {size:,} bytes of text in {group.num_rows:,}"
                f" rows; at most {_LARGEST_MEAN:,} bytes per row are read; split its documents"
            )
