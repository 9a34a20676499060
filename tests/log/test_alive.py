"""What processes leave behind when they are killed, and who removes it."""

import multiprocessing.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynamoe_search.files import has_owner, own
from dynamoe_search.log.alive import alive, folder, is_alive, newcomers_take_turns, place
from tests.processes import another_process, die


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    multiprocessing.util.get_temp_dir()  # for the tests' own processes
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def live_and_die(name: str, parent: str) -> None:
    tempfile.tempdir = parent
    with alive(name):
        with newcomers_take_turns() as ours:
            (ours / f"pymp-{name}").mkdir()
            (ours / f"pymp-{name}" / "listener").touch()
        die()


def names() -> list[str]:
    return sorted(path.name for path in folder().iterdir() if path.name != "turns.lock")


@pytest.mark.slow
def test_what_the_killed_leave_is_removed_at_the_next_start(elsewhere: Path) -> None:
    with alive("one"):
        for name in ("two", "three"):
            with another_process(live_and_die, name, str(elsewhere)) as process:
                process.join()
        # The third has removed what the second left, and the folder of the living has a file only.
        assert names() == ["one", "pymp-three", "three"]
        assert is_alive("one")
        assert not is_alive("three")
        with alive("four"):
            assert names() == ["four", "one"]
        assert names() == ["one"]
    assert names() == []


def own_what_the_parent_owns(path: str) -> None:
    own(os.open(path, os.O_RDONLY))


def test_a_child_can_own_what_its_parent_owns(tmp_path: Path) -> None:
    mine = os.open(tmp_path, os.O_RDONLY)
    own(mine)
    assert has_owner(tmp_path)
    with another_process(own_what_the_parent_owns, str(tmp_path)) as process:
        process.join(60)
        assert process.exitcode == 0
    os.close(mine)
    assert not has_owner(tmp_path)


def test_a_folder_is_a_place_of_its_own(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, tmp_path: Path
) -> None:
    here = place()
    assert here == place()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere / "other"))
    (elsewhere / "other").mkdir()
    assert place() != here


@pytest.mark.parametrize("length", [*range(40, 60), 76, 200])
def test_a_socket_fits_into_the_folder_wherever_temporary_files_are(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, length: int
) -> None:
    long = elsewhere / "é".ljust(length - len(str(elsewhere)) - 2, "x")
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setattr(os, "getuid", lambda: 2**32 - 1)
    socket = folder() / "pymp-12345678" / "listener-12345678"
    assert len(os.fsencode(socket)) <= 103
    folder().rmdir()
