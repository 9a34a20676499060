"""Where logs are, and what is no log."""

import string
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import make_url

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event
from dynamoe_search.log.storage import (
    Storage,
    open_log,
    storage_of,
    study_names,
    the_only_study,
)
from tests.fixtures import Server

# Every printable character that a name may have.
NAME = "".join(sorted(set(string.printable) - set("/\\\t\n\r\v\f"))) + "ä漢"


def begin(storage: Storage) -> None:
    with open_log(storage, create=True) as log:
        log.append(Event("begun", {"study": storage.name}))


def events_of(storage: Storage) -> list[str]:
    with open_log(storage, create=False) as log:
        return [event.content["study"] for _, event in log.read()]


def test_a_study_is_begun_once_and_found_again(storage: Storage) -> None:
    begin(storage)
    begin(storage)
    assert events_of(storage) == ["first"] * 2
    other = replace(storage, name="second")
    message = r"holds no results of second yet; begin with: .* there are: first \(choose with"
    with pytest.raises(InvalidInput, match=message):
        open_log(other, create=False)
    begin(other)
    assert events_of(other) == ["second"]
    begin(storage)
    assert study_names(storage) == study_names(other) == ["first", "second"]


def test_a_study_without_an_event_has_not_begun(storage: Storage) -> None:
    open_log(storage, create=True).close()
    with pytest.raises(InvalidInput, match=r"holds no results of first yet; begin with: [^;]*$"):
        open_log(storage, create=False)
    assert study_names(storage) == []


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_path_of_every_printable_character(tmp_path: Path, kind: str) -> None:
    strange = "".join(sorted(set(string.printable) - set("/"))) + "ä漢 %41 ?mode=memory #x"
    folder = tmp_path / f"x{strange}"
    folder.mkdir()
    storage = storage_of(folder, f"{kind}:///{folder / strange}", NAME)
    assert storage.file == folder / strange
    assert storage_of(tmp_path, storage.address, NAME) == storage
    begin(storage)
    assert events_of(storage) == [NAME]
    assert study_names(storage) == [NAME]
    with open_log(storage, create=False) as log, log.exclusive("run", 0) as entered:
        assert entered
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == [strange]
    inside = storage_of(folder)
    begin(inside)
    assert inside.file == folder / "study.db"
    assert events_of(inside) == ["study"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_study_of_every_printable_character_on_a_server(server: Server) -> None:
    storage = storage_of(Path(), server.new_database(), NAME)
    begin(storage)
    assert events_of(storage) == [storage.name]


def test_without_results_it_says_how_to_begin(tmp_path: Path) -> None:
    for storage in (storage_of(tmp_path), storage_of(tmp_path, f"jsonl:///{tmp_path}/log")):
        with pytest.raises(InvalidInput, match="begin with: dynamoe-search run"):
            open_log(storage, create=False)
        assert study_names(storage) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        *("study.db", "mysql://me@here/x", "sqlite://", "", "jsonl:", "sqlite:///:memory:"),
        *("postgresql://me@here:port/x", "sqlite+aiosqlite:///x", "jsonl:///", "postgres://me@x/y"),
    ],
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="no address of a log; give sqlite:///FILE, jsonl:///"):
        storage_of(Path(), address)


def test_a_file_is_the_same_from_every_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    storages = [storage_of(Path(), "jsonl:///log"), storage_of(Path())]
    monkeypatch.chdir("/")
    assert [storage.file for storage in storages] == [tmp_path / "log", tmp_path / "study.db"]


def test_the_folder_names_a_study_that_is_kept_elsewhere(tmp_path: Path) -> None:
    assert storage_of(tmp_path, "jsonl:////tmp/x").name == tmp_path.name
    assert storage_of(tmp_path) == Storage("sqlite", "study", tmp_path / "study.db")
    assert storage_of(tmp_path, name="other").name == "other"


def test_without_its_driver_postgresql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    storage = storage_of(Path(), "postgresql://me@server/studies")
    for act in (lambda: study_names(storage), lambda: open_log(storage, create=True)):
        with pytest.raises(InvalidInput, match="PostgreSQL needs its driver; install the extra"):
            act()


FOLDERS = [
    *("is it better", "is it better?", "is it better? (v2)", "is it better?mode=memory"),
    *("my study", "my%20study", "my#study", "my&study", "my;study", "C:study", "file:study"),
]


def test_two_folders_never_share_a_log(tmp_path: Path) -> None:
    """Characters that mean something in addresses; in the folder, and in its parent."""
    folders = [tmp_path / name for name in FOLDERS]
    folders += [tmp_path / f"{name} of others" / "digits" for name in FOLDERS]
    storages = []
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        storages.append(storage_of(folder))
        with open_log(storages[-1], create=True) as log:
            log.append(Event("begun", {"study": str(number)}, "begun"))
        storages.append(storage_of(folder, f"jsonl:///{folder / 'log'}", str(number)))
        begin(storages[-1])
    for number, folder in enumerate(folders):
        kept = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        assert kept == ["log", "study.db"]
        assert events_of(storages[2 * number]) == [str(number)]
        assert events_of(storages[2 * number + 1]) == [str(number)]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/tmp/x", "a\\b", ".hidden", "a\nb", "a\0b", "\x1b[31m"),
        *("x" * 201, "漢" * 67, "\udcff", "a\u202eb"),
    ],
)
def test_a_name_that_no_folder_should_have_is_refused(name: str) -> None:
    for address in (None, "jsonl:///x", "postgresql://server/studies"):
        with pytest.raises(InvalidInput, match="cannot be the name of a study: it must") as raised:
            storage_of(Path(), address, name)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["x" * 200, "lr=0.1", "digits (2)", "漢字", "-", "a..b", NAME])
def test_other_names_are_kept(name: str) -> None:
    assert storage_of(Path(), "jsonl:///x", name).name == name


def test_the_name_of_a_folder_is_checked_where_it_names_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "two\nlines"
    assert storage_of(folder).name == "study"
    with pytest.raises(
        InvalidInput, match=r"'two\\nlines' cannot be .* choose another with --name"
    ):
        storage_of(folder, "jsonl:///x")


def test_the_only_study_is_found_by_its_log_alone(tmp_path: Path) -> None:
    address = f"jsonl:///{tmp_path / 'log'}"
    with pytest.raises(InvalidInput, match="log holds no study; begin one with"):
        the_only_study(address)
    begin(storage_of(tmp_path, address, "first"))
    assert the_only_study(address) == storage_of(tmp_path, address, "first")
    for number in range(12):
        begin(storage_of(tmp_path, address, f"n{number}"))
    with pytest.raises(InvalidInput, match=r"holds first, n0, .*, n8 and 3 more; choose one with"):
        the_only_study(address)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "..", ".ssh", "a\nb"])
def test_a_log_cannot_name_a_folder_elsewhere(tmp_path: Path, name: str) -> None:
    file = tmp_path / "log"
    begin(Storage("jsonl", name, file))
    with pytest.raises(InvalidInput, match="cannot be the name of a study"):
        the_only_study(f"jsonl:///{file}")
    begin(Storage("jsonl", "other", file))
    with pytest.raises(InvalidInput, match="choose one with --name") as raised:
        the_only_study(f"jsonl:///{file}")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_what_is_no_log_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    storage = Storage(kind, "first", tmp_path / "file")
    storage.file.write_text("not the log of a study\n" * 99)
    missing = replace(storage, file=tmp_path / "missing" / "file")
    for create in (False, True):
        with pytest.raises(InvalidInput, match="file is not the log of a study"):
            open_log(storage, create)
        with pytest.raises(InvalidInput, match=f"{tmp_path} is not the log of a study, or cannot"):
            open_log(replace(storage, file=tmp_path), create)
    with pytest.raises(InvalidInput, match="file is not the log of a study, or cannot"):
        open_log(missing, create=True)
    with pytest.raises(InvalidInput, match="is not the log of a study"):
        study_names(storage)
    assert storage.file.read_text() == "not the log of a study\n" * 99
    assert [path for path in tmp_path.iterdir() if path.name[0] != "."] == [storage.file]


@contextmanager
def optuna_storage(storage: Storage) -> Iterator[optuna.storages.BaseStorage]:
    """Optuna's own storage, as version 0.1 had it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if storage.kind == "jsonl":
        yield optuna.storages.JournalStorage(JournalFileBackend(str(storage.file)))
        return
    url = storage.server or make_url(f"sqlite:///{storage.file}")
    driver = "postgresql+psycopg" if storage.server else "sqlite"
    address = url.set(drivername=driver).render_as_string(hide_password=False)
    kept = optuna.storages.RDBStorage(address)
    yield kept
    kept.engine.dispose()


@pytest.mark.slow
def test_a_log_of_version_0_1_is_refused_and_kept(storage: Storage) -> None:
    with optuna_storage(storage) as kept:
        study = optuna.create_study(study_name="first", storage=kept)
        study.tell(study.ask(), 1.0)
    message = (
        r"holds a log of version 0\.1, which this version cannot read: finish the study with"
        r" version 0\.1, or begin it again (under another --name|with another --storage)$"
    )
    before = storage.file.read_bytes() if storage.file else None
    for create in (False, True):
        with pytest.raises(InvalidInput, match=message) as raised:
            open_log(storage, create)
        assert str(storage) in str(raised.value)
    if storage.file:
        assert storage.file.read_bytes() == before
    if storage.kind != "jsonl":
        # As the message says: another name is free, and the first stays refused.
        other = replace(storage, name="second")
        begin(other)
        assert events_of(other) == ["second"]
        with pytest.raises(InvalidInput, match=message):
            open_log(storage, create=True)
        assert study_names(storage) == ["second"]
    with optuna_storage(storage) as kept:
        assert optuna.load_study(study_name="first", storage=kept).trials[0].value == 1.0


def test_the_file_of_version_0_1_in_the_folder_is_refused(tmp_path: Path) -> None:
    storage = storage_of(tmp_path)
    with optuna_storage(storage) as kept:
        optuna.create_study(study_name="dynamoe_search", storage=kept)
    with pytest.raises(InvalidInput, match=r"log of version 0\.1"):
        open_log(storage, create=True)
    begin(replace(storage, name="second"))


def test_an_address_of_version_0_1_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"x holds a log of version 0\.1.*another --storage"):
        storage_of(Path(), "journal:///x")
