"""The sections of a report. Each takes the evidence, and says and shows one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dynamoe_search.bounds.measured import measured_bounds as place_between_bounds
from dynamoe_search.decision.landscape import fit_landscape
from dynamoe_search.decision.regret import search_curve
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.report import (
    confirmation,
    fidelity,
    gradient_noise,
    history,
    importance,
    ladder,
    landscape,
    leaderboard,
    measured_bounds,
    measurements,
    pareto,
    plan,
    representation,
    utilization,
)
from dynamoe_search.report.html.evidence import Evidence
from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.wording import counted
from dynamoe_search.schedules import NONE
from dynamoe_search.statistics.fidelity import rank_correlations
from dynamoe_search.statistics.pareto import OBJECTIVES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 10  # of a table, beside the named schedules
_LEADERS = 5  # that are shown between their bounds


@dataclass(frozen=True)
class Section:
    """What a section says and shows, in this order: figures by caption, verbatim texts by title."""

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
    if NONE not in (search.family, search.active_family):
        beside.insert(0, "the active experts of each layer")
    if beside:
        sentences.append(f"Searched beside the schedule: {', '.join(beside)}.")
    counts = evidence.runs.drop_duplicates("run")["state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    return Section([*sentences, f"Training runs: {states or 'none yet'}."])


def _held_equal(evidence: Evidence) -> list[str]:
    try:
        return plan.plan_sentences(evidence.plan)
    except InvalidInput as error:
        return [f"What the budget buys follows from the data, which cannot be read here: {error}."]


def confirmed(evidence: Evidence) -> Section:
    """The finalists, the named schedules and the dense baselines, on the test split."""
    table, planned = evidence.confirmation
    what = (table, planned.title, planned.margin)
    caption = (
        "Each candidate's mean difference to the reference on the test split, with its 95 %"
        " interval; within the green band a difference does not matter."
    )
    return Section(
        confirmation.confirmation_sentences(*what, len(planned.seeds)),
        {caption: confirmation.plot_confirmation(*what)},
        [confirmation.confirmation_table(*what)],
    )


def larger_networks(evidence: Evidence) -> Section:
    """What happens to the differences as networks grow."""
    results = evidence.ladder
    if results is None:
        raise InvalidInput("the study has no ladder")
    caption = "The differences to uniform over training FLOPs, and what was fitted to them."
    figures = {caption: ladder.plot_ladder(results)}
    return Section(ladder.ladder_sentences(results), figures, [ladder.ladder_table(results)])


def what_failed(evidence: Evidence) -> Section:
    """The training runs that failed, and why."""
    runs = evidence.runs.drop_duplicates("run")
    failed = runs[runs["state"].isin(["diverged", "out of memory", "error"])]
    if failed.empty:
        raise InvalidInput("no training run has failed")
    rows = [
        (str(row.run), row.candidate, row.state, evidence.without_paths(row.message))
        for row in failed.head(_ROWS).itertuples()
    ]
    columns = [*numbers("run"), Column("candidate", is_name=True), *texts("state", "message")]
    shown = "" if len(failed) <= _ROWS else f" The table has the first {_ROWS}."
    count = counted(len(failed), "training run")
    return Section([f"{count} of {len(runs)} failed for good.{shown}"], {}, [Table(columns, rows)])


def best_schedules(evidence: Evidence) -> Section:
    """The best schedules, and all named ones, by their loss."""
    caption = (
        "The best schedules and all named ones by expected validation loss, with 95 % intervals"
        " that hold for the best one, too."
    )
    figures = {caption: leaderboard.plot_leaders(evidence.board)}
    table = leaderboard.leaderboard_table(evidence.board, _ROWS)
    sentences = [*leaderboard.noise_sentences(evidence.runs), *_dense_baselines(evidence)]
    return Section(sentences, figures, [table])


def _dense_baselines(evidence: Evidence) -> list[str]:
    """The dense networks beside the reference, where that was confirmed."""
    try:
        table, planned = evidence.confirmation
    except InvalidInput:
        return []
    dense = table[(table["group"] == "dense") & table["difference"].notna()]
    return [
        f"Confirmed on the test split: {row.name} has a loss of {row.mean:.4f} nats,"
        f" {row.difference:+.4f} against {planned.reference} (95 % {row.low:+.4f} to"
        f" {row.high:+.4f}): {row.verdict}."
        for row in dense.itertuples()
    ]


def pareto_front(evidence: Evidence) -> Section:
    """The candidates that no other beats in all objectives, as a table."""
    if len(evidence.objectives) < 2:
        raise InvalidInput(
            "the study has one objective; name several in objectives of its section search"
        )
    return Section((), {}, [pareto.pareto_table(evidence.front, evidence.objectives, _ROWS)])


def how_it_went(evidence: Evidence) -> Section:
    """The training runs one after another, and the regret of the leader."""
    caption = "The validation loss of each training run, in the order in which they ended."
    figures = {caption: history.plot_history(evidence.runs)}
    if not evidence.seeks_loss_alone:
        reason = "Regret is left out: it is defined for a search for a low loss alone."
        return Section([reason], figures)
    curve = search_curve(evidence.runs)
    caption = (
        "How much worse the leader of each moment is than the best of the study, judged by all"
        " that is known at its end."
    )
    figures[caption] = history.plot_regret(curve, evidence.board)
    return Section(history.regret_sentences(curve), figures)


def family_landscape(evidence: Evidence) -> Section:
    """Where the patterns lie, what was tried, and the fitted surface."""
    fitted = fit_landscape(evidence.runs, evidence.reachable())
    caption = (
        "The fitted validation loss by where the experts are. Dots: candidates that were trained,"
        " the larger the more often; diamonds: named; star: lowest on the surface, where that can"
        " be trusted; blank: out of the family's reach."
    )
    uncertain = landscape.plot_landscape(fitted, uncertainty=True)
    figures = {caption: landscape.plot_landscape(fitted)}
    figures["How uncertain the fitted loss is."] = uncertain
    return Section(landscape.landscape_sentences(fitted), figures)


def what_matters(evidence: Evidence) -> Section:
    """What the loss depends on."""
    table = evidence.study.importance()
    caption = "The share of each parameter, beside that of one that is pure chance."
    figures = {caption: importance.plot_importance(table)}
    return Section(importance.importance_sentences(table), figures)


def use_of_experts(evidence: Evidence) -> Section:
    """The load of each expert in each layer."""
    load = evidence.measured("load", "utilization")
    figures = {}
    for candidate, name in evidence.of_interest.items():
        own = load[load["candidate"] == candidate]
        if len(own):
            caption = (
                f"{name}: the load of each expert, by layer, on the validation split (of the first"
                " seed, since each seed numbers the experts differently)."
            )
            first = own[own["seed"] == own["seed"].iloc[0]]
            figures[caption] = utilization.plot_load(first)
    cost = measurements.cost_sentences(evidence.runs)
    return Section(cost, figures, _measured(evidence, "utilization"))


def noise_of_gradients(evidence: Evidence) -> Section:
    """The gradient noise over the training."""
    table, names = evidence.measured("gradients", "gradients"), evidence.of_interest
    of_the_best = gradient_noise.plot_gradient_groups(table, next(iter(names)))
    caption = "The gradient noise scale over the training, from means over seeds."
    figures = {caption: gradient_noise.plot_gradient_noise(table, names)}
    figures["The same of each group of parameters, of the best."] = of_the_best
    sentences = gradient_noise.gradient_sentences(table, names)
    return Section(sentences, figures, _measured(evidence, "gradients"))


def variety_of_tokens(evidence: Evidence) -> Section:
    """How varied the tokens are, layer by layer."""
    table = evidence.measured("representation", "representation")
    caption = (
        "The effective rank of the tokens that enter each layer, over the width: the mean over"
        " seeds."
    )
    figures = {caption: representation.plot_rank_shares(table, evidence.of_interest)}
    return Section((), figures, _measured(evidence, "representation"))


def _measured(evidence: Evidence, measure: str) -> list[Table]:
    board = evidence.board if evidence.seeks_loss_alone else evidence.front
    return measurements.measured_tables(board, _ROWS, [measure])


def between_bounds(evidence: Evidence) -> Section:
    """What was measured, between the least and the most that it could have been."""
    board = evidence.board
    shown = board[(board["rank"] <= _LEADERS) | (board["pattern"] != "")]
    names = dict(zip(shown["candidate"], shown["pattern"], strict=True))
    networks = {name: evidence.plan.network_with(parse_candidate(name)) for name in names}
    table = place_between_bounds(evidence.runs, networks)
    caption = "Bars: from floor to ceiling; points: measured, with 95 % intervals."
    return Section(
        measured_bounds.measured_sentences(table),
        {caption: measured_bounds.plot_measured_bounds(table, names)},
        [measured_bounds.measured_bounds_table(table, names)],
    )


def early_looks(evidence: Evidence) -> Section:
    """How far an early look at a training run can be trusted."""
    table, runs = rank_correlations(evidence.runs), evidence.runs
    if table.empty:
        raise InvalidInput(
            "no complete training run has reported its loss before its end; give the section"
            " training several evaluations"
        )
    caption = (
        "How well the order of the candidates at each part of the training agrees with the final"
        " one."
    )
    figures = {caption: fidelity.plot_agreement(runs, table=table)}
    figures["The learning curves: validation loss over the training."] = fidelity.plot_curves(runs)
    return Section(
        fidelity.fidelity_sentences(runs, table), figures, [fidelity.fidelity_table(table)]
    )
