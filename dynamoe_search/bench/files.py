"""Read and write tables: parquet files, with a list of checksums beside them."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dynamoe_search.bench.table import COLUMNS, OPTIONAL, Bench
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.untrusted import parse_json, read_text, shown

TABLES = Path(__file__).parent / "tables"
"""The folder of the tables that come with the package."""

_CHECKSUMS = "SHA256SUMS"  # in the format of sha256sum
_ENDING = ".parquet"
_LARGEST = 5 * 2**20  # bytes
_MEND = "install dynamoe_search again, or make the table with `dynamoe-search bench STUDY`"


def names(folder: Path = TABLES) -> tuple[str, ...]:
    """The names of the tables in a folder.

    Parameters
    ----------
    folder : Path
    """
    return tuple(sorted(_checksums(folder)))


def load(name: str, folder: Path = TABLES) -> Bench:
    """Load a table by its name.

    Parameters
    ----------
    name : str
        The data (or ``text``), layers x experts, and whether active schedules differ: such as
        ``digits-4x12``, ``text-4x16`` or ``text-4x32-active``.
    folder : Path
        The folder of the table, if it does not come with the package.

    Raises
    ------
    InvalidInput
        For an unknown name, or a file that is damaged or of another version.

    Examples
    --------
    >>> found = load("digits-4x12").ask((3, 3, 3, 3))
    >>> len(found.losses), found.curve["fraction"].iloc[-1].item()
    (32, 1.0)
    """
    known = _checksums(folder)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InvalidInput(
            f"there is no table {name!r} in {folder}; {hint}Tables there:"
            f" {', '.join(sorted(known)) or 'none'}; `dynamoe-search bench STUDY` makes tables"
        )
    path = folder / f"{name}{_ENDING}"
    if not path.is_file():
        raise InvalidInput(f"{path} is missing; {_MEND}")
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST or hashlib.sha256(content).hexdigest() != known[name]:
        raise InvalidInput(f"{path} has another checksum than in {folder / _CHECKSUMS}; {_MEND}")
    try:
        table = pq.read_table(io.BytesIO(content))
        about = parse_json(table.schema.metadata[b"about"].decode(), "its description")
        StudyFile.model_validate_json(about["study"])
        has = table.column_names
        columns = [column for column in COLUMNS if column not in OPTIONAL or column in has]
        runs = table.select(columns).to_pandas()
        for column in ("curve", "mean_active", "layer_entropy"):
            runs[column] = table.column(column).to_pylist()  # lists and dicts, as in a study's runs
        return Bench.of(name, runs, about["study"], about["data"], about["versions"])
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = shown(f"{type(error).__name__}: {error}")
        raise InvalidInput(f"{path} is no table of this version ({reason}); {_MEND}") from error


def write_bench(bench: Bench, folder: Path = TABLES) -> Path:
    """Write a table and its checksum, for `load`.

    Parameters
    ----------
    bench : Bench
    folder : Path

    Returns
    -------
    Path
        The path of the table.

    Raises
    ------
    InvalidInput
        If the table is larger than 5 MiB.
    """
    about = {"study": bench.study, "data": bench.data, "versions": dict(bench.versions)}
    table = pa.Table.from_pandas(bench.runs[list(bench.columns)], preserve_index=False)
    table = table.replace_schema_metadata({"about": json.dumps(about)})
    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd")
    content = written.getvalue()
    if len(content) > _LARGEST:
        raise InvalidInput(
            f"{bench.name} has {len(content):,} bytes; a table has at most {_LARGEST:,}:"
            " record fewer evaluations or blocks"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bench.name}{_ENDING}"
    with replacing(path) as beside:
        beside.write_bytes(content)
    known = _checksums(folder) | {bench.name: hashlib.sha256(content).hexdigest()}
    lines = [f"{known[name]}  {name}{_ENDING}\n" for name in sorted(known)]
    with replacing(folder / _CHECKSUMS) as beside:
        beside.write_text("".join(lines), encoding="ascii")
    return path


def _checksums(folder: Path) -> dict[str, str]:
    """The checksum of each table in a folder."""
    path = folder / _CHECKSUMS
    if not path.is_file():
        return {}
    try:
        lines = [line.split() for line in read_text(path).splitlines()]
        return {name.removesuffix(_ENDING): digest for digest, name in lines}
    except ValueError as error:
        raise InvalidInput(f"{path} is damaged; {_MEND}") from error
