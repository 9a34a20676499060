"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    Name,
    Storage,
    StudyArgument,
    console,
    open_study,
    say,
)
from dynamoe_search.errors import InvalidInput

if TYPE_CHECKING:
    from dynamoe_search.study import Study


def report(
    study: StudyArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; report.html beside the study file without it."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Serve it to this machine alone, in place of writing a file, and follow"
            " the search.",
        ),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Of --watch: 8081 without it; 0 for a free one."),
    ] = None,
    storage: Storage = None,
    name: Name = None,
    data_dir: DataDirectory = None,
) -> None:
    """Write all that is known of a study to one HTML file that needs nothing else.

    The decision first, in one sentence and one picture; then what it costs, and what to do next;
    then the evidence, folded. What the study has no data for is left out. Works while the search is
    running, too: with --watch the page refreshes itself, until you interrupt the command (Ctrl-C).

    Example: `dynamoe-search report studies/digits`
    """
    if live and out is not None:
        raise InvalidInput("--watch serves the report and writes no file: leave out --out")
    if port is not None and not live:
        raise InvalidInput("--port belongs to --watch; add it, or leave out the port")
    opened = open_study(study, storage, name, data_dir)
    if live:
        _serve(opened, 8081 if port is None else port)
    else:
        say(f"wrote {opened.report(out)}")


def _serve(study: Study, port: int) -> None:
    from dynamoe_search.report.html.server import make_server

    with make_server(study, port) as server:
        say(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Ended.")
