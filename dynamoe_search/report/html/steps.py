"""What to do next with a study: sentences, and the commands for a shell in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word
from dynamoe_search.log.storage import options_of
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.wording import counted

if TYPE_CHECKING:
    from dynamoe_search.study import Study


@dataclass(frozen=True)
class Step:
    """Something to do, and its command if there is one."""

    text: str
    command: str = ""


def command(evidence: Evidence, words: str) -> str:
    """A command on the study, for a shell in the folder of the study file."""
    return f"dynamoe-search {words} {_arguments(evidence.study)}"


def _arguments(study: Study) -> str:
    """What names a study in its folder, without any path outside of that.

    A log elsewhere on this machine is left to the variable ``DYNAMOE_STORAGE``.
    """
    home = Path() if study.path is None else study.path.parent
    word = shell_word("STUDY" if study.path is None else study.path.name)
    file, here = study.storage.file, home.absolute()
    address: str | None = study.storage.address
    if file is not None:
        inside = file.is_relative_to(here)
        address = f"{study.storage.kind}:///{file.relative_to(here)}" if inside else None
    return " ".join([word, *options_of(study.storage, home, study.folder, address)])


def where(evidence: Evidence) -> list[str]:
    """Where the commands are to be called, and what they need, in sentences."""
    storage, named = evidence.study.storage, _arguments(evidence.study)
    if storage.server is not None:
        needed = (
            " The address of the log is shown without user and password: add them to it, or set"
            " PGUSER and PGPASSWORD."
        )
    elif "--storage" in evidence.study.arguments and "--storage" not in named:
        needed = " The log is elsewhere: set DYNAMOE_STORAGE to its address first."
    else:
        needed = ""
    return [f"Commands are for a shell in the folder of the study file.{needed}"]


def confirmation_words(evidence: Evidence) -> str:
    """The command that made the confirmation, without the study; "" where there is none."""
    try:
        _, planned = evidence.confirmation
    except InvalidInput:
        return ""
    asked = "--until decided --most-seeds" if planned.until == "decided" else "--seeds"
    return f"confirm {asked} {planned.seeds[-1]} --margin {planned.margin:g}"


def next_steps(evidence: Evidence) -> list[Step]:
    """What to do next, the most useful first."""
    decision = evidence.decision
    if decision is None:
        failed = "Mend what failed, and go on." if len(evidence.runs) else "Begin the search."
        running = (evidence.runs["state"] == "running").any()
        return [
            Step(
                "The search goes on: wait, or go on with it." if running else failed,
                command(evidence, "run"),
            )
        ]
    steps = []
    if decision.has_bound and not decision.decided:
        further = "more runs"
        if decision.further_runs is not None:
            further = f"about {counted(decision.further_runs, 'further run')}"
        most = evidence.file.search.runs
        reached = most is not None and evidence.finished_runs >= most
        limit = ", after you have raised the limit of the section search" if reached else ""
        text = f"Go on with the search{limit}: {further} would bring the bound within the margin."
        steps.append(Step(text, command(evidence, "run")))
    elif len(evidence.objectives) > 1:
        text = "Choose one of the front: what its objectives are worth is for you to say."
        steps.append(Step(text, command(evidence, "leaderboard")))
    elif not decision.has_bound:
        steps.append(Step("Train more before you decide.", command(evidence, "run")))
    if evidence.file.budget.regime == "paper":
        steps.append(
            Step(
                "Ask again at equal size: candidates of the regime paper differ in parameters and"
                ' compute. Begin a study (another --name) with regime = "compute".'
            )
        )
    return [*steps, *_to_confirm(evidence)]


def _to_confirm(evidence: Evidence) -> list[Step]:
    try:
        table, planned = evidence.confirmation
    except InvalidInput:
        text = "Confirm it from fresh seeds, on the test split, which the search never looks at."
        return [Step(text, command(evidence, "confirm"))]
    steps = []
    waiting = int((table["verdict"] == "undecided").sum())
    if waiting:
        more = 2 * planned.seeds[-1]
        option = "--until decided --most-seeds" if planned.until == "decided" else "--seeds"
        text = f"Decide what the confirmation left open: {counted(waiting, 'comparison')}."
        steps.append(Step(text, command(evidence, f"confirm {option} {more}")))
    if evidence.ladder is None:
        text = "See whether the differences hold in larger networks."
        steps.append(Step(text, command(evidence, "ladder")))
    return steps
