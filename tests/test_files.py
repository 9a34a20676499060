"""Files are written whole or not at all, whatever happens meanwhile."""

import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from dynamoe_search.cli.console import save_plot, write_table, write_text
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import has_owner, replacing, writing
from dynamoe_search.models import build_model
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts
from dynamoe_search.training.checkpoint import save_model
from tests.processes import another_process, die

GOOD = "what was there before"


def table_of(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"schedule": [f"{row}-{row * row}" for row in range(rows)]})


def drawing() -> Figure:
    figure = Figure()
    figure.subplots().plot(range(100))
    return figure


def model_of(width: int) -> Any:
    return build_model(Classifier(64, 10, width, Experts(8, Schedule((3, 1)))))


WRITES: dict[str, Callable[[Path], None]] = {
    "table.csv": lambda path: write_table(table_of(5000), path),
    "table.parquet": lambda path: write_table(table_of(5000), path),
    "plot.png": lambda path: save_plot(drawing(), path),
    "plot.svg": lambda path: save_plot(drawing(), path),
    "page.html": lambda path: write_text(path, "x" * 50_000),
    "network.safetensors": lambda path: save_model(model_of(64), path),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_takes_the_place_and_keeps_the_permissions(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text(GOOD)
    path.chmod(0o640)
    WRITES[name](path)
    assert path.read_bytes() != GOOD.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def on_a_full_disk(write: str, path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    with pytest.raises(InvalidInput, match=rf"{path} cannot be written: .*"):
        WRITES[write](path)


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_leaves_the_good_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(GOOD)
    with another_process(on_a_full_disk, name, path) as process:
        process.join()
    assert process.exitcode == 0
    assert path.read_text() == GOOD
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_that_is_no_fault_of_the_user_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "new" / "t.csv", make_folder=True):
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []


def die_half_way(path: Path) -> None:
    with replacing(path) as beside:
        beside.write_text("half of it")
        die()


def test_a_kill_leaves_the_good_file_and_the_next_one_removes_the_half(tmp_path: Path) -> None:
    path, other = tmp_path / "table [1].csv", tmp_path / "other.csv"
    for one in (path, other):
        one.write_text(GOOD)
        with another_process(die_half_way, one) as process:
            process.join()
    assert path.read_text() == GOOD
    assert len(list(tmp_path.iterdir())) == 4
    with replacing(path) as beside, replacing(path) as another:  # that of a living one stays
        beside.write_text("first")
        another.write_text("second")
    assert path.read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 3
    with replacing(other) as beside:
        beside.write_text("whole")
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_it_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "table.csv", list[str]()

    def flush(file: int) -> None:
        assert not path.exists()
        flushed.append(os.pread(file, 100, 0).decode())

    monkeypatch.setattr(os, "fsync", flush)
    write_table(table_of(1), path)
    assert flushed == ["schedule\n0-0\n"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "folder" / "table.csv", tmp_path / "link.csv"
    path.parent.mkdir()
    path.write_text(GOOD)
    link.symlink_to(path)
    write_table(table_of(1), link)
    assert link.is_symlink()
    assert path.read_text() == "schedule\n0-0\n"


def test_a_pipe_and_a_device_are_written_as_they_are(tmp_path: Path) -> None:
    write_text(Path(os.devnull), "nothing")
    assert Path(os.devnull).is_char_device()
    reading, writing = os.pipe()
    write_text(Path(f"/dev/fd/{writing}"), "a page")
    assert os.read(reading, 100) == b"a page"
    for end in (reading, writing):
        os.close(end)


def test_names_of_every_length_and_any_ending(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".csv", ".csv", "ä" * 100, "a b?*[c]%d"):
        write_text(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert len(list(tmp_path.iterdir())) == 4
    write_table(table_of(2), tmp_path / "t.csv.gz", "csv")
    assert len(pd.read_csv(tmp_path / "t.csv.gz")) == 2


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(GOOD)
    path.chmod(0o444)
    with pytest.raises(InvalidInput, match="Permission denied"):
        write_table(table_of(1), path)
    assert path.read_text() == GOOD


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "table.csv"
    with pytest.raises(FileNotFoundError) as raised, replacing(path):
        pass
    assert raised.value.filename == str(path)


def test_what_nobody_owns_has_no_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert not has_owner(path)
    path.touch()
    assert not has_owner(path)
    assert not has_owner(tmp_path)
