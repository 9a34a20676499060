"""What a study is about to do, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamoe_search.budgets import dense_width, expert_parameters, experts_of
from dynamoe_search.plan.study_file import FITS_A_MODEL, MOST_FITTED
from dynamoe_search.schedules import NONE

if TYPE_CHECKING:
    from dynamoe_search.plan.plan import Plan


def _dense_layers(plan: Plan) -> str:
    """What a layer without experts is, and what its size leaves over."""
    experts, blocks = plan.study.dense_experts, experts_of(plan.network)
    if not experts:
        return ""
    width = dense_width(plan.network, experts)
    unit = expert_parameters(plan.network) // blocks.hidden
    left = experts * (expert_parameters(plan.network) + plan.network.width) - unit * width
    less = f", less {left:,} parameters" if left else ""
    return (
        f"; a layer without experts is a dense block of width {width}, as large as {experts}"
        f" experts with their rows of the router{less}"
    )


def plan_sentences(plan: Plan) -> list[str]:
    """What a study trains, and what it holds equal.

    Parameters
    ----------
    plan : Plan
    """
    study, network = plan.study, plan.network
    budget, equal = study.budget, plan.solution
    steps = "" if budget.step == 1 else f" in steps of {budget.step}"
    if equal is None:
        held = (
            f"{plan.depth} layers have {budget.minimum} to {budget.maximum} experts each{steps}, as"
            " in the source: candidates differ in parameters and compute"
        )
    else:
        held = (
            f"{plan.depth} layers share {equal.experts} experts{steps}; every candidate has"
            f" {equal.parameters:,} parameters"
        )
        if budget.regime == "compute":
            held += f" and {study.active:g} active experts per layer on average"
        held += _dense_layers(plan)
        if equal.residual:
            held += f"; {equal.residual:,} parameters of the budget are left over"
    sampler, runs, family = study.search.sampler, study.search.runs, study.search.family
    moves = "all layers have equal experts" if family == NONE else f"{family} family"
    sentences = [
        f"{study.data.name}: {held}.",
        f"Width {network.width}, expert width {study.model.hidden}, {study.router.name} router;"
        f" {moves}, {sampler} sampler.",
    ]
    if study.search.active_family != NONE:
        sentences.append(
            f"The active experts per layer move in the {study.search.active_family} family, at an"
            f" equal sum of {round(study.active * plan.depth)}."
        )
    if sampler in FITS_A_MODEL and (runs is None or runs > MOST_FITTED):
        sentences.append(
            f"From {MOST_FITTED} runs on, {sampler} is fitted to the best and to an even sample of"
            " the others, so that its decisions take no longer."
        )
    return sentences
