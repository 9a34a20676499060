"""What the command line shows: tables, bars and progress, by rich."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from dynamoe_search.schedules import Schedule

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.plan.plan import Plan
    from dynamoe_search.run.progress import Progress

_BLOCKS = " ▁▂▃▄▅▆▇█"
_SECONDS_BETWEEN_LINES = 10.0


def sparkline(schedule: Schedule) -> str:
    """The schedule as a row of bars, a character a layer.

    Examples
    --------
    >>> sparkline(Schedule((8, 6, 4, 2)))
    '█▆▄▂'
    """
    most = max(schedule)
    return "".join(_BLOCKS[max(1, round(8 * count / most))] for count in schedule)


def bars(schedule: Schedule, height: int = 8) -> list[str]:
    """The schedule as upright bars, a line of text each from the top down, layers below.

    Examples
    --------
    >>> print("\\n".join(bars(Schedule((4, 2)), height=2)))
       4 ██
       2 ██ ██
         1  2
    """
    most = max(schedule)
    lines = []
    for row in range(height, 0, -1):
        cells = []
        for count in schedule:
            eighths = round(8 * (count * height / most - (row - 1)))
            cells.append(_BLOCKS[min(8, max(0, eighths))] * 2)
        lines.append(f"{round(most * row / height):>4} " + " ".join(cells).rstrip())
    lines.append(
        "     " + " ".join(f"{layer:<2}" for layer in range(1, schedule.depth + 1)).rstrip()
    )
    return lines


def schedule_table(schedules: Mapping[str, Schedule], about: Mapping[str, str]) -> Table:
    """Named schedules, a row each, with what there is to say about them."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("name", "schedule", "shape", "rule, and whose"):
        table.add_column(title, overflow="fold")
    for name, schedule in schedules.items():
        table.add_row(name, str(schedule), sparkline(schedule), about.get(name, ""))
    return table


def leaderboard_table(board: pd.DataFrame, rows: int) -> Table:
    """The first rows of a leaderboard, and the named schedules below them."""
    is_text = bool(board["bits_per_byte"].notna().any())
    quality = "bits/byte" if is_text else "accuracy"
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="≈ cannot be told from the best;"
        + (" x misses a constraint;" if not board["feasible"].all() else "")
        + f" loss in nats and {quality} on the validation"
        " split, ± 95 %; K: active experts a layer, measured",
        caption_justify="left",
    )
    table.add_column("rank", justify="right")
    table.add_column("")
    for title in ("schedule", "shape", "pattern"):
        table.add_column(title, overflow="fold")
    for title in ("loss", quality, "trained", "parameters", "active", "K"):
        table.add_column(title, justify="right", no_wrap=True)
    shown = board[(board["rank"] <= rows) | (board["pattern"] != "")]
    for row in shown.itertuples():
        table.add_row(
            str(row.rank),
            "" if row.feasible and not row.indistinguishable else "≈" if row.feasible else "x",
            f"{row.schedule} {row.settings}".rstrip(),
            sparkline(Schedule.parse(row.schedule)),
            row.pattern,
            f"{row.loss:.4f}" + plus_minus(row.loss_high - row.loss, "{:.4f}"),
            f"{row.bits_per_byte:.4f}" if is_text else _accuracy(row),
            f"{row.blocks}x",
            f"{row.total_parameters:,}",
            f"{row.active_parameters:,.0f}",
            f"{row.active_experts:.2f}",
            style="bold" if row.rank == 1 else "",
        )
    return table


def _accuracy(row: Any) -> str:
    return f"{row.accuracy:.1%}" + plus_minus(row.accuracy - row.accuracy_low, "{:.1%}")


def plus_minus(width: float, form: str) -> str:
    """Half an interval, to be written after its middle; a question mark where it is unknown."""
    return " ± ?" if math.isnan(width) else " ± " + form.format(width)


def plan_lines(plan: Plan) -> Sequence[str]:
    """What a study is about to do, and what it holds equal."""
    study, network = plan.study, plan.network
    experts = f"{study.data.name}: {plan.depth} layers"
    if plan.solution is None:
        budget = study.budget
        experts += f" of {budget.minimum} to {budget.maximum} experts, as the source does it:"
        experts += " candidates differ in parameters and compute"
    else:
        experts += f" share {plan.solution.experts} experts; every candidate has"
        experts += f" {plan.solution.parameters:,} parameters"
        if study.budget.regime == "compute":
            experts += f" and {study.active:g} active experts a layer on average"
        if plan.solution.residual:
            experts += f", {plan.solution.residual:,} of the budget left over"
    return (
        experts,
        f"width {network.width}, expert width {study.model.hidden}, {study.router.name} router;"
        f" {study.search.family} family, {study.search.sampler} sampler",
    )


class SearchDisplay:
    """Progress of a search: a bar on a terminal, a line now and then elsewhere.

    Use it as a context manager and call `update` with each `Progress`.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.begun = time.monotonic()
        self.fraction_at_start: float | None = None
        self.last_line = 0.0
        self.bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[runs]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task: TaskID = self.bar.add_task("starting", total=1.0, runs="", left="")

    def __enter__(self) -> SearchDisplay:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def update(self, progress: Progress) -> None:
        """Show how the search stands."""
        if self.fraction_at_start is None:
            self.fraction_at_start = progress.fraction
        runs = f"{progress.ledger.trained} runs"
        left = "" if progress.finishing else self._time_left(progress.fraction)
        description = self._description(progress)
        self.bar.update(
            self.task,
            completed=progress.fraction,
            description=description,
            runs=runs,
            left=left,
        )
        due = time.monotonic() - self.last_line > _SECONDS_BETWEEN_LINES
        if not self.console.is_terminal and due:
            self.last_line = time.monotonic()
            self.console.print(
                f"{progress.fraction:4.0%}  {runs}  {description}  {left}",
                highlight=False,
                soft_wrap=True,
            )

    def _description(self, progress: Progress) -> str:
        if progress.finishing:
            return (
                f"finishing {progress.ledger.running} trainings (interrupt again to stop them now)"
            )
        if progress.best is None:
            return f"first trainings on {progress.workers} workers"
        schedule, loss, blocks = progress.best
        text = f"best {schedule} {loss:.4f} ({blocks}x)"
        if progress.best_pattern is not None:
            name, loss, blocks = progress.best_pattern
            text += f", best pattern {name} {loss:.4f} ({blocks}x)"
        return text

    def _time_left(self, fraction: float) -> str:
        assert self.fraction_at_start is not None
        gained = fraction - self.fraction_at_start
        elapsed = time.monotonic() - self.begun
        if gained < 0.01:
            return "time left: unknown yet"
        seconds = round(elapsed / gained * (1 - fraction))
        return f"time left: {seconds // 60}:{seconds % 60:02d}"


class ProgressDisplay:  # stand-in until the report part is merged
    def __init__(self, console=None, quiet=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *a):
        pass

    def update(self, s):
        print(s)
