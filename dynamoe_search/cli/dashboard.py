"""The command ``dashboard``."""

from __future__ import annotations

from typing import Annotated

import typer

from dynamoe_search.cli.console import Name, Storage, StudyArgument, console, open_study, say


def dashboard(
    study: StudyArgument,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On this machine; 0 for a free one.")
    ] = 8080,
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Look at a study in Optuna's dashboard, also while the search runs.

    Serves the pages of `optuna-dashboard` to this machine alone, until you interrupt it (Ctrl-C). A
    trial is a candidate; its value is the mean over all its seeds. The dashboard only shows the
    study: nothing can be changed or noted there.

    Example: `dynamoe-search dashboard studies/digits`
    """
    from dynamoe_search.report.dashboard import make_server

    with make_server(open_study(study, storage, name), port) as server:
        say(
            f"http://127.0.0.1:{server.server_port}/dashboard (Ctrl-C ends it)\nNew candidates"
            " appear by themselves; reload the page to see changed estimates of earlier ones."
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Ended.")
