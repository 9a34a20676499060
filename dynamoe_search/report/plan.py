"""What a study is about to do, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamoe_search.plan.study_file import FITS_A_MODEL, MOST_FITTED, StudyFile
from dynamoe_search.report.wording import counted

if TYPE_CHECKING:
    from dynamoe_search.plan.plan import Plan


def plan_sentences(plan: Plan) -> list[str]:
    """What a study trains, and what it holds equal.

    Parameters
    ----------
    plan : Plan
    """
    study, network = plan.study, plan.network
    budget, equal = study.budget, plan.solution
    if equal is None:
        held = (
            f"{plan.depth} layers have {budget.minimum} to {budget.maximum} experts each, as in the"
            " source: candidates differ in parameters and compute"
        )
    else:
        held = (
            f"{plan.depth} layers share {equal.experts} experts; every candidate has"
            f" {equal.parameters:,} parameters"
        )
        if budget.regime == "compute":
            held += f" and {study.active:g} active experts per layer on average"
        if equal.residual:
            held += f"; {equal.residual:,} parameters of the budget are left over"
    sampler, runs = study.search.sampler, study.search.runs
    sentences = [
        f"{study.data.name}: {held}.",
        f"Width {network.width}, expert width {study.model.hidden}, {study.router.name} router;"
        f" {study.search.family} family, {sampler} sampler.",
        *_other_parts(study),
    ]
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
