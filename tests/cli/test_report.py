import re
import shlex
from html import unescape
from pathlib import Path

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
def test_the_commands_of_a_report_work(small_study: Path, kind: str, name: str | None) -> None:
    elsewhere = small_study.parent / "a log's folder"
    elsewhere.mkdir()
    storage = f"{kind}:///{elsewhere}/log" if kind else None
    made_up.search(small_study, name=name, storage=storage)
    page = Study(small_study, storage, name).report(progress=False).read_text()
    commands = re.findall(r"dynamoe-search (?:run|report) [^<\n]+", page)
    assert len(commands) == 2
    for command in commands:
        output_of(*shlex.split(unescape(command))[1:])
