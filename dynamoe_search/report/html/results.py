"""Sections on what a study was asked, and what it has found."""

from __future__ import annotations

from collections.abc import Sequence

from dynamoe_search.decision.regret import search_curve
from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.confirmation import (
    confirmation_sentences,
    confirmation_table,
    plot_confirmation,
)
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.section import Section
from dynamoe_search.report.leaderboard import answer
from dynamoe_search.report.pareto import pareto_sentences, pareto_table, plot_pareto
from dynamoe_search.report.plots import plot_history, plot_leaders
from dynamoe_search.report.regret import plot_regret, regret_sentences
from dynamoe_search.report.terminal import leaderboard_table, plan_lines
from dynamoe_search.statistics.pareto import OBJECTIVES

ROWS = 10  # of a table, beside the named schedules


def what_was_asked(evidence: Evidence) -> Section:
    """The plan, the aims and limits, and how far it has come."""
    search = evidence.study_file.search
    sought = ", ".join(OBJECTIVES[name].label for name in evidence.objectives)
    sentences = [*_held_equal(evidence), f"Sought: {sought}."]
    if search.constraints:
        sentences.append(f"Constraints: {'; '.join(map(str, search.constraints))}.")
    also = search.also
    besides = [*(["hidden"] if also.hidden else []), *also.intervals()]
    if besides:
        sentences.append(f"Searched beside the schedule: {', '.join(besides)}.")
    counts = evidence.runs.loc[evidence.runs["block"].notna(), "state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    sentences.append(f"Trainings: {states or 'none yet'}.")
    return Section(sentences)


def _held_equal(evidence: Evidence) -> Sequence[str]:
    try:
        return [f"{line}." for line in plan_lines(evidence.plan)]
    except InvalidInput as error:
        return [f"What the budget buys follows from the data, which cannot be read here: {error}."]


def the_answer(evidence: Evidence) -> Section:
    """What was found, in sentences."""
    if evidence.seeks_loss_alone:
        return Section(answer(evidence.runs, evidence.board))
    return Section(pareto_sentences(evidence.front, evidence.objectives))


def confirmed(evidence: Evidence) -> Section:
    """The finalists, the named schedules and the dense twins, on the test split."""
    table, confirmation = evidence.confirmation
    name = confirmation.names[confirmation.reference]
    title = f"{name} ({confirmation.reference})" if name else confirmation.reference
    margin = confirmation.margin
    return Section(
        confirmation_sentences(table, title, margin, len(confirmation.seeds)),
        {
            "Each candidate's mean difference to the reference on the test split, with its 95 %"
            " interval; within the green band a difference does not matter.": plot_confirmation(
                table, title, margin
            )
        },
        [confirmation_table(table, title, margin)],
    )


def best_schedules(evidence: Evidence) -> Section:
    """The best schedules, and all named ones, by their loss."""
    board = evidence.board
    return Section(
        _dense_twins(evidence),
        {
            "The best schedules and all named ones by mean validation loss, with 95 % intervals"
            " from the noise pooled over the study.": plot_leaders(board)
        },
        [leaderboard_table(board, ROWS)],
    )


def _dense_twins(evidence: Evidence) -> list[str]:
    """How the dense networks fared beside the reference, where that was confirmed."""
    try:
        table, confirmation = evidence.confirmation
    except InvalidInput:
        return [
            "Dense networks are trained by: dynamoe-search confirm. They are no part of a search."
        ]
    twins = table[table["candidate"].str.startswith("dense ") & table["difference"].notna()]
    return [
        f"Confirmed on the test split: {row.name} has a loss of {row.mean:.4f} nats,"
        f" {row.difference:+.4f} against {confirmation.reference} (95 % {row.low:+.4f} to"
        f" {row.high:+.4f}): {row.verdict}."
        for row in twins.itertuples()
    ]


def history(evidence: Evidence) -> Section:
    """The trainings one after another, and the regret of the leader."""
    figures = {
        "Each training's validation loss in the order in which they ended.": plot_history(
            evidence.runs
        )
    }
    if evidence.seeks_loss_alone:
        sentences = regret_sentences(search_curve(evidence.runs))
        figures[
            "How much worse the leader of each moment is than the best of the study, by all that"
            " is known at its end."
        ] = plot_regret(evidence.runs)
    else:
        sentences = ["Regret is left out: it is of a search for a low loss alone."]
    return Section(sentences, figures)


def pareto(evidence: Evidence) -> Section:
    """The candidates that no other beats in all objectives."""
    if len(evidence.objectives) < 2:
        raise InvalidInput(
            "the study has one objective; name several in objectives of its section search"
        )
    figure = plot_pareto(evidence.front, evidence.objectives)
    caption = "Candidates by each two objectives, and the front of those that none beats."
    return Section((), {caption: figure}, [pareto_table(evidence.front, evidence.objectives, ROWS)])
