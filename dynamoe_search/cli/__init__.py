"""The command line: how it begins and ends. Its commands are in `dynamoe_search.cli.app`."""

from __future__ import annotations

import sys
import traceback

from rich.markup import escape

from dynamoe_search.cli.app import Settings, app
from dynamoe_search.cli.console import complaints
from dynamoe_search.errors import InvalidInput, RunFailed


def main() -> None:
    """Run the command line: exit status 2 for a mistake of the user, 1 for a failed run."""
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
