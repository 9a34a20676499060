"""What all candidates of a study share, for its bounds: experts, and active experts."""

from __future__ import annotations

from itertools import product
from math import comb, log2

import numpy as np

from dynamoe_search.bounds.budget import ExpertBudget
from dynamoe_search.bounds.pairs import Pair, best_pair
from dynamoe_search.plan.plan import Plan
from dynamoe_search.schedules import NONE
from dynamoe_search.specification import (
    FixedRouter,
    Router,
    TopK,
    largest_active,
    with_constants,
)

_MOST_STEPS = 10**8  # of the dynamic programme: a few seconds


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
        minimum=study.budget.minimum,
        maximum=study.budget.maximum,
        tokens=study.training.batch * (study.model.context if study.data.is_text else 1),
        shared=study.model.shared,
        style=study.model.style,
        step=study.budget.step,
    )


def most_configurations(plan: Plan) -> Pair | None:
    """Of all schedules and active schedules of a study, those that can route a token in most ways.

    The utility is log2 of the product of C(N_l, K_l). None where no active schedule is searched, K
    differs between tokens, layers can be dense, or there are too many pairs to look at.
    """
    study, solution = plan.study, plan.solution
    if plan.active_family is None or solution is None or study.dense_experts:
        return None
    if not isinstance(study.router, FixedRouter):
        return None
    least, largest, step = study.limits
    room = solution.experts - (plan.depth - 1) * least
    active = round(study.active * plan.depth)
    counts = range(least, min(room, largest or room) + 1)
    most = min(active - plan.depth + 1, counts[-1])
    if plan.depth * (len(counts) * most) ** 2 > _MOST_STEPS:
        return None
    ways = np.full((plan.depth, len(counts), most), -np.inf)
    uniform = plan.baselines["uniform"].schedule
    for layer, (more, experts) in product(range(plan.depth), enumerate(counts)):
        moves = study.search.family != NONE and experts % step == 0
        if moves or experts == uniform[layer]:
            highest = min(most, largest_active(study.router, experts))
            ways[layer, more, :highest] = [log2(comb(experts, k)) for k in range(1, highest + 1)]
    return best_pair(ways, solution.experts, active, least)


def _of_every_layer(router: Router, active: float) -> Router | None:
    """The router that holds a mean K, where it is the same in every layer."""
    if not isinstance(router, FixedRouter):
        return with_constants(router, {"target": active})
    if isinstance(router, TopK) and active == int(active):
        return with_constants(router, {"k": active})
    return None
