"""What the published scaling laws say of a budget of experts: the same of each of its schedules."""

from __future__ import annotations

from dynamoe_search.bounds.budget import ExpertBudget, compare_schedules
from dynamoe_search.bounds.scaling_laws import (
    Extrapolation,
    abnar,
    clark,
    krajewski,
    ling,
    ludziejewski,
    marin,
    sldbench,
)
from dynamoe_search.specification import MATRICES


def extrapolate_budget(budget: ExpertBudget, tokens: float) -> list[Extrapolation]:
    """Every law at the mean experts per layer, the expected K and the widths of a budget.

    The layers of experts count as the whole network, since the rest is unknown. K is that of the
    uniform schedule.

    Parameters
    ----------
    budget : ExpertBudget
    tokens : float
        The training tokens.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> budget = ExpertBudget(layers=12, experts=96, width=512, hidden=2048, router=TopK(k=1))
    >>> [found.law for found in extrapolate_budget(budget, tokens=1e9) if not found.warnings]
    ['clark']
    """
    uniform = compare_schedules(budget, {"uniform": budget.named("uniform")}).iloc[0]
    mean, dense_block = budget.experts / budget.layers, 4 * budget.width
    active, share = uniform["active_parameters"], uniform["active_expected"] / mean
    matrices = float(MATRICES[budget.style])
    one_expert_a_layer = matrices * budget.layers * budget.width * budget.hidden
    flops, active_experts = 6 * active * tokens, uniform["active_expected"]
    return [
        clark(one_expert_a_layer, mean),
        krajewski(
            uniform["parameters"],
            tokens,
            granularity=dense_block / budget.hidden,
            expansion=mean * budget.hidden / dense_block,
        ),
        ludziejewski(active, tokens, mean),
        abnar(uniform["parameters"], tokens, 1 - share),
        ling(share, 2 * budget.width / budget.hidden, flops),
        marin(flops, mean, active_experts),
        marin(flops, mean, active_experts, "c4_en"),
        sldbench(one_expert_a_layer, mean),
    ]
