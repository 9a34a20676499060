"""The report of a study as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamoe_search import __version__
from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html import sections
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.reproduction import reproduction
from dynamoe_search.report.html.sections import MakeSection, Section
from dynamoe_search.report.html.svg import Picture, draw
from dynamoe_search.report.rendering import render
from dynamoe_search.report.terminal import with_progress

if TYPE_CHECKING:
    from dynamoe_search.study import Study

SECTIONS: Mapping[str, tuple[str, MakeSection]] = {
    "asked": ("What was asked, and what was held equal", sections.what_was_asked),
    "answer": ("The answer", sections.the_answer),
    "confirmation": ("Confirmed from fresh seeds", sections.confirmed),
    "schedules": ("The best schedules, and the named ones", sections.best_schedules),
    "pareto": ("Pareto front", sections.pareto_front),
    "history": ("History and regret", sections.how_it_went),
    "landscape": ("The family's landscape", sections.family_landscape),
    "importance": ("What the loss depends on", sections.what_matters),
    "utilization": ("How the experts are used", sections.use_of_experts),
    "gradients": ("Gradient noise over the training", sections.noise_of_gradients),
    "representations": ("How varied the tokens are", sections.variety_of_tokens),
    "bounds": ("Measured against bounds", sections.between_bounds),
    "fidelity": ("How far an early look can be trusted", sections.early_looks),
    "reproduction": ("How to reproduce it", reproduction),
}
"""By the anchor of each: its title, and what makes it. The order is that of the page."""


@dataclass(frozen=True)
class Part:
    """A section with its figures drawn; or why it is left out, in `missing`."""

    anchor: str
    title: str
    section: Section = field(default_factory=Section)
    pictures: Sequence[Picture] = ()
    missing: str = ""


def make_report(study: Study, progress: bool = False) -> str:
    """All that is known of a study, as one HTML file that needs no other.

    Without the study's data, the report does not say what the budget buys.

    Parameters
    ----------
    study : Study
    progress : bool
        Whether to show which section is being made.

    Raises
    ------
    InvalidInput
        Where the study has not begun.
    """
    evidence = Evidence(study, study.training_runs())
    parts = [
        _part(anchor, *about, evidence)
        for anchor, about in with_progress(SECTIONS.items(), lambda one: one[1][0], progress)
    ]
    return make_page(
        study.title,
        "a schedule search",
        "How many experts should each layer get? What this study has found, with its noise.",
        "the study's log",
        parts,
    )


def make_page(title: str, kind: str, lead: str, source: str, parts: Sequence[Part]) -> str:
    """A page of parts: what it is about, of which kind, what it tells, and what it is made from."""
    return render(
        "report.html",
        title=title,
        kind=kind,
        lead=lead,
        source=source,
        version=__version__,
        parts=parts,
    )


def _part(anchor: str, title: str, make: MakeSection, evidence: Evidence) -> Part:
    try:
        return draw_part(anchor, title, make(evidence))
    except InvalidInput as error:
        return Part(anchor, title, missing=str(error))


def draw_part(anchor: str, title: str, section: Section) -> Part:
    """A section as a part of a page."""
    pictures = [
        draw(figure, f"{anchor}-{number}", caption)
        for number, (caption, figure) in enumerate(section.figures.items(), start=1)
    ]
    return Part(anchor, title, section, pictures)
