"""What a terminal shows: tables and the progress of a search, by rich."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import rich.table
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from dynamoe_search.report.console import GoingOnConsole
from dynamoe_search.report.table import Table

if TYPE_CHECKING:
    from dynamoe_search.run.progress import Snapshot

Item = TypeVar("Item")

_WIDER_THAN_ANY = 10_000
_SECONDS_BETWEEN_LINES = 10.0


def print_table(console: Console, table: Table) -> None:
    """Print a table; where it is too wide, without its last columns, which the caption then names.

    The columns up to the name of the rows are always there. Where even they are too wide, the name
    goes on in a second line. A file or a pipe has no width: it gets all columns.
    """
    if not (console.is_terminal or console.is_jupyter):
        width, console.width = console.width, _WIDER_THAN_ANY
        console.print(_drawn(table, len(table.columns)))
        console.width = width
        _print_caption(console, table.caption)
        return
    always = 1 + max((n for n, column in enumerate(table.columns) if column.is_name), default=0)
    count = len(table.columns)
    unlimited = console.options.update(width=_WIDER_THAN_ANY)
    while count > always and (
        console.measure(_drawn(table, count), options=unlimited).maximum > console.width
    ):
        count -= 1
    console.print(_drawn(table, count))
    left_out = ", ".join(" ".join(column.header.split()) for column in table.columns[count:])
    narrow = f"Left out, as the terminal is narrow: {left_out}." if left_out else ""
    _print_caption(console, "\n".join(filter(None, (table.caption, narrow))))


def _print_caption(console: Console, caption: str) -> None:
    if caption:
        console.print(Padding(Text(caption, style="table.caption"), (0, 0, 1, 1)))


def _drawn(table: Table, count: int) -> rich.table.Table:
    """The first columns of a table."""
    drawn = rich.table.Table(
        title=table.title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in table.columns[:count]:
        drawn.add_column(
            Text(column.header),
            justify="right" if column.is_number else "left",
            overflow="fold",
            no_wrap=not column.is_name,
        )
    for place, row in enumerate(table.rows):
        style = "bold" if place in table.emphasized else ""
        drawn.add_row(*map(Text, row[:count]), style=style)
    return drawn


def can_animate(console: Console) -> bool:
    """Whether a bar can move there: in a terminal, or in a notebook that has ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def with_progress(
    items: Collection[Item], name: Callable[[Item], str], is_shown: bool
) -> Iterator[Item]:
    """Give items one after another, with a bar that names the present one.

    Parameters
    ----------
    items : collection
    name : callable
        What to call an item.
    is_shown : bool
        Whether to show a bar, where one can move. It is gone at the end.
    """
    console = GoingOnConsole()
    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)
    disable = not (is_shown and can_animate(console))
    with Bar(*columns, console=console, transient=True, disable=disable) as bar:
        task = bar.add_task("", total=len(items))
        for done, item in enumerate(items):
            bar.update(task, completed=done, description=name(item))
            yield item


class ProgressDisplay:
    """Progress of a search: a bar in a terminal or a notebook, a line now and then elsewhere.

    Use it as a context manager and call `update` with each `Snapshot`.

    Parameters
    ----------
    console : Console, optional
        Where to show it; where Python prints, if it is None.
    quiet : bool
        Whether to show nothing.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or GoingOnConsole()
        self.quiet = quiet
        self.has_bar = not quiet and can_animate(self.console)
        self.begun = time.monotonic()
        self.fraction_at_start: float | None = None
        self.last_line = 0.0
        self.bar = Bar(
            BarColumn(bar_width=24),
            TextColumn("{task.fields[runs]}"),
            TextColumn("{task.fields[left]}"),
            # It is cut where the line is too long, and nothing else is.
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=rich.table.Column(ratio=1, no_wrap=True),
            ),
            console=self.console,
            expand=True,
            disable=not self.has_bar,
        )
        self.task: TaskID = self.bar.add_task("starting", total=1.0, runs="", left="")

    def __enter__(self) -> ProgressDisplay:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Show how far the search is."""
        if self.fraction_at_start is None:
            self.fraction_at_start = snapshot.fraction
        runs = f"{snapshot.finished} runs"
        left = "" if snapshot.finishing else self._time_left(snapshot.fraction)
        found = _description(snapshot)
        self.bar.update(
            self.task, completed=snapshot.fraction, description=found, runs=runs, left=left
        )
        due = time.monotonic() - self.last_line > _SECONDS_BETWEEN_LINES
        if due and not self.has_bar and not self.quiet:
            self.last_line = time.monotonic()
            self.console.print(
                f"{snapshot.fraction:4.0%}  {runs}  {found}  {left}".rstrip(),
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def _time_left(self, fraction: float) -> str:
        assert self.fraction_at_start is not None
        gained = fraction - self.fraction_at_start
        elapsed = time.monotonic() - self.begun
        if gained < 0.01:
            return "time left: not known yet"
        seconds = round(elapsed / gained * (1 - fraction))
        return f"time left: {seconds // 60}:{seconds % 60:02d}"


@contextmanager
def showing(
    progress: bool | Callable[[Snapshot], None],
) -> Iterator[Callable[[Snapshot], None]]:
    """What to call with the progress: the function that is given, or a display if it is True."""
    if callable(progress):
        yield progress
        return
    with ProgressDisplay(quiet=not progress) as display:
        yield display.update


def _description(snapshot: Snapshot) -> str:
    if snapshot.finishing:
        return f"finishing {snapshot.running} runs (interrupt again to stop them now)"
    if snapshot.best is None:
        return f"first runs on {snapshot.workers} workers"
    candidate, loss, seeds = snapshot.best
    text = f"best {candidate} {loss:.4f} ({seeds}x)"
    if snapshot.best_pattern is not None:
        name, loss, seeds = snapshot.best_pattern
        text += f", best pattern {name} {loss:.4f} ({seeds}x)"
    return text
