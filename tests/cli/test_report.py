from pathlib import Path

from tests.report import made_up
from tests.test_cli import dynamoe_search


def test_a_report_is_written(small_study: Path, tmp_path: Path) -> None:
    made_up.search(small_study, most=2)
    written = dynamoe_search("report", small_study.parent)
    assert written.returncode == 0, written.stderr
    path = small_study.parent / "report.html"
    assert f"wrote {path}" in written.stdout
    assert "Left out, as the report says why: Confirmed from fresh seeds; Pareto" in written.stdout
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    elsewhere = tmp_path / "other.html"
    written = dynamoe_search("report", small_study, "--out", elsewhere)
    assert written.returncode == 0, written.stderr
    assert elsewhere.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


def test_mistakes_are_told(small_study: Path, tmp_path: Path) -> None:
    missing = dynamoe_search("report", small_study)
    assert missing.returncode == 2
    assert "holds no results yet" in missing.stderr
    made_up.begin(small_study)
    nowhere = dynamoe_search("report", small_study, "--out", tmp_path / "no" / "report.html")
    assert nowhere.returncode == 2
    assert "cannot be written" in nowhere.stderr
