"""A log whose file is deleted, moved or replaced while it is in use."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.storage import Storage, open_log


@pytest.fixture(params=["sqlite", "jsonl"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(request.param, "first", tmp_path / "study.db")


def numbers_of(log: Log) -> list[int]:
    return [event.content["number"] for _, event in log.read()]


def delete(file: Path) -> None:
    for path in file.parent.glob(f"{file.name}*"):  # SQLite's other files, too
        path.unlink()


def replace_by_an_older_copy(file: Path) -> None:
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.replace(file)


def begin_again(file: Path) -> None:
    delete(file)
    file.touch()


def move(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


@pytest.mark.parametrize("change", [delete, replace_by_an_older_copy, begin_again, move])
@pytest.mark.parametrize("act", ["append", "read"])
def test_it_is_noticed_and_what_it_held_is_kept(
    storage: Storage, tmp_path: Path, change: Callable[[Path], None], act: str
) -> None:
    file = storage.file
    with open_log(storage, create=True) as log:
        for number in range(5):
            log.append(Event("finished", {"number": number}))
        last = log.read()[-1][0]
        change(file)
        before = file.read_bytes() if file.exists() else None
        for _ in range(2):
            with pytest.raises(RunFailed, match="was deleted, moved or replaced") as raised:
                log.append(Event("finished", {})) if act == "append" else log.read(last)
        # What took its place is left alone.
        assert (file.read_bytes() if file.exists() else None) == before
    kept = re.search(r"is kept in (\S+): move that to (\S+) to go on", str(raised.value))
    assert kept is not None
    assert kept[2] == str(file)
    delete_what_is_there = [path for path in (file,) if path.exists()]
    for path in delete_what_is_there:
        path.unlink()
    Path(kept[1]).rename(kept[2])
    with open_log(storage, create=True) as log:
        assert numbers_of(log) == [0, 1, 2, 3, 4]
        log.append(Event("finished", {"number": 5}))
        assert numbers_of(log) == [0, 1, 2, 3, 4, 5]


def test_each_process_keeps_the_same(storage: Storage, tmp_path: Path) -> None:
    with open_log(storage, create=True) as log, open_log(storage, create=True) as other:
        log.append(Event("finished", {"number": 0}))
        delete(storage.file)
        for one in (log, other, log):
            with pytest.raises(RunFailed, match="is kept in"):
                one.read()
    (kept,) = [path for path in tmp_path.iterdir() if path.name[0] != "."]
    with open_log(Storage(storage.kind, "first", kept), create=False) as log:
        assert numbers_of(log) == [0]


def test_a_result_is_kept_that_comes_at_the_moment_of_the_change(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(storage, create=True) as log:
        log.append(Event("finished", {"number": 0}))
        check, checks = log._opened.check, list[int]()

        def deleted_meanwhile() -> None:
            checks.append(0)
            if len(checks) == 2:  # after it was written
                delete(storage.file)
            check()

        monkeypatch.setattr(log._opened, "check", deleted_meanwhile)
        with pytest.raises(RunFailed, match="is kept in"):
            log.append(Event("finished", {"number": 1}))
    (kept,) = storage.file.parent.glob("*.rescued-*")
    with open_log(Storage(storage.kind, "first", kept), create=False) as log:
        assert numbers_of(log) == [0, 1]


def test_what_cannot_be_kept_is_told(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_log(storage, create=True) as log:
        log.append(Event("finished", {"number": 0}))
        delete(storage.file)

        def fail(path: Path) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr(log._opened, "_rescue", fail)
        with pytest.raises(RunFailed, match=r"could not be kept in .* \(No space left on device\)"):
            log.append(Event("finished", {"number": 1}))


def test_a_log_that_was_replaced_between_two_openings_is_noticed(storage: Storage) -> None:
    with open_log(storage, create=True) as log:
        for number in range(3):
            log.append(Event("finished", {"number": number}))
        last = log.read()[-1][0]
    delete(storage.file)
    with open_log(storage, create=True) as log:
        log.append(Event("finished", {"number": 7}))
    with (
        open_log(storage, create=False) as log,
        pytest.raises(RunFailed, match=r"study\.db is not the log that was read before"),
    ):
        log.read(last)
