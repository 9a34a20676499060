"""The command line: parse, call, print."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dynamoe_search import __version__
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.schedules import (
    DEFAULT_CONTRAST,
    PATTERNS_AND_UNIFORM,
    Schedule,
    count_schedules,
    enumerate_schedules,
    pattern_schedule,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# What needs torch, optuna or pandas is imported where it is used, so that --help is quick.

app = typer.Typer(
    help="Under a fixed budget, how many experts should each layer of a Mixture-of-Experts"
    " network get, and how many should each token use?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
schedule_app = typer.Typer(
    help="Look at schedules: the experts of each layer.", no_args_is_help=True
)
data_app = typer.Typer(help="Look at data sets.", no_args_is_help=True)
app.add_typer(schedule_app, name="schedule")
app.add_typer(data_app, name="data")

# A pipe or a log has no width of its own; tables are made for more than 80 columns.
console = Console(width=None if sys.stdout.isatty() else 120)
complaints = Console(stderr=True)

StudyArgument = Annotated[
    Path, typer.Argument(help="A study file, or the folder of a study.toml.", metavar="STUDY")
]
DataDirectory = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where data files are; DYNAMOE_DATA without it."),
]
Layers = Annotated[int, typer.Option("--layers", "-l", min=1, help="Layers of experts.")]
Experts = Annotated[
    int, typer.Option("--experts", "-e", min=1, help="Experts of all layers together.")
]
Minimum = Annotated[int, typer.Option(min=1, help="The fewest experts of a layer.")]
Maximum = Annotated[int | None, typer.Option(min=1, help="The most experts of a layer.")]
Contrast = Annotated[
    float,
    typer.Option(
        min=0.0, help="How far patterns swing: largest to smallest is (1 + c) to (1 - c)."
    ),
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", help="Also draw it to this file (.png, .svg or .pdf).")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback where something fails.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def run(
    study: StudyArgument,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, of one thread each; one a core without it."),
    ] = None,
    data_dir: DataDirectory = None,
    device: Annotated[str, typer.Option(help="The torch device to train on.")] = "cpu",
) -> None:
    """Begin a search, or go on with it.

    Results are kept in study.db beside the study file. Interrupt it (Ctrl-C) or kill it at any
    moment; the same command goes on where it was. At the end it writes leaderboard.csv and
    leaderboard.parquet there.

    Example: `dynamoe-search run studies/digits/study.toml`
    """
    from dynamoe_search.report.leaderboard import answer, make_leaderboard
    from dynamoe_search.report.terminal import SearchDisplay, leaderboard_table, plan_lines
    from dynamoe_search.search import load_trials, run_study, study_path

    with SearchDisplay(console) as display:
        outcome = run_study(
            study,
            workers,
            data_dir,
            device,
            on_start=lambda plan: console.print(
                "\n".join(plan_lines(plan)), highlight=False, soft_wrap=True
            ),
            on_progress=display.update,
        )
    trials = load_trials(study)
    _print_failures(trials)
    if (trials["state"] == "complete").any():
        board = make_leaderboard(trials)
        folder = study_path(study).parent
        _write_table(board, folder / "leaderboard.csv")
        _write_table(board, folder / "leaderboard.parquet")
        console.print(leaderboard_table(board, rows=10))
        console.print("\n".join(answer(trials)), highlight=False, soft_wrap=True)
        console.print(f"All {len(board)} schedules: {escape(str(folder / 'leaderboard.csv'))}")
    match outcome.reason:
        case "interrupted":
            console.print("Interrupted; the same command goes on.")
            raise typer.Exit(130)
        case "exhausted":
            console.print("Ended early: every schedule asked for has had all its replicates.")
    if not (trials["state"] == "complete").any():
        raise RunFailed("no training was completed; the reasons are above")


@app.command()
def leaderboard(
    study: StudyArgument,
    rows: Annotated[int, typer.Option(min=1, help="Show so many of the best.")] = 20,
    csv: Annotated[Path | None, typer.Option(help="Write all rows to this CSV file.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write all rows to this parquet file.")
    ] = None,
    plot: PlotFile = None,
) -> None:
    """Show each schedule's mean, how sure it is, and what it costs.

    Works while the search is running, too.
    """
    from dynamoe_search.report.leaderboard import answer, make_leaderboard
    from dynamoe_search.report.terminal import leaderboard_table
    from dynamoe_search.search import load_trials

    trials = load_trials(study)
    board = make_leaderboard(trials)
    console.print(leaderboard_table(board, rows))
    console.print("\n".join(answer(trials)), highlight=False, soft_wrap=True)
    for path in (csv, parquet):
        if path is not None:
            _write_table(board, path, "csv" if path is csv else "parquet")
            console.print(f"wrote {escape(str(path))}")
    if plot is not None:
        from dynamoe_search.report.plots import plot_search

        _save_plot(plot_search(trials), plot)


@schedule_app.command("show")
def schedule_show(
    what: Annotated[str, typer.Argument(help="A schedule such as 8-6-4-2, or a pattern's name.")],
    layers: Layers = 8,
    experts: Experts = 32,
    minimum: Minimum = 1,
    maximum: Maximum = None,
    contrast: Contrast = DEFAULT_CONTRAST,
    plot: PlotFile = None,
) -> None:
    """Show one schedule; for a pattern, at the given layers and experts.

    Example: `dynamoe-search schedule show pyramid --layers 12 --experts 96`
    """
    from dynamoe_search.report.terminal import bars

    if what in PATTERNS_AND_UNIFORM:
        schedule = pattern_schedule(what, layers, experts, minimum, maximum, contrast)
        title = f"{what}: {schedule}"
    elif what[:1].isalpha():
        raise InvalidInput(
            f"{what!r} is neither a schedule, such as 8-6-4-2, nor a pattern: choose from"
            f" {', '.join(PATTERNS_AND_UNIFORM)}"
        )
    else:
        schedule = Schedule.parse(what)
        title = str(schedule)
    console.print(
        f"[bold]{title}[/bold]  {schedule.depth} layers, {schedule.total} experts,"
        f" {min(schedule)} to {max(schedule)} a layer",
        highlight=False,
    )
    console.print("\n".join(bars(schedule)), highlight=False)
    if plot is not None:
        from dynamoe_search.report.plots import plot_schedules

        _save_plot(plot_schedules({title: schedule}), plot)


@schedule_app.command("list")
def schedule_list(
    layers: Layers = 8,
    experts: Experts = 32,
    minimum: Minimum = 1,
    maximum: Maximum = None,
    contrast: Contrast = DEFAULT_CONTRAST,
    plot: PlotFile = None,
) -> None:
    """Show the six patterns and uniform at one budget."""
    from dynamoe_search.report.terminal import schedule_table

    schedules = {
        pattern: pattern_schedule(pattern, layers, experts, minimum, maximum, contrast)
        for pattern in PATTERNS_AND_UNIFORM
    }
    console.print(schedule_table(schedules))
    if plot is not None:
        from dynamoe_search.report.plots import plot_schedules

        titled = {f"{name}\n{schedule}": schedule for name, schedule in schedules.items()}
        _save_plot(plot_schedules(titled), plot)


@schedule_app.command("enumerate")
def schedule_enumerate(
    layers: Layers = 4,
    experts: Experts = 12,
    minimum: Minimum = 1,
    maximum: Maximum = None,
    rows: Annotated[int, typer.Option(min=0, help="Show at most so many.")] = 20,
    csv: Annotated[Path | None, typer.Option(help="Write all of them to this file.")] = None,
) -> None:
    """Count every schedule of a total, and list them."""
    from dynamoe_search.report.terminal import sparkline

    schedules = enumerate_schedules(experts, layers, minimum, maximum)
    count = count_schedules(experts, layers, minimum, maximum)
    console.print(f"{count:,} schedules of {layers} layers with {experts} experts", highlight=False)
    for schedule in islice(schedules, rows):
        console.print(f"{schedule}  {sparkline(schedule)}", highlight=False)
    if count > rows:
        console.print(f"... and {count - rows:,} more", highlight=False)
    if csv is not None:

        def write() -> None:
            with csv.open("w", encoding="utf-8") as file:
                file.write("schedule\n")
                for schedule in enumerate_schedules(experts, layers, minimum, maximum):
                    file.write(f"{schedule}\n")

        _write(csv, write)
        console.print(f"wrote {escape(str(csv))}")


@data_app.command("list")
def data_list(data_dir: DataDirectory = None) -> None:
    """Show which data sets are there, and where each was looked for."""
    from dynamoe_search.data import list_data

    table = Table("name", "there", "where", "files", box=box.SIMPLE_HEAD)
    for row in list_data(data_dir).itertuples():
        table.add_row(row.name, "yes" if row.there else "no", row.where, escape(row.files))
    console.print(table)


def _print_failures(trials: pd.DataFrame) -> None:
    failed = trials[trials["state"].isin(["diverged", "out of memory", "error"])]
    for row in failed.itertuples():
        complaints.print(
            f"trial {row.trial} ({row.schedule}) {row.state}: {escape(row.message)}",
            highlight=False,
            soft_wrap=True,
        )


def _write_table(table: pd.DataFrame, path: Path, form: str | None = None) -> None:
    form = form or path.suffix.removeprefix(".")
    if form == "csv":
        _write(path, lambda: table.to_csv(path, index=False))
    else:
        _write(path, lambda: table.to_parquet(path, index=False))


def _save_plot(figure: Figure, path: Path) -> None:
    from dynamoe_search.report.plots import save_figure

    _write(path, lambda: save_figure(figure, path))
    console.print(f"wrote {escape(str(path))}")


def _write(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be written: {error}") from error


def main() -> None:
    """Run the command line: exit status 2 for a mistake of the user, 1 for a failed run."""
    # Wherever it stands, since it is the thing one adds at the end of a command that failed.
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments)
    except Exception as error:
        if debug:
            traceback.print_exc()
        user_mistake = isinstance(error, InvalidInput)
        hint = ""
        if not isinstance(error, InvalidInput | RunFailed):
            hint = f" ({type(error).__name__}; add --debug for the traceback)"
        message = f"[bold red]error:[/bold red] {escape(str(error))}{hint}"
        complaints.print(message, highlight=False, soft_wrap=True)
        sys.exit(2 if user_mistake else 1)
