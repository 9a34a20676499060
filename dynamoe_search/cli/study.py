"""Commands on a study: ``run`` and ``leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dynamoe_search.cli.console import (
    DataDirectory,
    PlotFile,
    StudyArgument,
    complaints,
    console,
    save_plot,
    write_table,
)
from dynamoe_search.errors import RunFailed

if TYPE_CHECKING:
    import pandas as pd


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
        write_table(board, folder / "leaderboard.csv")
        write_table(board, folder / "leaderboard.parquet")
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
            write_table(board, path, "csv" if path is csv else "parquet")
            console.print(f"wrote {escape(str(path))}")
    if plot is not None:
        from dynamoe_search.report.plots import plot_search

        save_plot(plot_search(trials), plot)


def _print_failures(trials: pd.DataFrame) -> None:
    failed = trials[trials["state"].isin(["diverged", "out of memory", "error"])]
    for row in failed.itertuples():
        complaints.print(
            f"trial {row.trial} ({row.schedule}) {row.state}: {escape(row.message)}",
            highlight=False,
            soft_wrap=True,
        )
