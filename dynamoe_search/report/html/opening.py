"""What a report begins with: the decision, its picture, what it costs, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamoe_search.decision.acquisition import MOST_FORESEEN
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.baselines import names_of
from dynamoe_search.report import pareto
from dynamoe_search.report.decision_plot import plot_decision
from dynamoe_search.report.figure import own_style, panels
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.steps import Step, next_steps
from dynamoe_search.report.wording import counted, duration, enumerated, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dynamoe_search.decision.decision import Decision

_WIDTH = 10.4  # of the picture, in inches: that of the page
_FAILED = ["diverged", "out of memory", "error", "died"]
_MOST_MESSAGES = 3


@dataclass(frozen=True)
class Opening:
    """The top of the page.

    Parameters
    ----------
    statement : str
        What was decided, in one sentence.
    sentences : sequence of str
        How sure that is, and what else must be known.
    figures : mapping of str to Figure
        At most one, by its caption.
    costs : mapping of str to str
        What the decision has cost, and what further runs would bring.
    steps : sequence of Step
        What to do next, the most useful first.
    """

    statement: str
    sentences: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    costs: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[Step] = ()


def make_opening(evidence: Evidence) -> Opening:
    """What a study has decided, or why it has not."""
    decision = evidence.decision
    costs = _spent(evidence) | _to_decide(evidence, decision)
    steps = next_steps(evidence)
    if decision is None:
        return Opening(*_nothing_yet(evidence), costs=costs, steps=steps)
    sentences = [*decision.sentences[1:], *_confirmed(evidence)]
    if decision.has_bound:
        costs = _to_take(evidence, decision) | costs
    return Opening(decision.headline, sentences, _picture(evidence, decision), costs, steps)


def _nothing_yet(evidence: Evidence) -> tuple[str, list[str]]:
    runs = evidence.runs.drop_duplicates("run")
    failed = runs[runs["state"].isin(_FAILED)]
    if failed.empty or len(failed) < len(runs):
        return "Nothing is decided yet: no training run is complete.", evidence.changes
    messages = failed["message"].drop_duplicates()[:_MOST_MESSAGES]
    said = [f"The message: {message}" for message in messages if message]
    many = f"all {len(failed)} training runs have" if len(failed) > 1 else "the training run has"
    return f"Nothing can be decided: {many} failed.", [*said, *evidence.changes]


def _confirmed(evidence: Evidence) -> list[str]:
    """How the confirmation went, in one sentence."""
    try:
        table, planned = evidence.confirmation
    except InvalidInput:
        return []
    verdicts = table["verdict"].value_counts()
    found = enumerated([f"{count} {verdict}" for verdict, count in verdicts.items()])
    seeds = counted(int(table["seeds"].max()), "fresh seed")
    return [
        f"Confirmed on the test split from up to {seeds}: of {counted(len(table), 'candidate')}"
        f" compared with {planned.title}, {found}."
    ]


def _picture(evidence: Evidence, decision: Decision) -> dict[str, Figure]:
    if decision.has_bound:
        posterior, names = evidence.study.posterior(), names_of(evidence.plan.baselines)
        with own_style():
            figure, grid = panels(1, 1, _WIDTH, 4.4)
        axes = plot_decision(posterior, names, decision.margin, grid[0, 0]).axes[0]
        axes.set_title("", loc="right")  # which the page has above it
        axes.tick_params(labelsize=9)
        caption = (
            "How much worse the leaders, and the candidates with a name (orange), may be than the"
            f" best of the family, with the margin of {decision.margin:g} nats in green. Points:"
            " expected; bars: from 5 % to 95 %; filled: within the margin with 95 %."
        )
        return {caption: figure}
    if len(evidence.objectives) > 1:
        caption = "Candidates by each two objectives, and the front of those that no other beats."
        return {caption: pareto.plot_pareto(evidence.front, evidence.objectives)}
    return {}


def _spent(evidence: Evidence) -> dict[str, str]:
    runs = evidence.runs
    counts = runs.drop_duplicates("run")["state"].value_counts()
    done = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none yet"
    most = evidence.file.search.runs
    costs = {"Training runs": done + ("" if most is None else f"; at most {most:,}")}
    costs["Seeds of a run"] = str(evidence.file.training.seeds)
    seconds = {
        part: float(runs[f"{part}_cpu_seconds"].sum())
        for part in ("training", "evaluation", "measuring", "deciding")
    }
    if sum(seconds.values()) > 0:
        costs["CPU time"] = f"{duration(sum(seconds.values()))} ({duration(seconds['training'])}"
        costs["CPU time"] += " of it training)"
    return costs


def _to_decide(evidence: Evidence, decision: Decision | None) -> dict[str, str]:
    if decision is None or not decision.has_bound:
        return {}
    if decision.decided:
        return {"Still to train": "nothing: the bound is within the margin"}
    if decision.further_runs is None:
        return {"Still to train": f"more than {MOST_FORESEEN} runs, as predicted"}
    per_run = evidence.seconds_per_run
    time = f", {duration(decision.further_runs * per_run)}" if per_run else ""
    runs = counted(decision.further_runs, "run")
    return {"Still to train": f"about {runs}{time}, to bring the bound within the margin"}


def _to_take(evidence: Evidence, decision: Decision) -> dict[str, str]:
    """What the candidate is: its loss, and what it costs to use."""
    row = evidence.study.posterior().table().loc[decision.candidate]
    low, high = f"{row['loss_low']:.4f}", f"{row['loss_high']:.4f}"
    found = {"Expected loss": f"{row['loss']:.4f} nats (95 % {span(low, high)})"}
    own = evidence.board[evidence.board["candidate"] == decision.candidate]
    for one in own.itertuples():
        found["Parameters"] = f"{one.total_parameters:,}, {one.active_parameters:,.0f} active"
        found["FLOPs per token"] = f"{one.flops_per_token:,.0f}"
    return found
