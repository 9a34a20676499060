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
from dynamoe_search.log.storage import Storage, open_log, storage_of, study_names
from tests.fixtures import Server


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
    storage = storage_of(folder, f"{kind}:///{folder / strange}", strange)
    assert storage.file == folder / strange
    begin(storage)
    assert events_of(storage) == [strange]
    assert study_names(storage) == [strange]
    with open_log(storage, create=False) as log, log.exclusive("run", 0) as entered:
        assert entered
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == [strange]
    inside = storage_of(folder)
    begin(inside)
    assert inside.file == folder / "study.db"
    assert events_of(inside) == ["study"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_study_of_every_printable_character_on_a_server(server: Server) -> None:
    storage = storage_of(Path(), server.new_database(), string.printable + "ä漢")
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


def test_a_password_is_never_shown() -> None:
    storage = storage_of(Path(), "postgresql://me:secret@server/studies", "digits")
    assert str(storage) == "postgresql://me:***@server/studies"
    assert "secret" not in repr(storage)
    for password in ("secret", "se:cr@e/t"):
        address = f"postgres://me:{password}@server/x"
        with pytest.raises(InvalidInput, match=r"'postgres://me:\*\*\*@server/x' is no address"):
            storage_of(Path(), address, "digits")


def test_a_password_of_any_characters_reaches_the_server() -> None:
    storage = storage_of(Path(), "postgresql://m%40e:s%2F%3Fe%25@server:99/studies?sslmode=prefer")
    assert storage.server is not None
    assert (storage.server.username, storage.server.password) == ("m@e", "s/?e%")
    assert storage.server.query == {"sslmode": "prefer"}


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


def test_an_unreachable_server_is_a_clear_error() -> None:
    pytest.importorskip("psycopg")
    storage = storage_of(Path(), "postgresql://me:secret@localhost:1/studies?connect_timeout=2")
    with pytest.raises(InvalidInput, match=r"read and written: .*refused") as raised:
        open_log(storage, create=False)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


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
