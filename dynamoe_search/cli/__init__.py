"""The command line: how it begins and ends. Its commands are in `dynamoe_search.cli.app`."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from contextlib import suppress

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.run.processes import worker_context

_USUAL_THRESHOLDS = gc.get_threshold()
TRAINING = {"run", "worker", "confirm"}


def script() -> None:
    """The command ``dynamoe-search``: `main`, which ends without taking the interpreter apart.

    That takes a tenth of a second for torch alone. ``python -m dynamoe_search`` ends as usual, for
    profilers and whatever else has its say at the end.
    """
    status = 0
    try:
        main()
    except SystemExit as end:
        status = int(end.code or 0)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it may have gone
            stream.flush()
    os._exit(status)


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
    if TRAINING.intersection(arguments[:1]) and {"--help", "ray"}.isdisjoint(arguments):
        worker_context()  # to have workers get ready while the commands are imported
    from rich.markup import escape

    from dynamoe_search.cli.app import app
    from dynamoe_search.cli.console import complaints

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


def _after_the_imports(phase: str, info: dict[str, int]) -> None:
    """Look for garbage as usual from now on, but never among what was imported."""
    if phase == "stop":
        gc.callbacks.remove(_after_the_imports)
        gc.freeze()
        gc.set_threshold(*_USUAL_THRESHOLDS)
