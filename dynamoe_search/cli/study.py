"""Commands that train and show a study: ``run``, ``worker`` and ``leaderboard``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dynamoe_search.cli.console import (
    DataDirectory,
    Device,
    Grace,
    Name,
    PlotFile,
    Storage,
    StudyArgument,
    Workers,
    complaints,
    console,
    save_plot,
    say,
    write_table,
)
from dynamoe_search.errors import InvalidInput, RunFailed

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.plan.plan import Plan
    from dynamoe_search.run.run import Outcome


class Engine(StrEnum):
    """What carries out the trainings."""

    local = "local"
    ray = "ray"


def run(
    study: StudyArgument,
    workers: Workers = None,
    data_dir: DataDirectory = None,
    device: Device = "cpu",
    storage: Storage = None,
    name: Name = None,
    allow_changes: Annotated[
        bool, typer.Option(help="Go on though the study file has changed since it was begun.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="Local processes, or tasks of Ray.")
    ] = Engine.local,
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster; one of this machine alone without it.")
    ] = None,
    trial_cpus: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="Ray: the part of a core that a training takes; it computes on one thread.",
        ),
    ] = 1.0,
    trial_gpus: Annotated[float, typer.Option(min=0, help="Ray: devices of a training.")] = 0.0,
    grace: Grace = 60.0,
) -> None:
    """Begin a search, or go on with it.

    Results are kept in study.db beside the study file. Interrupt it (Ctrl-C) or kill it at any
    moment; the same command goes on where it was. At the end it writes leaderboard.csv and
    leaderboard.parquet there.

    With --storage the records are kept where several machines can reach them: other machines help
    with `dynamoe-search worker --storage URL`.

    Example: `dynamoe-search run studies/digits/study.toml`
    """
    from dynamoe_search.report.terminal import SearchDisplay
    from dynamoe_search.run.ray import RayCluster
    from dynamoe_search.run.run import Resources, results_folder, run_study

    if engine == Engine.local and (address is not None or (trial_cpus, trial_gpus) != (1.0, 0.0)):
        raise InvalidInput(
            "--address, --run-cpus and --run-gpus belong to --engine ray; add it, or leave them out"
        )
    cluster = RayCluster(address, trial_cpus, trial_gpus) if engine == Engine.ray else None
    if cluster is not None and workers is not None:
        raise InvalidInput("--workers is for local processes; Ray takes --run-cpus")
    with SearchDisplay(console) as display:
        outcome = run_study(
            study,
            Resources(workers, data_dir, device, grace, cluster),
            storage,
            name,
            allow_changes,
            on_start=_say_plan,
            on_progress=display.update,
        )
    runs = outcome.runs()
    print_failures(runs)
    if (runs["state"] == "complete").any():
        folder = results_folder(study, name)
        folder.mkdir(exist_ok=True)
        board = show(runs, rows=10)
        write_table(board, folder / "leaderboard.csv")
        write_table(board, folder / "leaderboard.parquet")
        say(f"All {len(board)} candidates: {folder / 'leaderboard.csv'}")
    say_how_it_ended(outcome)
    if not (runs["state"] == "complete").any():
        raise RunFailed("no training was completed; the reasons are above")


def worker(
    storage: Annotated[
        str,
        typer.Option(
            envvar="DYNAMOE_STORAGE",
            help="Where the records are: sqlite:///FILE, journal:///FILE or"
            " postgresql://USER@HOST/DATABASE.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="The study's name there; the only one without it.")
    ] = None,
    workers: Workers = None,
    data_dir: DataDirectory = None,
    device: Device = "cpu",
    grace: Grace = 60.0,
) -> None:
    """Help with a study that was begun elsewhere, or with its confirmation.

    The study file comes from the records; the data must be on this machine. Join and leave at any
    moment: a training that is lost with its worker is tried again by whoever is free. Networks that
    the study keeps are written to a folder of the study's name.

    Example: `dynamoe-search worker --storage postgresql://me@server/studies --name digits`
    """
    from dynamoe_search.report.terminal import SearchDisplay
    from dynamoe_search.run.join import join_study
    from dynamoe_search.run.run import Resources

    with SearchDisplay(console) as display:
        outcome = join_study(
            storage,
            name,
            Resources(workers, data_dir, device, grace),
            on_start=_say_plan,
            on_progress=display.update,
        )
    say_how_it_ended(outcome)
    console.print("Nothing is left to train.")


def leaderboard(
    study: StudyArgument,
    rows: Annotated[int, typer.Option(min=1, help="Show so many of the best.")] = 20,
    csv: Annotated[Path | None, typer.Option(help="Write all rows to this CSV file.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write all rows to this parquet file.")
    ] = None,
    plot: PlotFile = None,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Show each candidate's mean, how sure it is, and what it costs.

    With several objectives: which candidates no other beats in all of them. Works while the search
    is running, too.
    """
    from dynamoe_search.run.results import load_runs

    runs = load_runs(study, storage, name)
    board = show(runs, rows)
    for path in (csv, parquet):
        if path is not None:
            write_table(board, path, "csv" if path is csv else "parquet")
            say(f"wrote {path}")
    if plot is None:
        return
    if len(runs.attrs["objectives"]) == 1:
        from dynamoe_search.report.plots import plot_search

        save_plot(plot_search(runs), plot)
    else:
        from dynamoe_search.report.pareto import plot_pareto

        save_plot(plot_pareto(board, runs.attrs["objectives"]), plot)


def show(runs: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Print what a study has found, and give the table of its candidates."""
    from dynamoe_search.report.measurements import cost_sentences, measured_tables

    objectives = runs.attrs["objectives"]
    if objectives == ["loss"]:
        from dynamoe_search.decision.leaderboard import make_leaderboard
        from dynamoe_search.report.leaderboard import answer
        from dynamoe_search.report.terminal import leaderboard_table

        board = make_leaderboard(runs)
        table, sentences = leaderboard_table(board, rows), answer(runs, board)
    else:
        from dynamoe_search.measure.quantities import with_measured
        from dynamoe_search.report.pareto import pareto_sentences, pareto_table
        from dynamoe_search.statistics.pareto import make_pareto_table

        board = with_measured(make_pareto_table(runs, objectives), runs)
        table = pareto_table(board, objectives, rows)
        sentences = pareto_sentences(board, objectives)
    if runs.attrs["pruner"] != "none":
        from dynamoe_search.report.fidelity import fidelity_sentences

        sentences += fidelity_sentences(runs)
    for one in (table, *measured_tables(board, rows)):
        console.print(one)
    say("\n".join([*sentences, *cost_sentences(runs)]))
    return board


def say_how_it_ended(outcome: Outcome) -> None:
    """Say why a run ended before its limit, if it did; exit status 130 where it was interrupted."""
    match outcome.reason:
        case "interrupted":
            console.print("Interrupted; the same command goes on.")
            raise typer.Exit(130)
        case "exhausted":
            console.print("Every candidate that was asked for has had all its blocks.")


def _say_plan(plan: Plan) -> None:
    from dynamoe_search.report.terminal import plan_lines

    say("\n".join(plan_lines(plan)))


def print_failures(runs: pd.DataFrame) -> None:
    """Say which trainings failed for good, and why."""
    claimed = runs[runs["candidate"] != ""]
    unfinished = ("died", "interrupted")
    ended = claimed[~claimed["state"].isin(unfinished)].set_index(["candidate", "block"]).index
    cut_short = claimed[claimed["state"].isin(unfinished)]
    for (candidate, block), attempts in cut_short.groupby(["candidate", "block"]):
        died = attempts.loc[attempts["state"] == "died", "run"].map(str)
        if len(died) > 1 and (candidate, block) not in ended:
            complaints.print(
                f"runs {', '.join(died)} ({candidate}, block {block}) died: something"
                " killed their workers, such as the system for want of memory",
                highlight=False,
                soft_wrap=True,
            )
    failed = runs[runs["state"].isin(["diverged", "out of memory", "error"])]
    for row in failed.itertuples():
        complaints.print(
            f"run {row.trial} ({row.candidate}) {row.state}: {escape(row.message)}",
            highlight=False,
            soft_wrap=True,
        )
