"""What the commands share: consoles, options, and writing files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dynamoe_search.files import writing
from dynamoe_search.report.console import GoingOnConsole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from dynamoe_search.study import Study
    from dynamoe_search.trackers import Callback

# A pipe or a log has no width of its own; captions are made for more than 80 columns.
console = GoingOnConsole(width=None if sys.stdout and sys.stdout.isatty() else 130)
complaints = GoingOnConsole(stderr=True)

StudyArgument = Annotated[
    Path, typer.Argument(help="A study file, or the folder of a study.toml.", metavar="STUDY")
]
DataDirectory = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where data files are; DYNAMOE_DATA without it."),
]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="DYNAMOE_STORAGE",
        help="Where the log is kept: sqlite:///FILE, jsonl:///FILE or"
        " postgresql://USER@HOST/DATABASE; study.db beside the study file without it.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(help="The study's name there; the folder's without it."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes, of one thread each; one per core without it."),
]
Device = Annotated[str, typer.Option(help="The torch device to train on.")]
Grace = Annotated[
    float,
    typer.Option(
        min=1,
        help="Seconds without a heartbeat after which a worker elsewhere is given up; from 60 on"
        " commands need not agree about it.",
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        help="Tell a tracker what happens: mlflow:URI, mlflow (where that is set to), or"
        " tensorboard:FOLDER. It can be given several times.",
    ),
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", help="Also draw it to this file (.png, .svg or .pdf).")
]


def say(text: str) -> None:
    """Print sentences as they are."""
    console.print(escape(text), highlight=False, soft_wrap=True)


def open_study(
    study: Path, storage: str | None, name: str | None, data_dir: Path | None = None
) -> Study:
    """The study that the options name."""
    from dynamoe_search.study import Study

    return Study(study, storage, name, data_dir)


def trackers_at(addresses: list[str] | None) -> list[Callback]:
    """The trackers that ``--track`` names."""
    from dynamoe_search.trackers import tracker_at

    return [tracker_at(address) for address in addresses or ()]


def write_table(table: pd.DataFrame, path: Path, form: str | None = None) -> None:
    """Write a table as CSV or parquet: by `form`, or by the file's ending."""
    form = form or path.suffix.removeprefix(".")
    with writing(path) as beside:
        if form == "csv":
            table.to_csv(beside, index=False)
        else:  # pyarrow opens no path that is not UTF-8
            beside.write_bytes(table.to_parquet(index=False))


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure, and say so."""
    from dynamoe_search.report.figure import save_figure

    with writing(path) as beside:
        save_figure(figure, beside)
    say(f"wrote {path}")


def write_text(path: Path, text: str) -> None:
    """Write a text."""
    with writing(path) as beside:
        beside.write_text(text, encoding="utf-8")
