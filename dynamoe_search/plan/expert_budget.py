"""The budget of experts that all candidates of a study share, for its bounds."""

from __future__ import annotations

from dynamoe_search.bounds.budget import ExpertBudget
from dynamoe_search.plan.plan import Plan
from dynamoe_search.specification import FixedRouter, Router, TopK, with_constants


def expert_budget(plan: Plan) -> ExpertBudget | None:
    """The budget of experts that all candidates of a study share.

    None where candidates do not share one: in the regime `paper`, where the router's constants, the
    expert width or the active schedule are searched, where layers can be dense, and where a layer
    can have fewer experts than the mean K that `compute` holds.
    """
    study = plan.study
    if plan.active_family is not None or study.dense_experts:
        return None
    if plan.solution is None or study.search.also.hidden or study.search.also.intervals():
        return None
    router = study.router
    if study.budget.regime == "compute":
        held = _of_every_layer(router, study.active)
        if held is None or study.budget.minimum < study.active:
            return None
        router = held
    return ExpertBudget(
        plan.depth,
        plan.solution.experts,
        study.model.width,
        study.model.hidden,
        router,
        study.budget.minimum,
        study.budget.maximum,
        study.training.batch * (study.model.context if study.data.is_text else 1),
        study.budget.step,
    )


def _of_every_layer(router: Router, active: float) -> Router | None:
    """The router that holds a mean K, where it is the same in every layer."""
    if not isinstance(router, FixedRouter):
        return with_constants(router, {"target": active})
    if isinstance(router, TopK) and active == int(active):
        return with_constants(router, {"k": active})
    return None
