import re
import shlex
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.request import urlopen

import pytest

from dynamoe_search.study import Study
from tests.cli.calls import error_of, output_of
from tests.report import made_up


@pytest.mark.slow
def test_a_report_is_written(finished: Path, tmp_path: Path) -> None:
    path = finished / "report.html"
    assert output_of("report", finished) == f"wrote {path}\n"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    elsewhere = tmp_path / "new" / "other.html"
    assert output_of("report", finished / "study.toml", "--out", elsewhere)
    assert elsewhere.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_mistakes_are_told(small_study: Path) -> None:
    assert "holds no results yet" in error_of("report", small_study)
    made_up.search(small_study, most=1)
    inside = small_study / "report.html"  # which is no folder
    assert f"{inside} cannot be written" in error_of("report", small_study, "--out", inside)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("", None), ("sqlite", "my study"), ("jsonl", None)])
def test_the_commands_of_a_report_work(
    small_study: Path, kind: str, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = small_study.parent / "a log's folder"
    elsewhere.mkdir()
    storage = f"{kind}:///{elsewhere}/log" if kind else None
    made_up.search(small_study, name=name, storage=storage)
    page = Study(small_study, storage, name).report(progress=False).read_text()
    reproduction = page[page.index('<section id="reproduction"') :]
    commands = re.findall(r"dynamoe-search (?:run|report) [^<\n]+", reproduction)
    assert len(commands) == 2
    monkeypatch.chdir(small_study.parent)
    for command in commands:
        output_of(*shlex.split(unescape(command))[1:])


@pytest.mark.slow
def test_a_watched_report_follows_the_search(finished: Path) -> None:
    command = [sys.executable, "-m", "dynamoe_search", "report", str(finished)]
    with subprocess.Popen(
        [*command, "--watch", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = re.match(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert address is not None
        with urlopen(address[0]) as answer:
            page = answer.read().decode()
        with urlopen(f"{address[0]}version") as answer:
            assert f'follow("{answer.read().decode()}");' in page
        assert "Live: this page follows the search." in page
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "Ended.\n"
    assert process.returncode == 0


def test_options_of_a_watched_report(small_study: Path) -> None:
    assert "holds no results yet" in error_of("report", small_study, "--watch")
    assert "leave out --out" in error_of("report", small_study, "--watch", "--out", "a.html")
    assert "--port belongs to --watch" in error_of("report", small_study, "--port", 8081)
