"""The command ``compare-samplers``: which sampler finds good schedules soonest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dynamoe_search.cli.console import (
    DataDirectory,
    Name,
    PlotFile,
    Storage,
    Workers,
    console,
    open_study,
    save_plot,
    say,
    write_table,
)


def compare_samplers(
    study: Annotated[
        Path,
        typer.Argument(
            help="A study file, the folder of a study.toml, or the name of a tabular benchmark,"
            " such as digits-4x12.",
            metavar="STUDY",
        ),
    ],
    family: Annotated[
        str | None,
        typer.Option(help="Where to search: blend, mixture, spline or free; as the study without."),
    ] = None,
    samplers: Annotated[
        str, typer.Option(help="Which, separated by commas; random search is always among them.")
    ] = "random,posterior,tpe,qmc,cmaes,gp,nsga2",
    runs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training runs of a search; 100 without it, or all schedules if there are fewer.",
        ),
    ] = None,
    repetitions: Annotated[int, typer.Option(min=2, help="Searches by each sampler.")] = 30,
    csv: Annotated[
        Path | None, typer.Option(help="Write the regret after each run to this CSV file.")
    ] = None,
    plot: PlotFile = None,
    workers: Workers = None,
    data_dir: DataDirectory = None,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Compare samplers with random search at equal cost, on known results: nothing is trained.

    Searches are replayed on a study that has trained every schedule, as one with
    `sampler = "exhaustive"` does: they decide as a real search would, and are given the known
    losses. The table shows by how much the schedule in the lead is worse than the best, after
    several numbers of runs, and whether that is less than with random search, with 95 % intervals
    over repetitions.

    The defaults take a few minutes on two cores, most of them for gp. Train several blocks of each
    schedule, so that luck is not taken for merit.

    Example: `dynamoe-search compare-samplers digits-4x12 --family free --plot samplers.png`
    """
    from dynamoe_search import bench
    from dynamoe_search.bench.known import known_losses, known_losses_of_bench
    from dynamoe_search.bench.replay import compare_samplers
    from dynamoe_search.report.samplers import plot_samplers, sampler_sentences, samplers_table
    from dynamoe_search.report.terminal import print_table

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        if not study.exists() and str(study) in bench.names():
            known = known_losses_of_bench(bench.load(str(study)), family, data_dir)
        else:
            opened = open_study(study, storage, name, data_dir)
            found = (opened.training_runs(), opened.file, opened.data, str(opened.storage))
            known = known_losses(*found, family)
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("searches", total=None)
            names = [each.strip() for each in samplers.split(",")]
            table = compare_samplers(
                known,
                names,
                runs,
                repetitions,
                workers,
                lambda done, of: progress.update(task, completed=done, total=of),
            )
    except KeyboardInterrupt:
        console.print("Interrupted; nothing is kept.")
        raise typer.Exit(130) from None
    print_table(console, samplers_table(table))
    say("\n".join(sampler_sentences(table, known)))
    if csv is not None:
        write_table(table, csv, "csv")
        say(f"wrote {csv}")
    if plot is not None:
        save_plot(plot_samplers(table, known), plot)
