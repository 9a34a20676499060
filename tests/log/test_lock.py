"""A lock on a file, where the file system has them."""

import errno
import os
from pathlib import Path

import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.lock import beside, held


def test_one_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "lock", 0) as first, held(tmp_path / "lock", 0) as second:
        assert (first, second) == (True, False)
    with held(tmp_path / "lock", 0) as third:
        assert third


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(RunFailed, match=f"the file system of {tmp_path} has no locks .*--storage"):  # noqa: SIM117
        with held(tmp_path / "lock", 0):
            pass


def test_names_that_look_alike_have_locks_of_their_own(tmp_path: Path) -> None:
    names = ("lr=0.1", "lr-0.1", "lr 0.1", "LR=0.1", "lr/0.1")
    assert len({beside(tmp_path / "log", name, "lock") for name in names}) == len(names)
