import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.heartbeat import new_worker
from dynamoe_search.log.storage import Place, begin_study, names_at, open_study, place_of
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.worker import Worker
from tests.run.processes import begin, job_of


@pytest.fixture(params=["sqlite", "journal"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(f"{request.param}:///{tmp_path / 'records'}", "first")


def test_a_study_is_begun_once_and_found_again(place: Place) -> None:
    begin_study(place, ["minimize"]).set_user_attr("x", 1)
    assert begin_study(place, ["minimize"]).user_attrs == {"x": 1}
    assert open_study(place).user_attrs == {"x": 1}
    other = Place(place.url, "second")
    with pytest.raises(InvalidInput, match=r"no results of second yet.* there are: first"):
        open_study(other)
    begin_study(other, ["minimize", "maximize"])
    assert len(open_study(other).directions) == 2
    assert names_at(place) == ["first", "second"]


def test_a_new_trial_is_written_as_optuna_writes_it(tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'ours.db'}", "study")
    theirs = optuna.create_study(study_name="study", storage=f"sqlite:///{tmp_path / 'theirs.db'}")
    asked = optuna.create_study()
    for number in range(3):
        trial = asked.ask()
        trial.suggest_float("weight", 1e-6, 1.0)
        trial.suggest_int("k", 1, 4)
        trial.suggest_categorical("hidden", [8, 16])
        trial.set_user_attr("claim", {"candidate": "2-1", "replicate": number})
        trial.storage.set_trial_system_attr(trial._trial_id, "fixed_params", {"k": [1, None]})
        trial.report(0.5, 1)
    ours = begin_study(place, ["minimize"])
    for study in (ours, theirs):
        study.add_trials(asked.trials)

    def rows(file: Path, table: str) -> list[tuple]:
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()

    kept = ("params", "user_attributes", "system_attributes", "intermediate_values")
    for table in ("trials", *(f"trial_{what}" for what in kept)):
        written = rows(tmp_path / "ours.db", table)
        assert len(written) >= 3
        assert written == rows(tmp_path / "theirs.db", table)
    # It goes on as any other: parameters are written one by one, too.
    study = open_study(place)
    trial = study.ask()
    trial.suggest_float("weight", 1e-6, 1.0)
    study.tell(trial, 0.5)
    assert study.trials[-1].params.keys() == {"weight"}
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        trial.set_user_attr("result", {})
    study.enqueue_trial({"weight": 0.5})
    assert study.ask().datetime_start is not None


def test_a_confirmation_is_kept_beside_its_study_and_not_listed(place: Place) -> None:
    begin_study(place, ["minimize"])
    begin_study(place.confirmation, ["minimize"])
    assert names_at(place) == ["first"]
    assert open_study(place.confirmation).study_name == "first/confirmation"


def test_a_foreign_file_is_refused_and_kept(place: Place) -> None:
    assert place.file is not None
    place.file.write_text("not the records of a study\n" * 9)
    with pytest.raises(InvalidInput, match="not the results of a study"):
        open_study(place)
    with pytest.raises(InvalidInput, match="not the results of a study"):
        begin_study(place, ["minimize"])
    assert place.file.read_text() == "not the records of a study\n" * 9


def test_without_results_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="begin with: dynamoe-search run"):
        open_study(place_of(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        *("study.db", "mysql://me@here/x", "sqlite://", "", "journal:", "sqlite:///:memory:"),
        *("postgresql://me@here:port/x", "sqlite+aiosqlite:///x"),
    ],
)
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"no address of records; give sqlite:///FILE"):
        Place(url, "name")


def test_a_password_is_never_shown() -> None:
    place = Place("postgresql://me:secret@server/studies", "digits")
    assert str(place) == "postgresql://me:***@server/studies"
    with pytest.raises(InvalidInput, match=r"'postgres://me:\*\*\*@server/x' is no address"):
        Place("postgres://me:secret@server/x", "digits")


def test_a_file_is_the_same_from_every_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place("journal:///records", "digits")
    monkeypatch.chdir("/")
    assert place.file == tmp_path / "records"


def test_without_its_driver_postgresql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    place = Place("postgresql://me@server/studies", "digits")
    for act in (lambda: names_at(place), lambda: place.run_lock().__enter__()):
        with pytest.raises(InvalidInput, match="PostgreSQL needs its driver; install the extra"):
            act()


def test_an_unreachable_server_is_a_clear_error() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(InvalidInput, match="cannot be read and written"):
        open_study(Place("postgresql://me@localhost:1/studies?connect_timeout=2", "digits"))


def test_the_folder_names_a_study_that_is_kept_elsewhere(tmp_path: Path) -> None:
    assert place_of(tmp_path, "journal:////tmp/x").name == tmp_path.name
    assert place_of(tmp_path).file == tmp_path / "study.db"
    assert place_of(tmp_path, name="other").name == "other"


def test_optuna_sees_a_plain_study(place: Place) -> None:
    study = begin_study(place, ["minimize"])
    study.tell(study.ask(), 1.0)
    assert optuna.get_all_study_names(study._storage) == ["first"]


def test_what_only_the_log_of_sqlite_has_is_one_trial(small_study: Path, tmp_path: Path) -> None:
    begin(small_study)
    worker = Worker(job_of(small_study), new_worker())
    for _ in range(5):
        assert worker.train_next(abort=lambda: False)
    # The log may not have reached the disk when the power fails.
    copy = tmp_path / "copy" / small_study.name
    copy.parent.mkdir()
    shutil.copy(small_study, copy)
    shutil.copy(small_study.with_name("study.db"), copy.parent)
    assert (load_trials(small_study)["state"] == "complete").sum() == 5
    assert (load_trials(copy)["state"] == "complete").sum() >= 4


def test_who_reads_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    begin_study(place, ["minimize"])._storage._backend.engine.dispose()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.execute("PRAGMA journal_mode = DELETE")
    open_study(place)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
