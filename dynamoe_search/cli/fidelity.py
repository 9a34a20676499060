"""The command ``fidelity``: how far an early look at a training run can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamoe_search.cli.console import (
    Name,
    PlotFile,
    Storage,
    StudyArgument,
    console,
    open_study,
    save_plot,
    say,
    write_table,
)


def fidelity(
    study: StudyArgument,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this CSV file.")] = None,
    plot: PlotFile = None,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Show how well an early look at a run ranks the candidates, and what pruning saved.

    For each point of the learning curves: the rank correlation (Kendall's tau, with a 95 %
    interval) of the losses there with those at the end, and beside it how well two full runs of the
    same candidates agree. Works for any study, so that you see whether a pruner would help.
    """
    from dynamoe_search.report.fidelity import fidelity_sentences, fidelity_table, plot_fidelity
    from dynamoe_search.report.terminal import print_table
    from dynamoe_search.statistics import rank_correlations

    runs = open_study(study, storage, name).training_runs()
    correlations = rank_correlations(runs)
    print_table(console, fidelity_table(correlations))
    say("\n".join(fidelity_sentences(runs)))
    if csv is not None:
        write_table(correlations, csv, "csv")
        say(f"wrote {csv}")
    if plot is not None:
        save_plot(plot_fidelity(runs), plot)
