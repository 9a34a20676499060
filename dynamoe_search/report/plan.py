"""What a study is about to do, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynamoe_search.plan.study_file import FITS_A_MODEL, MOST_FITTED

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
        if equal.residual:
            held += f"; {equal.residual:,} parameters of the budget are left over"
    sampler, runs = study.search.sampler, study.search.runs
    sentences = [
        f"{study.data.name}: {held}.",
        f"Width {network.width}, expert width {study.model.hidden}, {study.router.name} router;"
        f" {study.search.family} family, {sampler} sampler.",
    ]
    if sampler in FITS_A_MODEL and (runs is None or runs > MOST_FITTED):
        sentences.append(
            f"From {MOST_FITTED} runs on, {sampler} is fitted to the best and to an even sample of"
            " the others, so that its decisions take no longer."
        )
    return sentences
