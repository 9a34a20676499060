import multiprocessing
import time
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.search.storage import locked, open_study


def hold(path: Path, ready, shared: bool) -> None:
    with locked(path, shared=shared):
        ready.set()
        time.sleep(60)


@pytest.mark.parametrize("shared", [True, False])
def test_a_lock_ends_with_its_process(tmp_path: Path, shared: bool) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(tmp_path / "lock", ready, shared))
    holder.start()
    assert ready.wait(30)
    with (
        pytest.raises(RunFailed, match="another command is working on this study"),
        locked(tmp_path / "lock", seconds=0.1),
    ):
        pass
    holder.kill()
    with locked(tmp_path / "lock", seconds=10):
        pass


def test_a_changed_study_file_is_refused_with_the_difference(tmp_path: Path) -> None:
    open_study(tmp_path, {"seed": 1, "model": {"depth": 4}, "router": {"k": 2}})
    open_study(tmp_path, {"seed": 1, "model": {"depth": 4}, "router": {"k": 2}})
    with pytest.raises(InvalidInput, match=r"model\.depth: was 4, is 5") as failure:
        open_study(tmp_path, {"seed": 1, "model": {"depth": 5}, "router": {"k": 2}})
    assert "seed" not in str(failure.value)


def test_a_foreign_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("not a database")
    with pytest.raises(InvalidInput, match="not the results of a study"):
        open_study(tmp_path)
    assert path.read_text() == "not a database"


def test_without_results_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="begin with: dynamoe-search run"):
        open_study(tmp_path)
    assert list(tmp_path.iterdir()) == []
