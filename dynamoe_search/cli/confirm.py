"""The command ``confirm``: which differences are real."""

from __future__ import annotations

from enum import StrEnum
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
    Track,
    Workers,
    console,
    open_study,
    save_plot,
    say,
    trackers_at,
    write_table,
)
from dynamoe_search.cli.study import say_how_it_ended
from dynamoe_search.errors import InvalidInput, RunFailed

if TYPE_CHECKING:
    from dynamoe_search.plan.confirmation import Confirmation
    from dynamoe_search.plan.plan import Plan


class Until(StrEnum):
    """How a confirmation ends."""

    seeds = "seeds"
    decided = "decided"


def confirm(
    study: StudyArgument,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Fresh seeds of each candidate; 8 without it.")
    ] = None,
    until: Annotated[
        Until | None,
        typer.Option(
            help="decided: look at the results after every 4 seeds, and train a candidate no"
            " further when it is shown to be better, worse or equivalent; error rates hold"
            " over all looks."
            " seeds: a fixed number. The first run fixes it; seeds without it."
        ),
    ] = None,
    most_seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="With --until decided, the most fresh seeds; 64 without it. It can be raised at"
            " any time.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="The difference of losses, in nats, that does not matter; without it search.margin"
            " of the study file. 0.01 is one percent in the probability given to the right answer."
        ),
    ] = None,
    plot: PlotFile = None,
    workers: Workers = None,
    data_dir: DataDirectory = None,
    device: Device = "cpu",
    storage: Storage = None,
    name: Name = None,
    grace: Grace = 60.0,
    track: Track = None,
) -> None:
    """Train the finalists and the baselines from fresh seeds, and say which differences are real.

    The search's three best, the six patterns, uniform, and two dense networks (of as many active,
    and as many total parameters) are trained from the same seeds, and measured on the test split,
    which the search never looks at. Each is compared with the search's best: paired differences
    with 95 % intervals, tests corrected for their number (Holm), and a test of equivalence within
    the margin. Interrupt it at any moment; the same command goes on. It writes confirmation.csv and
    confirmation.parquet beside the study file.

    With --until decided most candidates take far fewer seeds, as clear differences are decided at
    once; those that are close take more.

    Example: `dynamoe-search confirm studies/digits --until decided --plot confirmation.png`
    """
    from dynamoe_search.report.confirmation import (
        confirmation_sentences,
        confirmation_table,
        plot_confirmation,
    )
    from dynamoe_search.report.terminal import print_table
    from dynamoe_search.run.session import Resources

    opened = open_study(study, storage, name, data_dir)
    ending = opened.confirm(
        seeds,
        margin,
        until=None if until is None else until.value,
        most_seeds=most_seeds,
        resources=Resources(workers, device, grace),
        on_start=_say_what_is_confirmed,
        callbacks=trackers_at(track),
    )
    try:
        table, confirmation = opened.confirmation()
    except InvalidInput as error:
        say_how_it_ended(ending)
        raise RunFailed(str(error)) from error
    opened.folder.mkdir(exist_ok=True)
    write_table(table, opened.folder / "confirmation.csv")
    write_table(table, opened.folder / "confirmation.parquet")
    about = (confirmation.title, confirmation.margin)
    print_table(console, confirmation_table(table, *about))
    say("\n".join(confirmation_sentences(table, *about, len(confirmation.seeds))))
    say(f"All numbers: {opened.folder / 'confirmation.csv'}")
    if plot is not None:
        save_plot(plot_confirmation(table, *about), plot)
    say_how_it_ended(ending)


def _say_what_is_confirmed(plan: Plan, confirmation: Confirmation) -> None:
    looks = confirmation.looks
    seeds = f"{confirmation.seeds[-1]} fresh seeds"
    if looks is not None:
        seeds = f"up to {seeds}, each until a look (after every {looks.every}) decides it"
    say(
        f"{len(confirmation.contenders)} candidates from {seeds},"
        f" measured on the test split of {plan.study.data.name}; each is compared with"
        f" {confirmation.title}, the search's best.\nA difference within"
        f" {confirmation.margin:g} nats does not matter."
    )
