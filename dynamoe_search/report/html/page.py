"""The report of a study as a page: the decision, and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dynamoe_search import __version__
from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html import sections
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.opening import make_opening
from dynamoe_search.report.html.reproduction import reproduction
from dynamoe_search.report.html.sections import MakeSection, Section
from dynamoe_search.report.html.steps import where
from dynamoe_search.report.html.svg import Picture, draw
from dynamoe_search.report.rendering import render
from dynamoe_search.report.terminal import with_progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dynamoe_search.study import Study

SECTIONS: Mapping[str, tuple[str, MakeSection]] = {
    "asked": ("What was asked, and what was held equal", sections.what_was_asked),
    "confirmation": ("Confirmed from fresh seeds", sections.confirmed),
    "ladder": ("In larger networks", sections.larger_networks),
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
    "failures": ("What failed", sections.what_failed),
    "reproduction": ("How to reproduce it", reproduction),
}
"""The evidence by the anchor of each part: its title, and what makes it. The order is that of the
page."""

_NARROW = 560  # a picture, in pixels: half of the page


@dataclass(frozen=True)
class Part:
    """A section with its figures drawn."""

    anchor: str
    title: str
    section: Section
    pictures: Sequence[Picture]

    @property
    def is_beside(self) -> bool:
        """Whether its one picture is narrow enough to stand beside its sentences."""
        return len(self.pictures) == 1 and self.pictures[0].width <= _NARROW


def make_report(study: Study, progress: bool = False, version: int | None = None) -> str:
    """All that is known of a study, as one HTML file that needs no other.

    What the study has no data for is left out.

    Parameters
    ----------
    study : Study
    progress : bool
        Whether to show which section is being made.
    version : int, optional
        Of a page that is served while the search runs: it loads itself again when the address
        ``version`` beside it says another.

    Raises
    ------
    InvalidInput
        Where the study has not begun.
    """
    evidence = Evidence(study, study.training_runs())
    opening = make_opening(evidence)
    said = list(map(evidence.without_paths, opening.sentences))
    found = [
        _part(anchor, *about, evidence)
        for anchor, about in with_progress(SECTIONS.items(), lambda one: one[1][0], progress)
    ]
    return render(
        "report.html",
        title=study.title,
        kind="a schedule search",
        opening=replace(opening, sentences=said),
        pictures=_drawn(opening.figures, "decision"),
        where=where(evidence),
        parts=[part for part in found if part is not None],
        known=evidence.known,
        made_by=__version__,
        version=version,
    )


def _part(anchor: str, title: str, make: MakeSection, evidence: Evidence) -> Part | None:
    try:
        section = make(evidence)
    except InvalidInput:  # the study has no such data
        return None
    said = list(map(evidence.without_paths, section.sentences))
    return draw_part(anchor, title, replace(section, sentences=said))


def draw_part(anchor: str, title: str, section: Section) -> Part:
    """A section as a part of a page."""
    return Part(anchor, title, section, _drawn(section.figures, anchor))


def _drawn(figures: Mapping[str, Figure], prefix: str) -> list[Picture]:
    return [
        draw(figure, f"{prefix}-{number}", caption)
        for number, (caption, figure) in enumerate(figures.items(), start=1)
    ]
