"""Budgets: the cost of a network before it is built, and the experts that a budget buys."""

from dynamoe_search.budgets.accounting import (
    BACKWARD_AND_FORWARD,
    ParameterCount,
    Spread,
    active_experts,
    active_parameters,
    expert_parameters,
    experts_of,
    flops_per_token,
    parameter_count,
    training_flops,
    with_schedule,
)
from dynamoe_search.budgets.solving import (
    Solution,
    dense_baseline,
    dense_width,
    equal_widths,
    held_routers,
    solve_experts,
)

__all__ = [
    "BACKWARD_AND_FORWARD",
    "ParameterCount",
    "Solution",
    "Spread",
    "active_experts",
    "active_parameters",
    "dense_baseline",
    "dense_width",
    "equal_widths",
    "expert_parameters",
    "experts_of",
    "flops_per_token",
    "held_routers",
    "parameter_count",
    "solve_experts",
    "training_flops",
    "with_schedule",
]
