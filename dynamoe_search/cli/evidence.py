"""Commands that ask how far a search can be trusted: ``confirm`` and ``fidelity``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    Device,
    Grace,
    Name,
    PlotFile,
    Storage,
    StudyArgument,
    Workers,
    console,
    save_plot,
    say,
    write_table,
)
from dynamoe_search.cli.study import say_how_it_ended
from dynamoe_search.errors import RunFailed

if TYPE_CHECKING:
    from dynamoe_search.plan.plan import Plan
    from dynamoe_search.run.confirm import Confirmation


def confirm(
    study: StudyArgument,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Fresh seeds of each candidate; 8 without it.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="The difference of losses, in nats, that does not matter; without it 0.01: one"
            " percent in the probability given to the right answer."
        ),
    ] = None,
    plot: PlotFile = None,
    workers: Workers = None,
    data_dir: DataDirectory = None,
    device: Device = "cpu",
    storage: Storage = None,
    name: Name = None,
    grace: Grace = 60.0,
) -> None:
    """Train the finalists and the baselines from fresh seeds, and say which differences are real.

    The search's three best, the six patterns, uniform, and two dense networks (of as many active,
    and as many total parameters) are trained from the same seeds, and measured on the test split,
    which the search has never looked at. Each is compared with the search's best: paired
    differences with 95 % intervals, tests corrected for their number (Holm), and a test of
    equivalence within the margin. Interrupt it at any moment; the same command goes on. It writes
    confirmation.csv and confirmation.parquet beside the study file.

    Example: `dynamoe-search confirm studies/digits --plot confirmation.png`
    """
    from dynamoe_search.report.confirmation import (
        confirmation_sentences,
        confirmation_table,
        plot_confirmation,
    )
    from dynamoe_search.report.terminal import SearchDisplay
    from dynamoe_search.run.confirm import confirm_study, load_confirmation, paired_results
    from dynamoe_search.run.run import Resources, results_folder
    from dynamoe_search.statistics.comparison import compare_with_reference

    with SearchDisplay(console) as display:
        outcome = confirm_study(
            study,
            seeds,
            margin,
            Resources(workers, data_dir, device, grace),
            storage,
            name,
            on_start=_say_what_is_confirmed,
            on_progress=display.update,
        )
    runs, confirmation = load_confirmation(study, storage, name)
    results = paired_results(runs)
    trained = set(results.loc[results["loss"].notna(), "candidate"])
    if confirmation.reference not in trained or len(trained) < 2:
        say_how_it_ended(outcome)
        raise RunFailed("nothing to compare: trainings of the reference and another must succeed")
    table = compare_with_reference(results, confirmation.reference, confirmation.margin)
    table.insert(1, "name", table["candidate"].map(confirmation.names))
    folder = results_folder(study, name)
    folder.mkdir(exist_ok=True)
    write_table(table, folder / "confirmation.csv")
    write_table(table, folder / "confirmation.parquet")
    title = _title(confirmation)
    console.print(confirmation_table(table, title, confirmation.margin))
    looks = len(confirmation.seeds)
    say("\n".join(confirmation_sentences(table, title, confirmation.margin, looks)))
    say(f"All numbers: {folder / 'confirmation.csv'}")
    if plot is not None:
        save_plot(plot_confirmation(table, title, confirmation.margin), plot)
    say_how_it_ended(outcome)


def fidelity(
    study: StudyArgument,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this CSV file.")] = None,
    plot: PlotFile = None,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Show how well an early look at a training ranks the candidates, and what pruning saved.

    For each point of the learning curves: the rank correlation (Kendall's tau, with a 95 %
    interval) of the losses there with those at the end, and beside it how well two full trainings
    of the same candidates agree. Works for any study, so that you see whether a pruner would do.
    """
    from dynamoe_search.report.fidelity import fidelity_sentences, fidelity_table, plot_fidelity
    from dynamoe_search.run.results import load_runs
    from dynamoe_search.statistics.fidelity import rank_correlations

    runs = load_runs(study, storage, name)
    correlations = rank_correlations(runs)
    console.print(fidelity_table(correlations))
    say("\n".join(fidelity_sentences(runs)))
    if csv is not None:
        write_table(correlations, csv, "csv")
        say(f"wrote {csv}")
    if plot is not None:
        save_plot(plot_fidelity(runs), plot)


def _title(confirmation: Confirmation) -> str:
    name = confirmation.names[confirmation.reference]
    return f"{name} ({confirmation.reference})" if name else confirmation.reference


def _say_what_is_confirmed(plan: Plan, confirmation: Confirmation) -> None:
    say(
        f"{len(confirmation.names)} candidates from {confirmation.seeds[-1]} fresh seeds, measured"
        f" on the test split of {plan.study.data.name}; each is compared with"
        f" {_title(confirmation)}, the search's best.\nA difference within"
        f" {confirmation.margin:g} nats does not matter."
    )
