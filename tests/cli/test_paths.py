"""Paths as users have them: below the home, and with names that are no text."""

import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.files import shell_word
from dynamoe_search.report.html import page
from dynamoe_search.study import Study
from tests.cli.calls import error_of, output_of
from tests.conftest import SMALL_STUDY
from tests.report import made_up


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the user, whose current folder is another one."""
    for name in ("home", "current"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "current")
    return tmp_path / "home"


@pytest.fixture
def short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of its last section alone."""
    section = {"reproduction": page.SECTIONS["reproduction"]}
    monkeypatch.setattr(page, "SECTIONS", section)


@pytest.mark.slow
@pytest.mark.usefixtures("short_report")
def test_a_tilde_is_the_home_wherever_a_path_is_given(home: Path, finished: Path) -> None:
    shutil.copytree(finished, home / "study")
    (home / "text.txt").write_text("\n\n".join(f"{number} " * 999 for number in range(30)))
    for command in (
        "leaderboard ~/study --csv=~/board.csv --parquet=~/board.parquet",
        "fidelity ~/study --csv=~/fidelity.csv",
        "report ~/study --out=~/pages/report.html",
        "bounds --csv=~/bounds.csv --json=~/bounds.json",
        "schedule enumerate --csv=~/all.csv",
        "data prepare ~/text.txt ~/text.tokens",
    ):
        output_of(*command.split())
    made = "board.csv board.parquet fidelity.csv bounds.csv bounds.json all.csv text.tokens"
    assert {path.name for path in home.iterdir()}.issuperset([*made.split(), "pages"])
    assert "text.tokens" in output_of("data", "list", "--data-dir=~")
    assert list(Path().iterdir()) == []


def test_a_tilde_is_the_home_in_python(home: Path) -> None:
    sections = {"model": {"depth": 2, "width": 8, "hidden": 8}, "budget": {"experts": 4}}
    study = Study.create("~/new", search={"runs": 2}, data_directory="~/data", **sections)
    assert study.path == home / "new" / "study.toml"
    assert study.data_directory == home / "data"
    assert Study("~/new", "jsonl:///~/log").storage.file == home / "log"
    assert list(Path().iterdir()) == []


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder whose name is no text."""
    folder = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only text")
    (folder / "study.toml").write_text(SMALL_STUDY)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("short_report")
def test_a_folder_whose_name_is_no_text(strange: Path, tmp_path: Path) -> None:
    made_up.search(strange / "study.toml")
    output_of("report", strange, "--out", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert r"caf\udce9 \udcff" in Study(strange)._repr_html_()
    commands = re.findall(r"dynamoe-search run [^<\n]+", text)
    assert {words_of(unescape(command))[2] for command in commands} == {b"study.toml"}
    assert words_of(Study(strange).arguments) == [os.fsencode(strange / "study.toml")]
    output_of("run", strange, "--workers", 1)  # which has had all its runs
    assert (strange / "leaderboard.parquet").read_bytes().startswith(b"PAR1")
    corpus = pd.DataFrame({"text": ["one", "two", "three"]})
    (strange / "corpus.parquet").write_bytes(corpus.to_parquet())
    output_of("data", "prepare", strange / "corpus.parquet", strange / "corpus.tokens")


def words_of(command: str) -> list[bytes]:
    """The words of a command, as bash reads it."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    read = ["bash", "-c", f"printf '%s\\0' {command}"]
    return subprocess.run(read, capture_output=True, check=True).stdout.split(b"\0")[:-1]


# No process can be given NUL; what is no UTF-8 comes as Python reads file names.
@settings(max_examples=20)
@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name), min_size=1))
def test_a_shell_reads_each_word_as_it_is(words: list[bytes]) -> None:
    assert words_of(" ".join(shell_word(os.fsdecode(word)) for word in words)) == words


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_study_file_that_is_not_utf8(small_study: Path, encoding: str) -> None:
    small_study.write_text(f"# größer\n{SMALL_STUDY}", encoding=encoding)
    assert f"{small_study} is not UTF-8" in error_of("run", small_study)
