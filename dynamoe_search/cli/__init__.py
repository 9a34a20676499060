"""The command line: how it begins and ends. Its commands are in `dynamoe_search.cli.app`."""

from __future__ import annotations

import io
import os
import sys
import traceback

from rich.markup import escape

from dynamoe_search.cli.app import Settings, app
from dynamoe_search.cli.console import complaints
from dynamoe_search.errors import InvalidInput, RunFailed


def main() -> None:
    """Run the command line: exit status 2 for a mistake of the user, 1 for a failed run."""
    _prepare_streams()
    settings = Settings()
    try:
        app(obj=settings)
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        hint = ""
        if not isinstance(error, InvalidInput | RunFailed):
            hint = f" ({type(error).__name__}; dynamoe-search --debug ... shows the traceback)"
        message = f"[bold red]error:[/bold red] {escape(str(error))}{hint}"
        complaints.print(message, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InvalidInput) else 1)


def _prepare_streams() -> None:
    """Replace what the terminal's encoding does not have, and let closed streams take anything."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="replace")
