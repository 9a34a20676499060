"""Budgets: what a network costs before it is built, and how many experts a budget buys.

Counts are exact. FLOPs are those of matrix products, two a multiply-add; normalisation, softmax and
activation functions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Literal

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, allocate
from dynamoe_search.specification import (
    Classifier,
    Dense,
    Experts,
    FixedRouter,
    LanguageModel,
    Router,
    Specification,
    VariableRouter,
    held_at,
    largest_active,
)

_ROUNDING = 1e-9  # what sums such as 1.1 * 10 may be off by when they stand for whole numbers
BACKWARD_AND_FORWARD = 3  # the backward pass costs two forward passes


@dataclass(frozen=True)
class ParameterCount:
    """The parameters of a network by their place."""

    trunk: int
    routers: int
    experts: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.trunk + self.routers + self.experts


@dataclass(frozen=True)
class Spread:
    """A quantity a token: its least, its expected and its largest value."""

    minimum: float
    expected: float
    maximum: float


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


def parameter_count(specification: Specification) -> ParameterCount:
    """The exact parameters of a network.

    Trunk of a classifier: inputs * d + d for the projection, 2 d for each block's normalisation and
    for the last one, d * classes + classes for the head. Trunk of a language model: vocabulary * d
    for the embedding, which is also the head, 4 d^2 + 2 d a block for attention and its
    normalisation, 2 d a block and 2 d at the end for the other normalisations. A layer of N experts
    has a router of d N and experts of 2 d h each; so the total depends on a schedule through the
    sum of N only.

    Examples
    --------
    >>> from dynamoe_search.specification import Experts
    >>> parameter_count(Classifier(64, 10, 32, Experts(64, Schedule((3, 1))))).total
    19114
    """
    blocks, width = specification.blocks, specification.width
    trunk = _trunk_parameters(specification)
    if isinstance(blocks, Dense):
        return ParameterCount(trunk, routers=0, experts=2 * width * sum(blocks.hidden))
    return ParameterCount(
        trunk,
        routers=width * blocks.schedule.total,
        experts=2 * width * blocks.hidden * blocks.schedule.total,
    )


def _trunk_parameters(specification: Specification) -> int:
    s, depth = specification, specification.blocks.depth
    norms = 2 * s.width * (depth + 1)
    match s:
        case Classifier():
            return s.inputs * s.width + s.width + norms + s.width * s.classes + s.classes
        case LanguageModel():
            attention = depth * (4 * s.width**2 + 2 * s.width) if s.heads else 0
            return s.vocabulary * s.width + attention + norms


def active_experts(blocks: Experts, mean_active: Sequence[float] | None = None) -> list[Spread]:
    """How many experts a token uses in each layer.

    Parameters
    ----------
    blocks : Experts
        The experts of each layer, and its router.
    mean_active : sequence of float, optional
        The measured mean K of each layer: the expected value. Without it, the K that a controller
        holds; else that of an untrained router, whose gates are all alike: exact for routers of
        fixed K, the maximum for others.

    Raises
    ------
    InvalidInput
        Where a measured mean lies outside what the router can choose.
    """
    layers = list(zip(blocks.schedule, blocks.routers, strict=True))
    bounds = [router.active_bounds(experts) for experts, router in layers]
    if mean_active is None:
        return [
            Spread(least, _held(router, most), most)
            for (_, router), (least, most) in zip(layers, bounds, strict=True)
        ]
    if len(mean_active) != blocks.depth:
        raise InvalidInput(
            f"{len(mean_active)} mean active experts given for {blocks.depth} layers"
        )
    for layer, (mean, (_, most)) in enumerate(zip(mean_active, bounds, strict=True)):
        # From 1 on, as gates that tie can take the percentile below its K.
        if not 1 - _ROUNDING <= mean <= most + _ROUNDING:
            raise InvalidInput(
                f"layer {layer} is said to use {mean} experts a token;"
                f" {blocks.routers[layer].name} uses at most {most} of"
                f" {blocks.schedule.counts[layer]}, and at least 1"
            )
    return [
        Spread(min(least, mean), mean, most)
        for (least, most), mean in zip(bounds, mean_active, strict=True)
    ]


def _held(router: Router, most: int) -> float:
    if isinstance(router, VariableRouter) and router.target is not None:
        return min(router.target, most)
    return most


def active_parameters(
    specification: Specification, mean_active: Sequence[float] | None = None
) -> Spread:
    """The parameters that one token uses: trunk, routers, and its experts of each layer.

    Parameters
    ----------
    specification : Classifier or LanguageModel
    mean_active : sequence of float, optional
        As in `active_experts`; not for dense networks.
    """
    count, blocks = parameter_count(specification), specification.blocks
    if isinstance(blocks, Dense):
        return Spread(count.total, count.total, count.total)
    expert = 2 * specification.width * blocks.hidden
    active = _summed(blocks, mean_active)
    fixed = count.trunk + count.routers
    return Spread(
        fixed + expert * active.minimum,
        fixed + expert * active.expected,
        fixed + expert * active.maximum,
    )


def flops_per_token(
    specification: Specification, mean_active: Sequence[float] | None = None
) -> Spread:
    """The FLOPs of one token's forward pass; for a classifier a token is an image.

    Classifier: 2 (inputs * d + sum over layers of (d N + 2 d h K) + d * classes): every weight of a
    matrix that the token uses, twice. Language model: vocabulary in place of classes, no product at
    the input, and 2 (4 d^2 + 2 d T) a block for attention over a context of T, counted in full
    though half of it is masked, as `torch.utils.flop_counter` does.

    Parameters
    ----------
    specification, mean_active
        As in `active_parameters`.
    """
    blocks, width = specification.blocks, specification.width
    fixed = _trunk_products(specification)
    if isinstance(blocks, Dense):
        flops = 2.0 * (fixed + 2 * width * sum(blocks.hidden))
        return Spread(flops, flops, flops)
    fixed += width * blocks.schedule.total
    expert = 2 * width * blocks.hidden
    active = _summed(blocks, mean_active)
    return Spread(
        2.0 * (fixed + expert * active.minimum),
        2.0 * (fixed + expert * active.expected),
        2.0 * (fixed + expert * active.maximum),
    )


def _trunk_products(specification: Specification) -> int:
    """The multiply-adds of one token outside routers and experts."""
    s = specification
    match s:
        case Classifier():
            return s.width * (s.inputs + s.classes)
        case LanguageModel():
            attention = 4 * s.width**2 + 2 * s.width * s.context if s.heads else 0
            return s.width * s.vocabulary + s.blocks.depth * attention


def training_flops(
    specification: Specification, tokens: int, mean_active: Sequence[float] | None = None
) -> float:
    """The FLOPs of training on that many tokens: three times the forward pass."""
    return BACKWARD_AND_FORWARD * tokens * flops_per_token(specification, mean_active).expected


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
    >>> from dynamoe_search.specification import Experts
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


def with_schedule(specification: Specification, schedule: Schedule) -> Specification:
    """The same network with other experts a layer."""
    return replace(specification, blocks=replace(experts_of(specification), schedule=schedule))


def experts_of(specification: Specification) -> Experts:
    """The blocks of a network with experts; `InvalidInput` for a dense one."""
    if isinstance(specification.blocks, Dense):
        raise InvalidInput("the network is dense; this needs one with experts")
    return specification.blocks


def _parameters_with(specification: Specification, experts: int) -> int:
    spread = allocate([1.0] * specification.blocks.depth, experts)
    return parameter_count(with_schedule(specification, spread)).total


def _summed(blocks: Experts, mean_active: Sequence[float] | None) -> Spread:
    layers = active_experts(blocks, mean_active)
    return Spread(
        sum(layer.minimum for layer in layers),
        sum(layer.expected for layer in layers),
        sum(layer.maximum for layer in layers),
    )
