"""The command line, called in this process as a shell would call it."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from dynamoe_search.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command has ended, and what it has said."""

    status: int
    output: str
    errors: str


def dynamoe_search(*arguments: object) -> Ended:
    """Call a command."""
    output, errors = io.StringIO(), io.StringIO()
    command = ["dynamoe-search", *map(str, arguments)]
    with patch.object(sys, "argv", command), redirect_stdout(output), redirect_stderr(errors):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
    return Ended(status, output.getvalue(), errors.getvalue())


def output_of(*arguments: object) -> str:
    """What a command prints that succeeds."""
    ended = dynamoe_search(*arguments)
    assert ended.status == 0, ended.errors
    assert ended.errors == ""
    assert "Column(" not in ended.output  # a table is drawn, not described
    return ended.output


def error_of(*arguments: object, status: int = 2) -> str:
    """The one error of a command that fails: 2 for a mistake of the user, 1 for a failed run."""
    ended = dynamoe_search(*arguments)
    assert ended.status == status, ended.output + ended.errors
    assert "Traceback" not in ended.output + ended.errors
    assert ended.errors.lower().count("error") == 1, ended.errors
    return ended.errors
