import io

import pytest
from rich.console import Console

from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.terminal import ProgressDisplay, print_table
from dynamoe_search.run.progress import Snapshot
from tests.report.shown import shown

TABLE = Table(
    [*numbers("rank"), Column("name", is_name=True), *numbers("loss"), *texts("pattern")],
    [("1", "a-rather-long-name [bold]", "0.5", "wave"), ("2", "b", "10.25", "")],
    "a title",
    "what it means",
    {0},
)


def test_a_table_has_its_title_cells_and_caption() -> None:
    lines = [line.strip() for line in shown(TABLE).splitlines() if line.strip()]
    assert lines[0] == "a title"
    assert lines[1].split() == ["rank", "name", "loss", "pattern"]
    assert lines[3].split() == ["1", "a-rather-long-name", "[bold]", "0.5", "wave"]
    assert lines[4].split() == ["2", "b", "10.25"]
    assert lines[5:] == ["what it means"]
    # Numbers are aligned to the right.
    assert lines[3].index("0.5") + len("0.5") == lines[4].index("10.25") + len("10.25")


@pytest.mark.parametrize(
    ("width", "kept"), [(60, "rank name loss pattern"), (45, "rank name loss"), (36, "rank name")]
)
def test_the_last_columns_are_left_out_first(width: int, kept: str) -> None:
    text = shown(TABLE, width)
    assert text.splitlines()[2].split() == kept.split()
    left_out = ["loss", "pattern"][len(kept.split()) - 2 :]
    assert ("Left out" in text) == bool(left_out)
    if left_out:
        assert f"narrow: {', '.join(left_out)}." in " ".join(text.split())


def test_a_name_that_is_too_long_goes_on_in_the_next_line() -> None:
    text = shown(TABLE, 20)
    assert all(len(line) <= 20 for line in text.splitlines())
    assert "a-rather-long-name" in text.replace("\n", "").replace(" ", "")
    assert "…" not in text


def test_what_is_no_terminal_gets_all_columns() -> None:
    console = Console(file=io.StringIO(), width=20)
    print_table(console, TABLE)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert ["rank", "name", "loss", "pattern"] in [line.split() for line in text.splitlines()]
    assert "a-rather-long-name [bold]" in text
    assert "Left out" not in text
    assert 20 < max(map(len, text.splitlines())) < 100


def snapshot(fraction: float, finishing: bool = False, best: bool = True) -> Snapshot:
    leader = ("5-3", 0.5123, 2) if best else None
    pattern = ("[uniform]", 0.52, 1) if best else None
    return Snapshot(fraction, 12, 2, leader, pattern, 4, finishing)


def display(*snapshots: Snapshot, quiet: bool = False, width: int = 150, **console: object) -> str:
    shown_on = Console(file=io.StringIO(), width=width, **console)  # type: ignore[arg-type]
    with ProgressDisplay(shown_on, quiet) as progress:
        for one in snapshots:
            progress.update(one)
    return shown_on.file.getvalue()  # type: ignore[attr-defined]


def test_a_pipe_gets_lines_and_not_too_many() -> None:
    text = display(snapshot(0.25), snapshot(0.5), force_terminal=False)
    assert text.splitlines() == [
        " 25%  12 runs  best 5-3 0.5123 (2x), best pattern [uniform] 0.5200 (1x)"
        "  time left: not known yet"
    ]


def test_a_terminal_gets_a_bar() -> None:
    text = display(snapshot(0.25), snapshot(0.5, best=False), force_terminal=True)
    assert "━" in text
    assert "first runs on 4 workers" in text
    assert "finishing 2 runs (interrupt again to stop them now)" in display(
        snapshot(0.5, finishing=True), force_terminal=True
    )


def test_a_narrow_terminal_cuts_what_is_best_and_not_the_time_left() -> None:
    text = display(snapshot(0.25), snapshot(0.5), width=70, force_terminal=True)
    line = next(one for one in text.splitlines()[::-1] if "runs" in one)
    assert "12 runs" in line
    assert "time left: 0:00" in line
    assert "best 5-3" in line
    assert "…" in line


def test_quiet_shows_nothing() -> None:
    assert display(snapshot(0.25), quiet=True, force_terminal=True) == ""
    assert display(snapshot(0.25), quiet=True, force_terminal=False) == ""


@pytest.mark.parametrize("has_widgets", [False, True])
def test_a_notebook_without_widgets_gets_lines(
    has_widgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = object() if has_widgets else None
    monkeypatch.setattr("dynamoe_search.report.terminal.find_spec", lambda name: found)
    console = Console(file=io.StringIO(), force_jupyter=True)
    assert ProgressDisplay(console).has_bar is has_widgets
