"""What a budget buys: experts, active experts, dense baselines, and widths of equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from typing import Literal

from dynamoe_search.budgets.accounting import (
    active_parameters,
    expert_parameters,
    experts_of,
    parameter_count,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import LARGEST_TOTAL, Schedule, allocate
from dynamoe_search.schedules.allocation import check_bounds
from dynamoe_search.specification import (
    MATRICES,
    Dense,
    FixedRouter,
    Router,
    Specification,
    held_at,
    largest_active,
)

_ROUNDING = 1e-9  # the error allowed where sums such as 1.1 * 10 should be whole numbers


@dataclass(frozen=True)
class Solution:
    """The number of experts that a parameter budget buys.

    Parameters
    ----------
    experts : int
        The sum of the schedule.
    parameters : int
        The total parameters of every network with that sum.
    residual : int
        The budget minus `parameters`: at least 0, and below the cost of one expert (of one step of
        experts where there is a step) unless the maximum per layer is reached everywhere.
    """

    experts: int
    parameters: int
    residual: int


def solve_experts(
    specification: Specification,
    parameters: int,
    minimum: int = 1,
    maximum: int | None = None,
    step: int = 1,
) -> Solution:
    """The most experts that a parameter budget buys for a network of given widths and depth.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network, with blocks of experts. Plain blocks stay as they are; of the layers with
        experts only the number matters.
    parameters : int
        The budget of total parameters.
    minimum : int
        The fewest experts per layer, at least 1.
    maximum : int, optional
        The most experts per layer.
    step : int
        Every layer has a multiple of it, and so has the sum.

    Raises
    ------
    InvalidInput
        If the budget is below the smallest network, or at least one step above the largest (the
        message gives both), or buys more than `dynamoe_search.schedules.LARGEST_TOTAL` experts.

    Examples
    --------
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> network = Classifier(64, 10, 32, Experts(64, Schedule((1, 1))))
    >>> solve_experts(network, parameters=20_000)
    Solution(experts=4, parameters=19114, residual=886)
    """
    blocks = experts_of(specification)
    depth = len(blocks.schedule.layers_with_experts)
    least = -(-minimum // step) * step
    most = None if maximum is None else maximum // step * step
    check_bounds(depth * least, depth, minimum, maximum, step)
    count = parameter_count(specification)
    expert = expert_parameters(specification) + specification.width  # with its part of the router
    others = count.total - blocks.schedule.total * expert
    smallest = others + depth * least * expert
    largest = None if most is None else others + depth * most * expert
    if parameters < smallest or (largest is not None and parameters >= largest + step * expert):
        highest = "there is no largest without a maximum" if largest is None else f"{largest:,}"
        raise InvalidInput(
            f"a budget of {parameters:,} parameters cannot be met: with {depth} layers of width"
            f" {specification.width} and experts of hidden width {blocks.hidden}, the"
            f" smallest possible is {smallest:,} ({depth * least} experts), the largest: {highest};"
            f" one expert costs {expert:,}"
        )
    experts = (parameters - others) // (step * expert) * step
    check_bounds(experts, depth, minimum, maximum, step)
    total = others + experts * expert
    return Solution(experts, total, parameters - total)


def equal_widths(
    specification: Specification, minimum: int = 1, maximum: int | None = None, step: int = 1
) -> dict[int, int]:
    """The expert widths at which a whole number of experts has exactly the same parameters.

    N experts of hidden width h have N (m d h + d) parameters with their router, where m is 2, or 3
    in the modern style; and S shared experts in each of L layers have S L m d h. So N + m h (N + S
    L) must not change. Each N that a schedule can have is tried, and so the width does not matter
    for how long it takes: at most about half a second, without a maximum.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network to match, with blocks of experts.
    minimum, maximum, step : int
        As in `solve_experts`.

    Returns
    -------
    dict of int to int
        The total number of experts for each hidden width, in ascending order of width.

    Examples
    --------
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> equal_widths(Classifier(64, 10, 32, Experts(64, Schedule((3, 1)))), maximum=40)
    {21: 12, 64: 4}
    """
    blocks = experts_of(specification)
    depth = len(blocks.schedule.layers_with_experts)
    matrices, shared = MATRICES[blocks.style], blocks.shared * depth
    kept = blocks.schedule.total + matrices * blocks.hidden * (blocks.schedule.total + shared)
    most = min((kept - matrices * shared) // (matrices + 1), LARGEST_TOTAL)  # no width is below 1
    if maximum is not None:
        most = min(most, depth * maximum)
    totals = range(most // step * step, depth * minimum - 1, -step)
    return {
        (kept - total) // (matrices * (total + shared)): total
        for total in totals
        if (kept - total) % (matrices * (total + shared)) == 0
    }


def dense_width(specification: Specification, experts: int) -> int:
    """The hidden width of a plain block that costs as much as some experts with their router.

    A plain block has no router, so it is half a hidden unit per expert wider than the experts
    together, or a third in the modern style: K experts of hidden width h have K (m d h + d)
    parameters with their rows of the router, with m 2 or 3, and so has a plain block of the width
    K (h + 1/m). Active parameters and FLOPs are then those of a layer that uses K experts, too,
    less its other rows of the router. Where m does not divide K, the rest of a hidden unit is left
    over. The block also has the width of the shared experts of a layer, which it does not have.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network, with blocks of experts.
    experts : int
        K, at least 1.

    Examples
    --------
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> dense_width(Classifier(64, 10, 32, Experts(48, Schedule((4, 4)))), experts=2)
    97
    """
    blocks, expert = experts_of(specification), expert_parameters(specification)
    routed = experts * (expert + specification.width) * blocks.hidden // expert
    return routed + blocks.shared * blocks.hidden


def held_routers(router: Router, schedule: Schedule, active: float) -> tuple[Router, ...]:
    """One router per layer, so that a token uses `active` experts per layer on average.

    Schedules of equal total then also match in active compute. The mean is over the layers that
    have experts. Each of them has the same K, except layers with too few experts: these use as many
    as they can, and the others share the rest equally. A `FixedRouter` needs whole numbers: the
    remainder goes to the layers with the most experts, the first layers among equals.

    Parameters
    ----------
    router : Router
    schedule : Schedule
    active : float
        The mean K over the layers with experts.

    Raises
    ------
    InvalidInput
        If the schedule does not allow this mean K.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> [router.k for router in held_routers(TopK(), Schedule((7, 3, 1, 1)), active=2)]
    [3, 3, 1, 1]
    """
    layers = schedule.layers_with_experts
    counts = [schedule[layer] for layer in layers]
    largest = [largest_active(router, experts) for experts in counts]
    total = active * len(layers)
    if not len(layers) <= total <= sum(largest) + _ROUNDING:
        raise InvalidInput(
            f"{active} active experts per layer are not possible with {router.name} and"
            f" {schedule}: the least is 1, the most {sum(largest) / len(layers):g}"
        )
    level = _water_level(largest, total)
    shares: list[float] = [min(most, level) for most in largest]
    if isinstance(router, FixedRouter):
        if abs(total - round(total)) > _ROUNDING:
            raise InvalidInput(
                f"{active} active experts in each of {len(layers)} layers are {total:g} in all;"
                f" {router.name} needs a whole number"
            )
        shares = [min(most, floor(level + _ROUNDING)) for most in largest]
        by_size = sorted(range(len(counts)), key=lambda place: (-counts[place], place))
        with_room = [place for place in by_size if largest[place] > shares[place]]
        for place in with_room[: round(total - sum(shares))]:
            shares[place] += 1
    held = dict(zip(layers, map(partial(held_at, router), counts, shares), strict=True))
    return tuple(held.get(layer, router) for layer in range(schedule.depth))


def _water_level(capacities: Sequence[int], total: float) -> float:
    """The level at which the sum of min(capacity, level) is `total`."""
    left = total
    for position, capacity in enumerate(sorted(capacities)):
        level = left / (len(capacities) - position)
        if level <= capacity:
            break
        left -= capacity
    return level


def dense_baseline(
    specification: Specification,
    match: Literal["total", "active"],
    mean_active: Sequence[float] | None = None,
) -> Specification:
    """The dense network of the same depth and width with as many total, or active, parameters.

    Its hidden widths differ by at most 1. Its parameters differ from the wanted number by at most
    half the cost of one hidden unit, which is the width, or half as much again in the modern style.

    Parameters
    ----------
    specification : Classifier or LanguageModel
        The network with experts.
    match : {"total", "active"}
        Which parameters to match.
    mean_active : sequence of float, optional
        As in `active_experts`, for ``"active"``.

    Raises
    ------
    InvalidInput
        If there are too few active parameters for one hidden unit in every block.
    """
    count = parameter_count(specification)
    wanted: float = count.total
    if match == "active":
        wanted = active_parameters(specification, mean_active).expected
    depth = specification.blocks.depth
    unit = MATRICES[specification.blocks.style] * specification.width
    units = round((wanted - count.trunk) / unit)
    if units < depth:
        raise InvalidInput(f"{units} hidden units are too few for {depth} dense blocks")
    even, left = divmod(units, depth)
    spread = allocate([1.0] * depth, depth + left)
    widths = tuple(even - 1 + one for one in spread)
    return replace(specification, blocks=Dense(widths, specification.blocks.style))
