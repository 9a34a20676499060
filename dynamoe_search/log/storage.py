"""Where the log of a study is: an SQLite file, a file of JSON lines, or a PostgreSQL database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Log, of_version_0_1
from dynamoe_search.log.jsonlines import JsonLinesLog
from dynamoe_search.log.sql import SqlLog, postgresql_engine, sqlite_engine

DATABASE = "study.db"
# The errors where a log cannot be read or written.
LOG_ERRORS = (SQLAlchemyError, OSError)
_NAME, _NAME_IN_VERSION_0_1 = "study", "dynamoe_search"
_FORMS = "sqlite:///FILE, jsonl:///FILE or postgresql://USER@HOST/DATABASE"


@dataclass(frozen=True)
class Storage:
    """Where the log of one study is.

    Parameters
    ----------
    kind : str
        "sqlite", "jsonl" or "postgresql".
    name : str
        The study's name there.
    file : Path, optional
        The absolute path of the file; None for PostgreSQL.
    server : URL, optional
        The address of the database, with its password; None for a file.
    """

    kind: str
    name: str
    file: Path | None = None
    server: sa.URL | None = None

    def __str__(self) -> str:
        """The file, or the address without its password."""
        return str(self.file or self.server)


def storage_of(folder: Path, address: str | None = None, name: str | None = None) -> Storage:
    """Where the log of a study is.

    Parameters
    ----------
    folder : Path
        The folder of the study file.
    address : str, optional
        ``sqlite:///FILE``, ``jsonl:///FILE`` or ``postgresql://USER@HOST/DATABASE``; ``study.db``
        in the folder where it is None. FILE is a path as it is, without any escapes.
    name : str, optional
        The study's name there; the folder's where an address is given, else "study".

    Raises
    ------
    InvalidInput
        For an address of another form, or of version 0.1.

    Examples
    --------
    >>> print(storage_of(Path("studies/digits"), "jsonl:////mnt/shared/digits 1.jsonl"))
    /mnt/shared/digits 1.jsonl
    """
    if address is None:
        return Storage("sqlite", name or _NAME, (folder / DATABASE).absolute())
    name = name or folder.resolve().name
    kind, _, file = address.partition(":///")
    if kind == "journal":
        raise of_version_0_1(file, "with another --storage")
    if kind in ("sqlite", "jsonl") and file not in ("", ":memory:"):
        # Absolute, as other processes, those of Ray above all, may run in another folder.
        return Storage(kind, name, Path(file).absolute())
    try:
        server = sa.make_url(address)
    except (ArgumentError, ValueError):
        server = None
    if server is None or server.drivername != "postgresql":
        shown = re.sub(r"(//[^:/]*):.*@", r"\1:***@", address)
        raise InvalidInput(f"--storage: {shown!r} is no address of a log; give {_FORMS}")
    return Storage("postgresql", name, server=server)


def open_log(storage: Storage, create: bool) -> Log:
    """The log of a study.

    Parameters
    ----------
    storage : Storage
    create : bool
        Whether the study may begin now; else it must have begun, and may be read-only.

    Raises
    ------
    InvalidInput
        If the study has not begun, or began with version 0.1, or if the storage is no log or
        cannot be read, or, with `create`, written.
    """
    if not create and _is_missing(storage):
        raise _nothing_yet(storage, [])
    with _errors_named(storage):
        log = _connect(storage, create)
        try:
            _check(storage, log, create)
        except BaseException:
            log.close()
            raise
    return log


def study_names(storage: Storage) -> list[str]:
    """The names of all studies in the same file or database, in the order of their beginning.

    Raises
    ------
    InvalidInput
        If it cannot be read.
    """
    if _is_missing(storage):
        return []
    with _errors_named(storage), _connect(storage, create=False) as log:
        return list(dict.fromkeys(log.studies()))


def reason_of(error: BaseException) -> str:
    """Why a log failed, in one line."""
    # What SQLAlchemy adds to the words of a driver is long, and of no help to users.
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_missing(storage: Storage) -> bool:
    return storage.file is not None and not storage.file.exists()


def _connect(storage: Storage, create: bool) -> SqlLog | JsonLinesLog:
    if storage.server is not None:
        return SqlLog(postgresql_engine(storage.server), storage.name)
    assert storage.file is not None
    if create:
        storage.file.touch()
    if storage.kind == "jsonl":
        return JsonLinesLog(storage.file, storage.name)
    return SqlLog(sqlite_engine(storage.file), storage.name, storage.file)


def _check(storage: Storage, log: SqlLog | JsonLinesLog, create: bool) -> None:
    if not log.has_begun():
        old = {storage.name} | ({_NAME_IN_VERSION_0_1} if storage.name == _NAME else set())
        if isinstance(log, SqlLog) and not old.isdisjoint(log.studies_of_version_0_1()):
            raise of_version_0_1(str(storage), "under another --name")
        if not create:
            raise _nothing_yet(storage, list(dict.fromkeys(log.studies())))
    if create:
        log.begin()


@contextmanager
def _errors_named(storage: Storage) -> Iterator[None]:
    try:
        yield
    except LOG_ERRORS as error:
        raise InvalidInput(
            f"{storage} is not the log of a study, or cannot be read and written:"
            f" {reason_of(error)}"
        ) from error


def _nothing_yet(storage: Storage, others: list[str]) -> InvalidInput:
    hint = f"; there are: {', '.join(others)} (choose with --name)" if others else ""
    if storage.name != _NAME or storage.file is None:
        begin = "begin with: dynamoe-search run STUDY"
        return InvalidInput(f"{storage} holds no results of {storage.name} yet; {begin}{hint}")
    folder = storage.file.parent
    return InvalidInput(
        f"{folder} holds no results yet; begin with: dynamoe-search run {folder} (or name with"
        f" --storage where they are kept){hint}"
    )
