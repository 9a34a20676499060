"""The command ``ladder``: what a difference becomes as networks grow."""

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
    open_study,
    save_plot,
    say,
    write_table,
)
from dynamoe_search.cli.study import say_how_it_ended
from dynamoe_search.errors import InvalidInput, RunFailed

if TYPE_CHECKING:
    from dynamoe_search.plan.confirmation import Confirmation
    from dynamoe_search.plan.plan import Plan


def ladder(
    study: StudyArgument,
    scales: Annotated[
        int, typer.Option(min=3, help="How many sizes; the first is the study's own.")
    ] = 3,
    growth: Annotated[
        float,
        typer.Option(
            help="The factor of width, hidden width and depth from one scale to the next; below 1"
            " each is smaller."
        ),
    ] = 1.4142135623730951,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, help="Fresh seeds of each candidate at each scale; 8 without it."),
    ] = None,
    finalists: Annotated[
        int, typer.Option(min=0, help="How many of the study's best. The first run fixes it.")
    ] = 3,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="A baseline next to uniform, by name; give it several times. All named patterns"
            " without it. The first run fixes it."
        ),
    ] = None,
    reference: Annotated[
        str,
        typer.Option(help="The candidate that the others are compared with, as the table has it."),
    ] = "uniform",
    at: Annotated[
        float | None,
        typer.Option(
            min=1, help="Training FLOPs of a real model, for which differences are extrapolated."
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Also write the results to this file, a row per scale, candidate and seed."
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
    """Train the study's best and its baselines at several sizes: does what they show still hold?

    From one scale to the next width, hidden width and depth grow by --growth; experts per layer
    and K stay, and the passes over the data grow with the parameters. By default each scale has
    about 2.8 times the parameters of the one before, and takes 8 times its training FLOPs: fewer
    candidates (--finalists 1 --baseline descending) or --growth 1.2 cost less. A schedule is
    stretched to the new depth with exactly the new total.

    All candidates are trained from the same fresh seeds at each scale, and measured on the test
    split. The command says whether each difference to the reference keeps its sign, as which power
    of training FLOPs it grows or shrinks, and how much more compute the worse one needs for the
    loss of the better one. --at FLOPS extrapolates to the size of a real model: training FLOPs are
    about 6 times its active parameters times its tokens.

    Each scale is a study in ladder/scale-N of the study's folder. Interrupt it (Ctrl-C) or kill it
    at any moment; the same command goes on. It writes ladder.csv, a row per scale and candidate,
    beside the study file.

    Example: `dynamoe-search ladder studies/digits --seeds 8 --at 1e21 --plot ladder.png`
    """
    from dynamoe_search.report.ladder import ladder_sentences, ladder_table, plot_ladder
    from dynamoe_search.report.terminal import print_table
    from dynamoe_search.run.session import Resources
    from dynamoe_search.statistics.scales import compare_scales

    opened = open_study(study, storage, name, data_dir)
    ending = opened.train_ladder(
        scales,
        growth,
        seeds,
        finalists=finalists,
        baselines=baseline or None,
        resources=Resources(workers, device, grace),
        on_scale=_say_scale,
    )
    try:
        results = opened.ladder()
        compared = compare_scales(results, reference)
    except InvalidInput as error:
        say_how_it_ended(ending)
        raise RunFailed(str(error)) from error
    print_table(console, ladder_table(results, reference))
    say("\n".join(ladder_sentences(results, reference, at)))
    write_table(compared, opened.folder / "ladder.csv")
    say(f"All numbers: {opened.folder / 'ladder.csv'}")
    if csv is not None:
        write_table(results, csv, "csv")
        say(f"wrote {csv}")
    if plot is not None:
        save_plot(plot_ladder(results, reference), plot)
    say_how_it_ended(ending)


def _say_scale(scale: int, plan: Plan, confirmation: Confirmation) -> None:
    from dynamoe_search.report.wording import counted, engineering

    model, training = plan.study.model, plan.study.training
    assert plan.solution is not None  # a ladder asks for a total
    if training.flops is not None:
        length = f"{engineering(training.flops)}FLOPs per seed"
    else:
        length = "1 pass" if training.epochs == 1 else f"{training.epochs:,} passes"
    say(
        f"Scale {scale}: {counted(model.depth, 'layer')} of width {model.width},"
        f" {counted(plan.solution.experts, 'expert')} of hidden width {model.hidden},"
        f" {plan.solution.parameters:,} parameters; {length} over the same data;"
        f" {counted(len(confirmation.contenders), 'candidate')} from"
        f" {counted(confirmation.blocks * confirmation.seeds_per_block, 'seed')}."
    )
