"""Where a study's records are kept: SQLite, Optuna's journal file, or PostgreSQL."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.database import open_database, require_psycopg
from dynamoe_search.log.journal import open_journal
from dynamoe_search.log.lock import file_lock, postgresql_lock

Direction = Literal["minimize", "maximize"]

DATABASE = "study.db"
CONFIRMATION = "/confirmation"
_NAME = "dynamoe_search"
_FORMS = "sqlite:///FILE, journal:///FILE or postgresql://USER@HOST/DATABASE"
# What optuna, SQLAlchemy and the files below them raise where records cannot be read or written.
STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError)


@dataclass(frozen=True)
class Place:
    """Where the records of a study are, and under which name.

    Parameters
    ----------
    url : str
        ``sqlite:///FILE``, ``journal:///FILE`` or ``postgresql://USER@HOST/DATABASE``.
    name : str
        What tells the study from others there.

    Raises
    ------
    InvalidInput
        For an address of another form.
    """

    url: str
    name: str

    def __post_init__(self) -> None:
        try:
            url = make_url(self.url)
            known = url.drivername in ("sqlite", "journal", "postgresql")
            known &= url.drivername == "postgresql" or url.database not in (None, "", ":memory:")
        except (ArgumentError, ValueError):
            known = False
        if not known:
            shown = re.sub(r":[^:@/]*@", ":***@", self.url)
            raise InvalidInput(f"--storage: {shown!r} is no address of records; give {_FORMS}")
        if url.drivername != "postgresql":
            # Other processes, and Ray's above all, may stand in another folder.
            absolute = url.set(database=str(Path(str(url.database)).absolute()))
            object.__setattr__(self, "url", absolute.render_as_string(hide_password=False))

    def __str__(self) -> str:
        """The file, or the address without its password."""
        return str(self.file or make_url(self.url).render_as_string(hide_password=True))

    @property
    def kind(self) -> str:
        """sqlite, journal or postgresql."""
        return make_url(self.url).get_backend_name()

    @property
    def file(self) -> Path | None:
        """The file of the records; None where a server keeps them."""
        database = make_url(self.url).database
        return None if self.kind == "postgresql" or database is None else Path(database).absolute()

    @property
    def confirmation(self) -> Place:
        """Where the confirmation of the study is kept."""
        return Place(self.url, self.name + CONFIRMATION)

    def claim_lock(self) -> AbstractContextManager[None]:
        """The lock under which trainings are claimed."""
        return self._lock("claim " + self.name, None)

    def run_lock(self) -> AbstractContextManager[None]:
        """The lock of the one command that runs the study; `RunFailed` where another has it."""
        return self._lock("run " + self.name.removesuffix(CONFIRMATION), 0.0)

    def _lock(self, which: str, seconds: float | None) -> AbstractContextManager[None]:
        if self.file is None:
            require_psycopg()
            url = make_url(self.url).set(drivername="postgresql")
            text = url.render_as_string(hide_password=False)
            return postgresql_lock(text, f"dynamoe_search {which}", seconds)
        ending = re.sub(r"[^\w]+", "-", which)
        return file_lock(self.file.with_name(f".{self.file.name}.{ending}.lock"), seconds)


def place_of(folder: Path, url: str | None = None, name: str | None = None) -> Place:
    """Where the records of a study file's folder are.

    Parameters
    ----------
    folder : Path
    url : str, optional
        The address; ``study.db`` in the folder where it is None.
    name : str, optional
        The study's name there; the folder's where records are kept elsewhere.
    """
    if url is None:
        return Place(f"sqlite:///{(folder / DATABASE).absolute()}", name or _NAME)
    return Place(url, name or folder.resolve().name)


def open_study(place: Place, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    """A study that has been begun.

    Raises
    ------
    InvalidInput
        Where there is none, or what is in its place is no study.
    """
    if place.file is not None and not place.file.exists():
        raise InvalidInput(nothing_yet(place))
    try:
        storage = connect(place, make_tables=False)
        return optuna.load_study(study_name=place.name, storage=storage, pruner=pruner)
    except KeyError:
        others = ", ".join(names_at(place))
        hint = f"; there are: {others} (choose with --name)" if others else ""
        raise InvalidInput(nothing_yet(place) + hint) from None
    except (*STORAGE_ERRORS, RuntimeError, ValueError) as error:
        raise InvalidInput(_not_records(place, error)) from error


def begin_study(place: Place, directions: list[Direction]) -> optuna.Study:
    """The study of that name, begun where it does not exist.

    Raises
    ------
    InvalidInput
        Where what is in its place is no study, or it cannot be written.
    """
    try:
        return optuna.create_study(
            study_name=place.name,
            storage=connect(place, make_tables=True),
            directions=directions,
            load_if_exists=True,
        )
    except (*STORAGE_ERRORS, RuntimeError, ValueError) as error:
        raise InvalidInput(_not_records(place, error)) from error


def names_at(place: Place) -> list[str]:
    """The names of the studies that are kept at the same address.

    Raises
    ------
    InvalidInput
        Where it cannot be read.
    """
    if place.file is not None and not place.file.exists():
        return []  # to connect would make it
    try:
        names = optuna.get_all_study_names(connect(place, make_tables=False))
    except KeyError:
        return []
    except (*STORAGE_ERRORS, RuntimeError, ValueError) as error:
        raise InvalidInput(_not_records(place, error)) from error
    return [name for name in names if not name.endswith(CONFIRMATION)]


def connect(place: Place, make_tables: bool) -> optuna.storages.BaseStorage:
    """Optuna's storage at an address; `KeyError` where its tables are not to be made and miss."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if place.kind == "journal":
        assert place.file is not None
        return open_journal(place.file)
    return open_database(place.url, make_tables)


def nothing_yet(place: Place) -> str:
    """What to say where a study has not begun."""
    return (
        f"{place} holds no results of {place.name} yet; begin with: dynamoe-search run STUDY"
        if place.name != _NAME or place.file is None
        else f"{place.file.parent} holds no results yet; begin with: dynamoe-search run"
        f" {place.file.parent} (or name with --storage where they are kept)"
    )


def _not_records(place: Place, error: Exception) -> str:
    return (
        f"{place} is not the results of a study, or cannot be read and written: {reason_of(error)}"
    )


def reason_of(error: BaseException) -> str:
    """What was wrong with the records, in a line."""
    # What Optuna and SQLAlchemy say themselves is long, and about what may be the reason.
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
