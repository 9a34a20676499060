"""What a study is about to do, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamoe_search.budgets import dense_width, expert_parameters, experts_of
from dynamoe_search.plan.search_section import FITS_A_MODEL, MOST_FITTED
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.report.wording import counted
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
    routed = unit * (width - blocks.shared * blocks.hidden)
    left = experts * (expert_parameters(plan.network) + plan.network.width) - routed
    less = f", less {left:,} parameters" if left else ""
    return (
        f"; a layer without experts is a dense block of width {width}, as large as"
        f" {experts + blocks.shared} experts with their rows of the router{less}"
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
        *_other_parts(study),
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


def _other_parts(study: StudyFile) -> list[str]:
    """The sentence about what the source's networks do not have; none for the source's own."""
    model = study.model
    parts = []
    if model.style == "modern":
        parts.append("RMSNorm and SwiGLU")
    if model.key_value_heads is not None:
        parts.append(counted(model.key_value_heads, "head") + " of keys and values")
    if model.query_key_norm:
        parts.append("normalized queries and keys")
    if study.data.documents == "separate":
        parts.append("attention within documents")
    if model.shared:
        parts.append(counted(model.shared, "shared expert") + " per layer")
    if model.dense_first:
        blocks = counted(model.dense_first, "dense block")
        parts.append(f"{blocks} of hidden width {study.dense_hidden} before the layers of experts")
    return [f"With {', '.join(parts)}."] if parts else []
