"""Sections on why: the landscape, what matters, and what goes on in the networks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from dynamoe_search.bounds.measured import measured_bounds
from dynamoe_search.decision.landscape import fit_landscape
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.report.between_bounds import (
    measured_bounds_table,
    measured_sentences,
    plot_measured_bounds,
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
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.html.section import Section
from dynamoe_search.report.importance import importance_sentences, plot_importance
from dynamoe_search.report.landscape import landscape_sentences, plot_landscape
from dynamoe_search.report.measurements import cost_sentences, measured_tables
from dynamoe_search.report.utilization import plot_load, plot_rank_shares
from dynamoe_search.search.importance import parameter_importance
from dynamoe_search.statistics.fidelity import rank_correlations

_ROWS = 10
_LEADERS = 5  # that are set beside their bounds


def landscape(evidence: Evidence) -> Section:
    """Where the patterns lie, what was tried, and the fitted surface."""
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
    table = parameter_importance(evidence.path, evidence.storage, evidence.name)
    return Section(
        importance_sentences(table),
        {
            "The share of each parameter, beside that of one that is pure chance.": plot_importance(
                table
            )
        },
    )


def utilization(evidence: Evidence) -> Section:
    """The load of each expert in each layer."""
    load = evidence.measured("load", "utilization")
    figures = {}
    for candidate, name in evidence.of_interest.items():
        own = load[load["candidate"] == candidate]
        if len(own):
            first = own[own["block"] == own["block"].min()]
            figures[
                f"{name}: the load of each expert, by layer, on the validation split (of the first"
                " of its blocks, as experts of another seed are others)."
            ] = plot_load(first)
    return Section(cost_sentences(evidence.runs), figures, _measured(evidence, "utilization"))


def gradients(evidence: Evidence) -> Section:
    """The gradient noise over the training."""
    table = evidence.measured("gradients", "gradients")
    names = evidence.of_interest
    return Section(
        gradient_sentences(table, names),
        {
            "The gradient noise scale over the training, of the means over blocks."
            "": plot_gradient_noise(table, names),
            "The same of each group of parameters, of the best.": plot_gradient_groups(
                table, next(iter(names))
            ),
        },
        _measured(evidence, "gradients"),
    )


def representations(evidence: Evidence) -> Section:
    """How varied the tokens are, layer by layer."""
    table = evidence.measured("representation", "representation")
    return Section(
        (),
        {
            "The effective rank of the tokens that enter each layer, over the width, its mean over"
            " blocks.": plot_rank_shares(table, evidence.of_interest)
        },
        _measured(evidence, "representation"),
    )


def _measured(evidence: Evidence, measure: str) -> Sequence[Table]:
    board = evidence.board if evidence.seeks_loss_alone else evidence.front
    tables = measured_tables(board, _ROWS)
    return [table for table in tables if str(table.title).startswith(measure)]


def bounds(evidence: Evidence) -> Section:
    """What was measured, between what it had to be and what it could have been."""
    board = evidence.board
    shown = board[(board["rank"] <= _LEADERS) | (board["pattern"] != "")]
    names = dict(zip(shown["candidate"], shown["pattern"], strict=True))
    networks = {name: evidence.plan.network_with(parse_candidate(name)) for name in names}
    table = measured_bounds(evidence.runs, networks)
    return Section(
        measured_sentences(table),
        {
            "Bars: from floor to ceiling; points: measured, with 95 % intervals."
            "": plot_measured_bounds(table, names)
        },
        [measured_bounds_table(table, names)],
    )


def fidelity(evidence: Evidence) -> Section:
    """How far an early look at a training can be trusted."""
    table = rank_correlations(evidence.runs)
    if table.empty:
        raise InvalidInput(
            "no complete training has reported its loss before its end; give the section training"
            " several evaluations"
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
