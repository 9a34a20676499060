"""A lock on a file, where the file system has them."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.alive import alive, folder, is_alive, newcomers_take_turns
from dynamoe_search.log.lock import beside, held, require_locks
from dynamoe_search.log.storage import open_log, storage_of

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def take_locks_away(
    monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOLCK, kind: str = "flock"
) -> None:
    """Be as on a file system that has no locks of one kind: flock is ours, lockf is SQLite's."""

    def lock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, kind, lock)


def test_one_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "lock", 0) as first, held(tmp_path / "lock", 0) as second:
        assert (first, second) == (True, False)
    with held(tmp_path / "lock", 0) as third:
        assert third


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_locks_that_fail_later_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    take_locks_away(monkeypatch, number)
    with pytest.raises(RunFailed, match=f"the file system of {tmp_path} has no locks .*--storage"):  # noqa: SIM117
        with held(tmp_path / "lock", 0):
            pass


@pytest.mark.parametrize("number", NO_LOCKS)
@pytest.mark.parametrize("lock", ["flock", "lockf"])
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_file_system_without_locks_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, lock: str, number: int
) -> None:
    before, new = (storage_of(tmp_path, f"{kind}:///{tmp_path}/{name}") for name in ("old", "new"))
    open_log(before, create=True).close()
    take_locks_away(monkeypatch, number, lock)
    message = f"file system of {tmp_path} has no locks .*on another one, .*--storage sqlite:///FILE"
    for storage in (before, new):
        with pytest.raises(RunFailed, match=message):
            open_log(storage, create=True)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_takes_no_file_says_so_itself(tmp_path: Path) -> None:
    require_locks(tmp_path)
    require_locks(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_workers_need_no_locks_where_temporary_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    take_locks_away(monkeypatch, errno.ENOSYS)
    with alive("one"), newcomers_take_turns() as ours:
        assert ours == folder()
        assert is_alive("one")


def test_names_that_look_alike_have_locks_of_their_own(tmp_path: Path) -> None:
    names = ("lr=0.1", "lr-0.1", "lr 0.1", "LR=0.1", "lr/0.1")
    assert len({beside(tmp_path / "log", name, "lock") for name in names}) == len(names)
