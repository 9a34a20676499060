"""The commands. One module per group of them; each parses, calls and prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dynamoe_search import __version__
from dynamoe_search.cli import (
    analyze,
    bench,
    bounds,
    claims,
    confirm,
    dashboard,
    data,
    export,
    fidelity,
    init,
    ladder,
    model,
    plan,
    report,
    routing,
    samplers,
    schedule,
    sensitivity,
    study,
)
from dynamoe_search.cli.console import console

# What needs torch, optuna or pandas is imported where it is used, so that --help is quick.


@dataclass
class Settings:
    """What holds for every command."""

    debug: bool = False


app = typer.Typer(
    help="Under a fixed budget, how many experts should each layer of a Mixture-of-Experts"
    " network get, and how many should each token use?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(plan.plan)
app.command()(study.run)
app.command()(study.worker)
app.command()(study.leaderboard)
app.command()(report.report)
app.command()(dashboard.dashboard)
app.command()(fidelity.fidelity)
app.command()(confirm.confirm)
app.command()(ladder.ladder)
app.command()(samplers.compare_samplers)
app.command()(bench.bench)
app.command()(claims.claims)
app.command()(analyze.analyze)
app.command()(routing.routing)
app.command()(bounds.bounds)
app.command()(sensitivity.sensitivity)
app.command()(export.export)
app.command("import")(export.import_)
app.command()(model.model)
app.command()(init.init)
app.add_typer(schedule.app, name="schedule")
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="DYNAMOE_DEBUG", help="Show the traceback where something fails."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options of every command; they come before it."""
    context.obj.debug = debug
