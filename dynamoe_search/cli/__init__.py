"""The command line: parse, call, print. One module a group of commands."""

from __future__ import annotations

import atexit
import gc
import sys
import traceback
from typing import Annotated

import typer
from rich.markup import escape

from dynamoe_search import __version__
from dynamoe_search.cli import (
    analyze,
    bench,
    bounds,
    claims,
    data,
    evidence,
    report,
    samplers,
    schedule,
    study,
)
from dynamoe_search.cli.console import complaints, console
from dynamoe_search.errors import InvalidInput, RunFailed

# What needs torch, optuna or pandas is imported where it is used, so that --help is quick, and
# workers get ready meanwhile: see `dynamoe_search.forking`.

_USUAL_THRESHOLDS = gc.get_threshold()

app = typer.Typer(
    help="Under a fixed budget, how many experts should each layer of a Mixture-of-Experts"
    " network get, and how many should each token use?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(study.run)
app.command()(study.worker)
app.command()(study.leaderboard)
app.command()(report.report)
app.command()(evidence.fidelity)
app.command()(evidence.confirm)
app.command()(samplers.compare_samplers)
app.command()(bench.bench)
app.command()(claims.claims)
app.command()(analyze.analyze)
app.command()(bounds.bounds)
app.add_typer(schedule.app, name="schedule")
app.add_typer(data.app, name="data")


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


def _after_the_imports(phase: str, info: dict[str, int]) -> None:
    """Look for garbage as usual from now on, but never among what was imported."""
    if phase == "stop":
        gc.callbacks.remove(_after_the_imports)
        gc.freeze()
        gc.set_threshold(*_USUAL_THRESHOLDS)


def main() -> None:
    """Run the command line: exit status 2 for a mistake of the user, 1 for a failed run."""
    # Hardly anything that is imported becomes garbage; a third of a command's start and most of its
    # end went into looking for it. Before the first training begins, `run` makes half so many.
    gc.set_threshold(1_000_000)
    gc.callbacks.append(_after_the_imports)
    atexit.register(gc.freeze)
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
