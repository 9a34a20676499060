"""Where the log of a study is: an SQLite file, a file of JSON lines, or a PostgreSQL database."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word, user_path
from dynamoe_search.log.events import Log, of_version_0_1
from dynamoe_search.log.jsonlines import JsonLinesLog
from dynamoe_search.log.lock import require_locks
from dynamoe_search.log.sql import SqlLog, postgresql_engine, sqlite_engine

DATABASE = "study.db"
# The errors where a log cannot be read or written.
LOG_ERRORS = (SQLAlchemyError, OSError)
_NAME, _NAME_IN_VERSION_0_1 = "study", "dynamoe_search"
_LONGEST_NAME = 200  # bytes: it names a folder, and file systems allow 255
_MOST_NAMES = 10  # in a message
_FORMS = (
    "sqlite:///FILE, jsonl:///FILE or postgresql://USER@HOST/DATABASE, where %40, %2F and %3F stand"
    " for @, / and ? in a user name or password"
)
# What is shown of an address is in these two: nothing else of it may be printed or written.
_SHOWN_PARTS = ("host", "port", "database")
_SHOWN_IN_QUERY = ("host", "port", "dbname")
# Where an @ stands elsewhere, too, readers differ on where the password ends.
_WITH_ONE_MEANING = re.compile(r"(?s)[^:/?@]+://([^/?@]*@)?[^@]*")
_ADDRESS = re.compile(r"[\w+.-]+://\S*")


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

    Examples
    --------
    >>> print(storage_of(Path("digits"), "postgresql://me:secret@server/studies?sslmode=require"))
    postgresql://server/studies
    """

    kind: str
    name: str
    file: Path | None = None
    server: sa.URL | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The file, or of an address what is no secret: scheme, host, port and database."""
        if self.server is None:
            return str(self.file)
        parts = {part: getattr(self.server, part) for part in _SHOWN_PARTS}
        query = {key: self.server.query[key] for key in _SHOWN_IN_QUERY if key in self.server.query}
        return str(sa.URL.create(self.server.drivername, **parts, query=query))

    @property
    def address(self) -> str:
        """The address by which a command finds the log; on a server without user and password."""
        return str(self) if self.file is None else f"{self.kind}:///{self.file}"


def storage_of(folder: Path, address: str | None = None, name: str | None = None) -> Storage:
    """Where the log of a study is.

    Parameters
    ----------
    folder : Path
        The folder of the study file.
    address : str, optional
        ``sqlite:///FILE``, ``jsonl:///FILE`` or ``postgresql://USER@HOST/DATABASE``; ``study.db``
        in the folder where it is None. FILE is a path as it is, without any escapes; a ``~`` at its
        beginning is the home.
    name : str, optional
        The study's name there; the folder's where an address is given, else "study". It names a
        folder, too, so it has at most 200 bytes, only printable characters, no slash or backslash,
        and no dot at its beginning.

    Raises
    ------
    InvalidInput
        For a name that cannot be, or an address of another form, or of version 0.1.

    Examples
    --------
    >>> print(storage_of(Path("studies/digits"), "jsonl:////mnt/shared/digits 1.jsonl"))
    /mnt/shared/digits 1.jsonl
    """
    if name is None:
        name = _NAME if address is None else folder.resolve().name
    _check_name(name)
    if address is None:
        return Storage("sqlite", name, (folder / DATABASE).absolute())
    kind, _, file = address.partition(":///")
    if kind == "journal":
        raise of_version_0_1(file, "with another --storage")
    if kind in ("sqlite", "jsonl") and file not in ("", ":memory:"):
        # Absolute, as other processes, those of Ray above all, may run in another folder.
        return Storage(kind, name, user_path(file).absolute())
    server = _server(address)
    if server is None:
        raise InvalidInput(f"--storage (or DYNAMOE_STORAGE) is no address of a log; give {_FORMS}")
    return Storage("postgresql", name, server=server)


def options_of(storage: Storage, home: Path, folder: Path, address: str | None = "") -> list[str]:
    """The options by which a command finds a log; none where it is where a study file says.

    Parameters
    ----------
    storage : Storage
    home : Path
        The folder of the study file.
    folder : Path
        That of the study: another one where it has a name.
    address : str, optional
        What to write in place of the storage's address; None for nothing.
    """
    name = None if folder == home else storage.name
    options = []
    if address is not None and storage != storage_of(home, None, name):
        options.append(f"--storage {shell_word(address or storage.address)}")
    return options if name is None else [*options, f"--name {shell_word(name)}"]


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
    RunFailed
        If its file system has no locks.
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


def the_only_study(address: str) -> Storage:
    """Where the log of a study is that is the only one in its file or database.

    Raises
    ------
    InvalidInput
        Where there is none, or more than one; and as `storage_of` and `study_names`.
    """
    storage = storage_of(Path(), address, _NAME)
    names = study_names(storage)
    if not names:
        raise InvalidInput(
            f"{storage} holds no study; begin one with: dynamoe-search run STUDY --storage and the"
            " same address"
        )
    if len(names) > 1:
        raise InvalidInput(f"{storage} holds {_listed(names)}; choose one with --name")
    _check_name(names[0])
    return replace(storage, name=names[0])


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


def reason_of(error: BaseException, storage: Storage) -> str:
    """Why a log failed, in one line, without the secrets of its address."""
    # What SQLAlchemy adds to the words of a driver is long, and of no help to users.
    while error.__cause__ is not None:
        error = error.__cause__
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if storage.server is None:
        return reason
    reason = _ADDRESS.sub(lambda _: str(storage), reason)
    secrets = "|".join(map(re.escape, _secrets(storage.server)))
    return re.sub(rf"(?<!\w)({secrets})(?!\w)", "***", reason) if secrets else reason


def _server(address: str) -> sa.URL | None:
    """The address of a PostgreSQL database; None for any other text."""
    if not _WITH_ONE_MEANING.fullmatch(address):
        return None
    try:
        server = sa.make_url(address)
    except (ArgumentError, ValueError):
        return None
    return server if server.drivername == "postgresql" else None


def _secrets(server: sa.URL) -> list[str]:
    """The password, and what the query says beside user, host, port and database."""
    secrets = [str(server.password or "")]
    for key, values in server.normalized_query.items():
        if key not in (*_SHOWN_IN_QUERY, "user"):
            secrets += values
    return [secret for secret in secrets if secret]


def _check_name(name: str) -> None:
    if (
        name.isprintable()
        and name[:1] not in ("", ".")
        and not {"/", "\\"} & set(name)
        and len(name.encode()) <= _LONGEST_NAME
    ):
        return
    raise InvalidInput(
        f"{reprlib.repr(name)} cannot be the name of a study: it must have at most {_LONGEST_NAME}"
        " bytes, only printable characters, no / or \\, and no dot at its beginning; choose another"
        " with --name"
    )


def _listed(names: Iterable[str]) -> str:
    """Names that may come from others, for a message."""
    shown = [name if name.isprintable() else ascii(name) for name in names]
    more = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more


def _is_missing(storage: Storage) -> bool:
    return storage.file is not None and not storage.file.exists()


def _connect(storage: Storage, create: bool) -> SqlLog | JsonLinesLog:
    if storage.server is not None:
        return SqlLog(postgresql_engine(storage.server), storage.name)
    assert storage.file is not None
    if create or storage.kind == "sqlite":
        require_locks(storage.file.parent)
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
            f" {reason_of(error, storage)}"
        ) from error


def _nothing_yet(storage: Storage, others: list[str]) -> InvalidInput:
    hint = f"; there are: {_listed(others)} (choose with --name)" if others else ""
    if storage.name != _NAME or storage.file is None:
        begin = "begin with: dynamoe-search run STUDY"
        return InvalidInput(f"{storage} holds no results of {storage.name} yet; {begin}{hint}")
    folder = storage.file.parent
    return InvalidInput(
        f"{folder} holds no results yet; begin with: dynamoe-search run {shell_word(folder)} (or"
        f" name with --storage where they are kept){hint}"
    )
