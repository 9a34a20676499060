"""The sections of a report. Each takes the evidence, and says and shows one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamoe_search.bounds.measured import measured_bounds
from dynamoe_search.decision.regret import search_curve
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.report.confirmation import (
    confirmation_sentences,
    confirmation_table,
    plot_confirmation,
)
from dynamoe_search.report.fidelity import (
    fidelity_sentences,
    fidelity_table,
    plot_agreement,
    plot_curves,
)
from dynamoe_search.report.gradient_noise import (
    gradient_sentences,
    plot_gradient_groups,
    plot_gradient_noise,
)
from dynamoe_search.report.history import plot_history, plot_regret, regret_sentences
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.landscape import landscape_sentences, plot_landscape
from dynamoe_search.report.leaderboard import answer, leaderboard_table, plot_leaders
from dynamoe_search.report.measured_bounds import (
    measured_bounds_table,
    measured_sentences,
    plot_measured_bounds,
)
from dynamoe_search.report.measurements import cost_sentences, measured_tables
from dynamoe_search.report.pareto import pareto_sentences, pareto_table, plot_pareto
from dynamoe_search.report.plan import plan_sentences
from dynamoe_search.report.representation import plot_rank_shares
from dynamoe_search.report.table import Table
from dynamoe_search.report.utilization import plot_load
from dynamoe_search.statistics.fidelity import rank_correlations
from dynamoe_search.statistics.pareto import OBJECTIVES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 10  # of a table, beside the named schedules
_LEADERS = 5  # that are shown between their bounds


@dataclass(frozen=True)
class Section:
    """What a section says and shows, in this order.

    Parameters
    ----------
    sentences : sequence of str
    figures : mapping of str to Figure
        By caption.
    tables : sequence of Table
    texts : mapping of str to str
        By title, to be shown letter by letter.
    """

    sentences: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


MakeSection = Callable[[Evidence], Section]
"""Raises `InvalidInput` where the study has no such data: why, and how to get them."""


def what_was_asked(evidence: Evidence) -> Section:
    """The plan, the aims and limits, and how far it is."""
    search = evidence.file.search
    sought = ", ".join(OBJECTIVES[name].label for name in evidence.objectives)
    sentences = [*_held_equal(evidence), f"Sought: {sought}."]
    if search.constraints:
        sentences.append(f"Constraints: {'; '.join(map(str, search.constraints))}.")
    beside = [*(["hidden"] if search.also.hidden else []), *search.also.intervals()]
    if beside:
        sentences.append(f"Searched beside the schedule: {', '.join(beside)}.")
    counts = evidence.runs["state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    return Section([*sentences, f"Training runs: {states or 'none yet'}."])


def _held_equal(evidence: Evidence) -> list[str]:
    try:
        return plan_sentences(evidence.plan)
    except InvalidInput as error:
        return [f"What the budget buys follows from the data, which cannot be read here: {error}."]


def the_answer(evidence: Evidence) -> Section:
    """What was found, in sentences."""
    if evidence.seeks_loss_alone:
        return Section(answer(evidence.runs, evidence.board, evidence.changes))
    return Section([*pareto_sentences(evidence.front, evidence.objectives), *evidence.changes])


def confirmed(evidence: Evidence) -> Section:
    """The finalists, the named schedules and the dense baselines, on the test split."""
    table, confirmation = evidence.confirmation
    title, margin = confirmation.title, confirmation.margin
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
        _dense_baselines(evidence),
        {
            "The best schedules and all named ones by mean validation loss, with 95 % intervals"
            " from the noise pooled over the study.": plot_leaders(board)
        },
        [leaderboard_table(board, _ROWS)],
    )


def _dense_baselines(evidence: Evidence) -> list[str]:
    """The dense networks beside the reference, where that was confirmed."""
    try:
        table, confirmation = evidence.confirmation
    except InvalidInput:
        return [
            "Dense networks are trained by: dynamoe-search confirm. They are no part of a search."
        ]
    dense = table[(table["group"] == "dense") & table["difference"].notna()]
    return [
        f"Confirmed on the test split: {row.name} has a loss of {row.mean:.4f} nats,"
        f" {row.difference:+.4f} against {confirmation.reference} (95 % {row.low:+.4f} to"
        f" {row.high:+.4f}): {row.verdict}."
        for row in dense.itertuples()
    ]


def pareto(evidence: Evidence) -> Section:
    """The candidates that no other beats in all objectives."""
    if len(evidence.objectives) < 2:
        raise InvalidInput(
            "the study has one objective; name several in objectives of its section search"
        )
    figure = plot_pareto(evidence.front, evidence.objectives)
    caption = "Candidates by each two objectives, and the front of those that no other beats."
    return Section(
        (), {caption: figure}, [pareto_table(evidence.front, evidence.objectives, _ROWS)]
    )


def history(evidence: Evidence) -> Section:
    """The training runs one after another, and the regret of the leader."""
    caption = "The validation loss of each training run, in the order in which they ended."
    figures = {caption: plot_history(evidence.runs)}
    if not evidence.seeks_loss_alone:
        reason = "Regret is left out: it is defined for a search for a low loss alone."
        return Section([reason], figures)
    curve = search_curve(evidence.runs)
    caption = (
        "How much worse the leader of each moment is than the best of the study, judged by all"
        " that is known at its end."
    )
    figures[caption] = plot_regret(curve, evidence.board)
    return Section(regret_sentences(curve), figures)


def landscape(evidence: Evidence) -> Section:
    """Where the patterns lie, what was tried, and the fitted surface."""
    # Here, as scikit-learn takes a moment to import.
    from dynamoe_search.decision.landscape import fit_landscape

    fitted = fit_landscape(evidence.runs, evidence.reachable())
    return Section(
        landscape_sentences(fitted),
        {
            "The fitted validation loss by where the experts are. Dots: candidates that were"
            " trained, the larger the more often; diamonds: named; star: lowest on the surface,"
            " where that can be trusted; blank: out of the family's reach.": plot_landscape(fitted),
            "How uncertain the fitted loss is.": plot_landscape(fitted, uncertainty=True),
        },
    )


def importance(evidence: Evidence) -> Section:
    """What the loss depends on."""
    # Here, as Optuna's evaluators take a moment to import.
    from dynamoe_search.report.importance import importance_sentences, plot_importance

    table = evidence.study.importance()
    caption = "The share of each parameter, beside that of one that is pure chance."
    return Section(importance_sentences(table), {caption: plot_importance(table)})


def utilization(evidence: Evidence) -> Section:
    """The load of each expert in each layer."""
    load = evidence.measured("load", "utilization")
    figures = {}
    for candidate, name in evidence.of_interest.items():
        own = load[load["candidate"] == candidate]
        if len(own):
            caption = (
                f"{name}: the load of each expert, by layer, on the validation split (of the first"
                " seed block, since each seed numbers the experts differently)."
            )
            figures[caption] = plot_load(own[own["block"] == own["block"].min()])
    return Section(cost_sentences(evidence.runs), figures, _measured(evidence, "utilization"))


def gradients(evidence: Evidence) -> Section:
    """The gradient noise over the training."""
    table, names = evidence.measured("gradients", "gradients"), evidence.of_interest
    best = next(iter(names))
    figures = {
        "The gradient noise scale over the training, from means over seed blocks."
        "": plot_gradient_noise(table, names),
        "The same of each group of parameters, of the best.": plot_gradient_groups(table, best),
    }
    return Section(gradient_sentences(table, names), figures, _measured(evidence, "gradients"))


def representations(evidence: Evidence) -> Section:
    """How varied the tokens are, layer by layer."""
    table = evidence.measured("representation", "representation")
    caption = (
        "The effective rank of the tokens that enter each layer, over the width: the mean over"
        " seed blocks."
    )
    figures = {caption: plot_rank_shares(table, evidence.of_interest)}
    return Section((), figures, _measured(evidence, "representation"))


def _measured(evidence: Evidence, measure: str) -> list[Table]:
    board = evidence.board if evidence.seeks_loss_alone else evidence.front
    return measured_tables(board, _ROWS, [measure])


def bounds(evidence: Evidence) -> Section:
    """What was measured, between the least and the most that it could have been."""
    board = evidence.board
    shown = board[(board["rank"] <= _LEADERS) | (board["pattern"] != "")]
    names = dict(zip(shown["candidate"], shown["pattern"], strict=True))
    networks = {name: evidence.plan.network_with(parse_candidate(name)) for name in names}
    table = measured_bounds(evidence.runs, networks)
    caption = "Bars: from floor to ceiling; points: measured, with 95 % intervals."
    return Section(
        measured_sentences(table),
        {caption: plot_measured_bounds(table, names)},
        [measured_bounds_table(table, names)],
    )


def fidelity(evidence: Evidence) -> Section:
    """How far an early look at a training run can be trusted."""
    table = rank_correlations(evidence.runs)
    if table.empty:
        raise InvalidInput(
            "no complete training run has reported its loss before its end; give the section"
            " training several evaluations"
        )
    return Section(
        fidelity_sentences(evidence.runs),
        {
            "How well the order of the candidates at each part of the training agrees with the"
            " final one.": plot_agreement(evidence.runs),
            "The learning curves: validation loss over the training.": plot_curves(evidence.runs),
        },
        [fidelity_table(table)],
    )
