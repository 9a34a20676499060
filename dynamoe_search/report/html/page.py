"""The report of a study as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table

from dynamoe_search import __version__
from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html import insight, results
from dynamoe_search.report.html.evidence import Evidence, gather
from dynamoe_search.report.html.reproduction import reproduction
from dynamoe_search.report.html.section import MakeSection
from dynamoe_search.report.html.svg import Picture, draw

SECTIONS: Mapping[str, tuple[str, MakeSection]] = {
    "asked": ("What was asked, and what was held equal", results.what_was_asked),
    "answer": ("The answer", results.the_answer),
    "confirmation": ("Confirmed from fresh seeds", results.confirmed),
    "schedules": ("The best schedules, and the named ones", results.best_schedules),
    "pareto": ("Pareto front", results.pareto),
    "history": ("History and regret", results.history),
    "landscape": ("The family's landscape", insight.landscape),
    "importance": ("What the loss depends on", insight.importance),
    "utilization": ("How the experts are used", insight.utilization),
    "gradients": ("Gradient noise over the training", insight.gradients),
    "representations": ("What the layers are given", insight.representations),
    "bounds": ("Measured against bounds", insight.bounds),
    "fidelity": ("How far an early look can be trusted", insight.fidelity),
    "reproduction": ("How to reproduce it", reproduction),
}
"""By the anchor of each: its title, and what makes it. The order is that of the page."""


@dataclass(frozen=True)
class Grid:
    """A table of text, ready to be laid out."""

    title: str
    headers: Sequence[str]
    is_number: Sequence[bool]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True)
class Part:
    """A section, ready to be laid out; where it is left out, `missing` says why."""

    anchor: str
    title: str
    missing: str = ""
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    grids: Sequence[Grid] = ()
    texts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Report:
    """A page, and the titles of the sections that were left out.

    Parameters
    ----------
    html : str
    left_out : tuple of str
    """

    html: str
    left_out: tuple[str, ...]


def make_report(
    study: Path,
    storage: str | None = None,
    name: str | None = None,
    data_directory: Path | None = None,
) -> Report:
    """All that is known of a study, as one HTML file that needs nothing else.

    Parameters
    ----------
    study : Path
        The study file, or its folder.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.
    data_directory : Path, optional
        Where data files are. Without the data the report does not say what the budget buys.

    Raises
    ------
    InvalidInput
        Where there is no such study, or it has not begun.
    """
    evidence = gather(study, storage, name, data_directory)
    parts = [_part(anchor, *about, evidence) for anchor, about in SECTIONS.items()]
    environment = Environment(
        loader=PackageLoader("dynamoe_search.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html").render(
        title=evidence.title, version=__version__, parts=parts
    )
    return Report(html, tuple(part.title for part in parts if part.missing))


def _part(anchor: str, title: str, make: MakeSection, evidence: Evidence) -> Part:
    try:
        section = make(evidence)
    except InvalidInput as error:
        return Part(anchor, title, missing=str(error))
    pictures = [
        draw(figure, f"{anchor}-{number}", caption)
        for number, (caption, figure) in enumerate(section.figures.items(), start=1)
    ]
    grids = [_grid(table) for table in section.tables]
    sentences = [sentence.replace(" %", "\N{NO-BREAK SPACE}%") for sentence in section.sentences]
    return Part(anchor, title, "", sentences, pictures, grids, tuple(section.texts.items()))


def _grid(table: Table) -> Grid:
    """What a table for the terminal holds."""
    columns = table.columns
    return Grid(
        str(table.title or ""),
        [str(column.header) for column in columns],
        [column.justify == "right" for column in columns],
        list(zip(*([str(cell) for cell in column.cells] for column in columns), strict=True)),
        str(table.caption or ""),
    )
