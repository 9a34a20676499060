"""``schedule show``, ``list`` and ``enumerate``."""

from pathlib import Path

import pandas as pd
import pytest

from tests.cli.calls import error_of, output_of


def test_a_schedule_is_shown(tmp_path: Path) -> None:
    plot = tmp_path / "s.png"
    shown = output_of("schedule", "show", "8-6-4-2", "--plot", plot)
    assert "4 layers, 20 experts, 2 to 8 per layer" in shown
    assert plot.read_bytes().startswith(b"\x89PNG")
    shown = output_of("schedule", "show", "descending", "-l", 4, "-e", 20)
    assert "descending: 8-6-4-2" in shown
    assert "pr_moe: 2-2-4-4" in output_of("schedule", "show", "pr_moe", "-l", 4, "-e", 12)
    stepped = ("-l", 4, "-e", 24, "--step", 4)
    assert "descending: 8-8-4-4" in output_of("schedule", "show", "descending", *stepped)
    assert "10 schedules" in output_of("schedule", "enumerate", *stepped)


@pytest.mark.slow
def test_patterns_and_presets_are_listed(tmp_path: Path) -> None:
    plot = tmp_path / "s.svg"
    listed = output_of("schedule", "list", "--layers", 4, "--experts", 20, "--plot", plot)
    for fact in ("8-6-4-2", "uniform", "openelm", "1-4-6-9", "arXiv 2404.14619"):
        assert fact in listed
    assert "<svg" in plot.read_text()


def test_all_schedules_are_counted_and_written(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    found = output_of("schedule", "enumerate", "-l", 4, "-e", 12, "--rows", 3, "--csv", path)
    assert "165 schedules" in found
    assert "1-1-3-7" in found
    assert "and 162 more" in found
    table = pd.read_csv(path)
    assert len(table) == table["schedule"].nunique() == 165


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "8--2"), "'8--2' is not a schedule"),
        (("show", "9" * 5000), "'999999999999...9999999999999' is not a schedule"),
        (("list", "--layers", 10**10, "--experts", 10**10), "Invalid value for '--layers'"),
        (("list", "--layers", 4096, "--experts", 10**10), "it must be at most 4194304"),
        (("show", "decending"), "'decending' is neither a schedule"),
        (("show", "wave", "--contrast", "1.5"), "contrast is 1.5"),
        (("list", "--layers", "9", "--experts", "8"), "need a total of at least 9"),
        (("enumerate", "-l", "2", "-e", "9", "--maximum", "4"), "at most 8, got 9"),
        (("enumerate", "-l", "2", "-e", "4", "--csv", "no/such.csv"), "cannot be written"),
        (
            ("enumerate", "-l", "12", "-e", "96", "--csv", "all.csv"),
            "give --limit, or choose",
        ),
        (("enumerate", "-l", "4", "--limit", "164", "--csv", "a.csv"), "would write 165 schedules"),
        (("show", "4-2", "--plot", "no/such/folder.png"), "cannot be written"),
        (("show", "4-2", "--plot", "plot.xyz"), "cannot be written"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of("schedule", *arguments)
    assert not list(tmp_path.iterdir())
