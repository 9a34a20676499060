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
    Track,
    Workers,
    complaints,
    console,
    open_study,
    save_plot,
    say,
    trackers_at,
    write_table,
)
from dynamoe_search.errors import InvalidInput, RunFailed

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.plan.plan import Plan
    from dynamoe_search.run.session import Ending
    from dynamoe_search.study import Study


class Engine(StrEnum):
    """What carries out the training runs."""

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
    run_cpus: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="Ray: the part of a core that a training run takes; it computes on one thread.",
        ),
    ] = 1.0,
    run_gpus: Annotated[float, typer.Option(min=0, help="Ray: devices of a training run.")] = 0.0,
    grace: Grace = 60.0,
    track: Track = None,
) -> None:
    """Begin a search, or go on with it.

    The log is kept in study.db beside the study file. Interrupt it (Ctrl-C) or kill it at any
    moment; the same command goes on where it was. At the end it writes leaderboard.csv and
    leaderboard.parquet there.

    With --storage the log is kept where several machines can reach it: other machines help with
    `dynamoe-search worker --storage URL`.

    With --track each training run and the decision go to MLflow or TensorBoard, each once, also
    those of earlier sessions. What goes wrong there never stops the training.

    Example: `dynamoe-search run studies/digits/study.toml`
    """
    from dynamoe_search.plan.reader import read_study_file, study_path

    # A mistake in the file is told at once, and not after torch is imported, which takes seconds.
    read_study_file(study_path(study))
    opened = open_study(study, storage, name, data_dir)

    from dynamoe_search.run.ray import RayCluster
    from dynamoe_search.run.session import Resources

    if engine == Engine.local and (address is not None or (run_cpus, run_gpus) != (1.0, 0.0)):
        raise InvalidInput(
            "--address, --run-cpus and --run-gpus belong to --engine ray; add it, or leave them out"
        )
    cluster = RayCluster(address, run_cpus, run_gpus) if engine == Engine.ray else None
    if cluster is not None and workers is not None:
        raise InvalidInput("--workers is for local processes; Ray takes --run-cpus")
    callbacks = trackers_at(track)
    ending = opened.run(
        allow_changes=allow_changes,
        resources=Resources(workers, device, grace, cluster),
        on_start=_say_plan,
        callbacks=callbacks,
    )
    runs = opened.training_runs()
    print_failures(runs)
    if not (runs["state"] == "complete").any():
        say_how_it_ended(ending)
        raise RunFailed("no training run was completed; the reasons are above")
    board = opened.leaderboard()
    opened.folder.mkdir(exist_ok=True)
    write_table(board, opened.folder / "leaderboard.csv")
    write_table(board, opened.folder / "leaderboard.parquet")
    show(opened, runs, board, rows=10)
    say(f"All {len(board)} candidates: {opened.folder / 'leaderboard.csv'}")
    say_how_it_ended(ending)


def worker(
    storage: Annotated[
        str,
        typer.Option(
            envvar="DYNAMOE_STORAGE",
            help="Where the log is: sqlite:///FILE, jsonl:///FILE or"
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

    The study file comes from the log; the data must be on this machine. Join and leave at any
    moment: a run that is lost with its worker is tried again by the next free one. Networks that
    the study keeps are written to a folder of the study's name.

    Example: `dynamoe-search worker --storage postgresql://me@server/studies --name digits`
    """
    from dynamoe_search.run.session import Resources
    from dynamoe_search.study import Study

    resources = Resources(workers, device, grace)
    ending = Study.at(storage, name, data_dir).work(resources=resources, on_start=_say_plan)
    say_how_it_ended(ending)
    console.print("Nothing is left to train.")


def leaderboard(
    study: StudyArgument,
    rows: Annotated[int, typer.Option(min=1, help="Show this number of the best.")] = 20,
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
    opened = open_study(study, storage, name)
    runs = opened.training_runs()
    board = opened.leaderboard()
    written = {form: path for form, path in (("csv", csv), ("parquet", parquet)) if path}
    for form, path in written.items():
        write_table(board, path, form)
    show(opened, runs, board, rows)
    for path in written.values():
        say(f"wrote {path}")
    if plot is None:
        return
    objectives = opened.file.search.objectives
    if opened.decision().has_bound:
        from dynamoe_search.plan.baselines import names_of
        from dynamoe_search.report.decision_plot import plot_study

        names, margin = names_of(opened.plan.baselines), opened.file.search.margin
        save_plot(plot_study(runs, opened.posterior(), names, margin), plot)
    elif len(objectives) == 1:
        from dynamoe_search.report.history import plot_search

        save_plot(plot_search(runs), plot)
    else:
        from dynamoe_search.report.pareto import plot_pareto

        save_plot(plot_pareto(board, objectives), plot)


def show(study: Study, runs: pd.DataFrame, board: pd.DataFrame, rows: int) -> None:
    """Print what a study has found."""
    from dynamoe_search.report.leaderboard import leaderboard_table
    from dynamoe_search.report.measurements import cost_sentences, measured_tables
    from dynamoe_search.report.pareto import pareto_table
    from dynamoe_search.report.terminal import print_table

    search = study.file.search
    if search.objectives == ("loss",):
        table = leaderboard_table(board, rows)
    else:
        table = pareto_table(board, search.objectives, rows)
    sentences = list(study.decision().sentences)
    if search.pruner != "none":
        from dynamoe_search.report.fidelity import fidelity_sentences

        sentences += fidelity_sentences(runs)
    for one in (table, *measured_tables(board, rows)):
        print_table(console, one)
    say("\n".join([*sentences, *cost_sentences(runs)]))


def say_how_it_ended(ending: Ending) -> None:
    """Say why a run ended before its limit, if it did; exit status 130 where it was interrupted."""
    match ending:
        case "interrupted":
            console.print("Interrupted; the same command goes on.")
            raise typer.Exit(130)
        case "decided":
            console.print("The study is decided: no further training run is needed.")
        case "exhausted":
            console.print("Every candidate that is proposed has had all its blocks.")


def _say_plan(plan: Plan) -> None:
    from dynamoe_search.report.plan import plan_sentences

    say("\n".join(plan_sentences(plan)))


def print_failures(runs: pd.DataFrame) -> None:
    """Say which training runs failed for good, and why."""
    runs = runs.drop_duplicates("run")
    ended = runs[~runs["state"].isin(["died", "interrupted"])].set_index(["candidate", "block"])
    died = runs[runs["state"] == "died"]
    for (candidate, block), attempts in died.groupby(["candidate", "block"]):
        if len(attempts) > 1 and (candidate, block) not in ended.index:
            _complain(
                f"{candidate}, block {block}: {len(attempts)} workers died in this run; something"
                " killed them, such as the system for want of memory"
            )
    failed = runs[runs["state"].isin(["diverged", "out of memory", "error"])]
    for row in failed.itertuples():
        _complain(f"run {row.run} ({row.candidate}) {row.state}: {escape(row.message)}")


def _complain(text: str) -> None:
    complaints.print(text, highlight=False, soft_wrap=True)
