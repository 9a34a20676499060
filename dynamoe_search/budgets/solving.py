"""What a budget buys: experts, active experts, dense twins, and widths that cost the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Literal

from dynamoe_search.budgets.accounting import (
    active_parameters,
    experts_of,
    parameter_count,
    with_schedule,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, allocate
from dynamoe_search.specification import (
    Dense,
    FixedRouter,
    Router,
    Specification,
    held_at,
    largest_active,
)

_ROUNDING = 1e-9  # what sums such as 1.1 * 10 may be off by when they stand for whole numbers


@dataclass(frozen=True)
class Solution:
    """How many experts a parameter budget buys.

    Parameters
    ----------
    experts : int
        The experts to hand out: the sum of the schedule.
    parameters : int
        What every network with that many experts has.
    residual : int
        The budget less `parameters`: at least 0, below the cost of one expert unless a maximum
        a layer stands in the way.
    """

    experts: int
    parameters: int
    residual: int


def solve_experts(
    specification: Specification, parameters: int, minimum: int = 1, maximum: int | None = None
) -> Solution:
    """The most experts that a parameter budget buys for a network of these widths and this depth.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network, with blocks of experts; of their schedule only the depth counts.
    parameters : int
        The budget of total parameters.
    minimum : int
        The fewest experts of a layer, at least 1.
    maximum : int, optional
        The most experts of a layer.

    Raises
    ------
    InvalidInput
        Where the budget is below the smallest network, or above the largest by more than one
        expert; the message gives both.

    Examples
    --------
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> network = Classifier(64, 10, 32, Experts(64, Schedule((1, 1))))
    >>> solve_experts(network, parameters=20_000)
    Solution(experts=4, parameters=19114, residual=886)
    """
    blocks = experts_of(specification)
    depth = blocks.depth
    allocate([1.0] * depth, depth * minimum, minimum, maximum)  # refuses impossible bounds
    smallest = _parameters_with(specification, depth * minimum)
    expert = _parameters_with(specification, depth * minimum + 1) - smallest
    largest = None if maximum is None else _parameters_with(specification, depth * maximum)
    if parameters < smallest or (largest is not None and parameters >= largest + expert):
        most = "there is no largest without a maximum" if largest is None else f"{largest:,}"
        raise InvalidInput(
            f"a budget of {parameters:,} parameters cannot be met: with {depth} layers of width"
            f" {specification.width} and experts of hidden width {blocks.hidden}, the"
            f" smallest possible is {smallest:,} ({depth * minimum} experts), the largest: {most};"
            f" one expert costs {expert:,}"
        )
    experts = depth * minimum + (parameters - smallest) // expert
    count = _parameters_with(specification, experts)
    return Solution(experts, count, parameters - count)


def equal_widths(
    specification: Specification, minimum: int = 1, maximum: int | None = None
) -> dict[int, int]:
    """The expert widths at which some number of experts has exactly the same parameters.

    N experts of hidden width h have N (2 d h + d) parameters, so N (2 h + 1) must stay as it is.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network whose parameters are to be kept, with blocks of experts.
    minimum, maximum : int
        The fewest and the most experts of a layer, as in `solve_experts`.

    Returns
    -------
    dict of int to int
        The experts to hand out, by hidden width, both ascending in width.

    Examples
    --------
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> equal_widths(Classifier(64, 10, 32, Experts(64, Schedule((3, 1)))), maximum=40)
    {21: 12, 64: 4}
    """
    blocks = experts_of(specification)
    kept = blocks.schedule.total * (2 * blocks.hidden + 1)
    widest = (kept // (blocks.depth * minimum) - 1) // 2
    most = kept if maximum is None else blocks.depth * maximum
    return {
        hidden: kept // (2 * hidden + 1)
        for hidden in range(1, widest + 1)
        if kept % (2 * hidden + 1) == 0 and kept // (2 * hidden + 1) <= most
    }


def held_routers(router: Router, schedule: Schedule, active: float) -> tuple[Router, ...]:
    """The router of each layer, so that a token uses `active` experts a layer on average.

    This is what makes schedules of equal total match in active compute, too. Every layer is held at
    the same K, but for those of too few experts: they use all that their router can, and the others
    share the rest equally. Routers of fixed K need whole numbers: what does not divide evenly goes
    to the layers of most experts, to the first of equals.

    Parameters
    ----------
    router : Router
        The rule; of fixed K, or one whose threshold a controller can move.
    schedule : Schedule
    active : float
        The mean K to hold, over the layers.

    Raises
    ------
    InvalidInput
        Where the schedule cannot have that mean K.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> [router.k for router in held_routers(TopK(), Schedule((7, 3, 1, 1)), active=2)]
    [3, 3, 1, 1]
    """
    largest = [largest_active(router, experts) for experts in schedule]
    total = active * schedule.depth
    if not schedule.depth <= total <= sum(largest) + _ROUNDING:
        raise InvalidInput(
            f"{active} active experts a layer cannot be had with {router.name} and {schedule}:"
            f" the least is 1, the most {sum(largest) / schedule.depth:g}"
        )
    level = _water_level(largest, total)
    shares: list[float] = [min(most, level) for most in largest]
    if isinstance(router, FixedRouter):
        if abs(total - round(total)) > _ROUNDING:
            raise InvalidInput(
                f"{active} active experts in each of {schedule.depth} layers are {total:g} in all;"
                f" {router.name} needs a whole number"
            )
        shares = [min(most, floor(level + _ROUNDING)) for most in largest]
        by_size = sorted(range(schedule.depth), key=lambda layer: (-schedule.counts[layer], layer))
        with_room = [layer for layer in by_size if largest[layer] > shares[layer]]
        for layer in with_room[: round(total - sum(shares))]:
            shares[layer] += 1
    return tuple(
        held_at(router, experts, share) for experts, share in zip(schedule, shares, strict=True)
    )


def _water_level(capacities: Sequence[int], total: float) -> float:
    """The level at which the sum of min(capacity, level) is the total."""
    left = total
    for position, capacity in enumerate(sorted(capacities)):
        level = left / (len(capacities) - position)
        if level <= capacity:
            break
        left -= capacity
    return level


def dense_twin(
    specification: Specification,
    match: Literal["total", "active"],
    mean_active: Sequence[float] | None = None,
) -> Specification:
    """The dense network of equal depth and width with as many total, or active, parameters.

    Its hidden widths are as equal as whole numbers allow. The difference that remains is at most
    the width, half of what one hidden unit costs.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network with experts.
    match : {"total", "active"}
        What to hold equal.
    mean_active : sequence of float, optional
        As in `active_experts`, for ``"active"``.

    Raises
    ------
    InvalidInput
        Where the active parameters are too few for a hidden unit in every block.
    """
    count = parameter_count(specification)
    wanted: float = count.total
    if match == "active":
        wanted = active_parameters(specification, mean_active).expected
    units = round((wanted - count.trunk) / (2 * specification.width))
    hidden = allocate([1.0] * specification.blocks.depth, units).counts
    return replace(specification, blocks=Dense(hidden))


def _parameters_with(specification: Specification, experts: int) -> int:
    spread = allocate([1.0] * specification.blocks.depth, experts)
    return parameter_count(with_schedule(specification, spread)).total
