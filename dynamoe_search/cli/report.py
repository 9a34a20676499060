"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    Name,
    Storage,
    StudyArgument,
    open_study,
    say,
)


def report(
    study: StudyArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; report.html beside the study file without it."),
    ] = None,
    storage: Storage = None,
    name: Name = None,
    data_dir: DataDirectory = None,
) -> None:
    """Write all that is known of a study to one HTML file that needs nothing else.

    What was asked and held equal, the answer, the best schedules against the named ones, the
    history, the landscape, what matters, and how to reproduce it; what was confirmed and measured,
    where it was. Works while the search is running, too.

    Example: `dynamoe-search report studies/digits`
    """
    say(f"wrote {open_study(study, storage, name, data_dir).report(out)}")
