import multiprocessing
import time
from pathlib import Path

import pytest

from dynamoe_search.errors import RunFailed
from dynamoe_search.log.lock import file_lock


def hold(path: Path, ready) -> None:
    with file_lock(path):
        ready.set()
        time.sleep(60)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path / "lock", ready))
    holder.start()
    assert ready.wait(30)
    with (
        pytest.raises(RunFailed, match="another command is working on this study"),
        file_lock(tmp_path / "lock", seconds=0.1),
    ):
        pass
    holder.kill()
    with file_lock(tmp_path / "lock", seconds=10):
        pass


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="cannot be written"), file_lock(tmp_path / "no" / "lock"):
        pass
