"""Budgets: what a network costs before it is built, and how many experts a budget buys.

Counts are exact. FLOPs are those of matrix products, two a multiply-add; normalisation, softmax and
activation functions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, allocate
from dynamoe_search.specification import Classifier, DenseClassifier, Router, Specification

_BACKWARD_AND_FORWARD = 3  # the backward pass costs two forward passes


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

    Trunk: inputs * d + d for the projection, 2 d for each block's normalisation and for the last
    one, d * classes + classes for the head. A layer of N experts has a router of d N and experts of
    2 d h each; so the total depends on a schedule through the sum of N only.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> parameter_count(Classifier(64, 10, 32, 64, Schedule((3, 1)), TopK())).total
    19114
    """
    s = specification
    blocks = len(s.hidden) if isinstance(s, DenseClassifier) else s.schedule.depth
    trunk = s.inputs * s.width + s.width + 2 * s.width * (blocks + 1)
    trunk += s.width * s.classes + s.classes
    if isinstance(s, DenseClassifier):
        return ParameterCount(trunk, routers=0, experts=2 * s.width * sum(s.hidden))
    return ParameterCount(
        trunk,
        routers=s.width * s.schedule.total,
        experts=2 * s.width * s.hidden * s.schedule.total,
    )


def active_experts(
    router: Router, schedule: Schedule, mean_active: Sequence[float] | None = None
) -> list[Spread]:
    """How many experts a token uses in each layer.

    Parameters
    ----------
    router, schedule
        The rule, and the experts of each layer.
    mean_active : sequence of float, optional
        The measured mean K of each layer: the expected value. Without it, the K of an untrained
        router, whose gates are all alike: exact for routers of fixed K, the maximum for others.

    Raises
    ------
    InvalidInput
        Where a measured mean lies outside what the router can choose.
    """
    bounds = [router.active_bounds(experts) for experts in schedule]
    if mean_active is None:
        return [Spread(least, most, most) for least, most in bounds]
    if len(mean_active) != schedule.depth:
        raise InvalidInput(
            f"{len(mean_active)} mean active experts given for {schedule.depth} layers"
        )
    for layer, (mean, (least, most)) in enumerate(zip(mean_active, bounds, strict=True)):
        if not least - 1e-6 <= mean <= most + 1e-6:
            raise InvalidInput(
                f"layer {layer} is said to use {mean} experts a token; {router.name} uses"
                f" {least} to {most} of {schedule.counts[layer]}"
            )
    return [
        Spread(least, mean, most) for (least, most), mean in zip(bounds, mean_active, strict=True)
    ]


def active_parameters(
    specification: Specification, mean_active: Sequence[float] | None = None
) -> Spread:
    """The parameters that one token uses: trunk, routers, and its experts of each layer.

    Parameters
    ----------
    specification : Classifier or DenseClassifier
    mean_active : sequence of float, optional
        As in `active_experts`; not for dense networks.
    """
    count = parameter_count(specification)
    if isinstance(specification, DenseClassifier):
        return Spread(count.total, count.total, count.total)
    expert = 2 * specification.width * specification.hidden
    active = _summed(specification, mean_active)
    fixed = count.trunk + count.routers
    return Spread(
        fixed + expert * active.minimum,
        fixed + expert * active.expected,
        fixed + expert * active.maximum,
    )


def flops_per_token(
    specification: Specification, mean_active: Sequence[float] | None = None
) -> Spread:
    """The FLOPs of one token's forward pass.

    2 (inputs * d + sum over layers of (d N + 2 d h K) + d * classes): every weight of a matrix that
    the token uses, twice.

    Parameters
    ----------
    specification, mean_active
        As in `active_parameters`.
    """
    s = specification
    ends = s.width * (s.inputs + s.classes)
    if isinstance(s, DenseClassifier):
        flops = 2.0 * (ends + 2 * s.width * sum(s.hidden))
        return Spread(flops, flops, flops)
    fixed = ends + s.width * s.schedule.total
    expert = 2 * s.width * s.hidden
    active = _summed(s, mean_active)
    return Spread(
        2.0 * (fixed + expert * active.minimum),
        2.0 * (fixed + expert * active.expected),
        2.0 * (fixed + expert * active.maximum),
    )


def training_flops(
    specification: Specification, tokens: int, mean_active: Sequence[float] | None = None
) -> float:
    """The FLOPs of training on that many tokens: three times the forward pass."""
    return _BACKWARD_AND_FORWARD * tokens * flops_per_token(specification, mean_active).expected


def solve_experts(
    specification: Classifier, parameters: int, minimum: int = 1, maximum: int | None = None
) -> Solution:
    """The most experts that a parameter budget buys for a network of these widths and this depth.

    Parameters
    ----------
    specification : Classifier
        The network; of its schedule only the depth counts.
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
    >>> from dynamoe_search.specification import TopK
    >>> network = Classifier(64, 10, 32, 64, Schedule((1, 1)), TopK())
    >>> solve_experts(network, parameters=20_000)
    Solution(experts=4, parameters=19114, residual=886)
    """
    depth = specification.schedule.depth
    allocate([1.0] * depth, depth * minimum, minimum, maximum)  # refuses impossible bounds
    smallest = _parameters_with(specification, depth * minimum)
    expert = _parameters_with(specification, depth * minimum + 1) - smallest
    largest = None if maximum is None else _parameters_with(specification, depth * maximum)
    if parameters < smallest or (largest is not None and parameters >= largest + expert):
        most = "there is no largest without a maximum" if largest is None else f"{largest:,}"
        raise InvalidInput(
            f"a budget of {parameters:,} parameters cannot be met: with {depth} layers of width"
            f" {specification.width} and experts of hidden width {specification.hidden}, the"
            f" smallest possible is {smallest:,} ({depth * minimum} experts), the largest: {most};"
            f" one expert costs {expert:,}"
        )
    experts = depth * minimum + (parameters - smallest) // expert
    count = _parameters_with(specification, experts)
    return Solution(experts, count, parameters - count)


def dense_twin(
    specification: Classifier,
    match: Literal["total", "active"],
    mean_active: Sequence[float] | None = None,
) -> DenseClassifier:
    """The dense network of equal depth and width with as many total, or active, parameters.

    Its hidden widths are as equal as whole numbers allow. The difference that remains is at most
    the width, half of what one hidden unit costs.

    Parameters
    ----------
    specification : Classifier
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
    depth = specification.schedule.depth
    hidden = allocate([1.0] * depth, units).counts
    return DenseClassifier(specification.inputs, specification.classes, specification.width, hidden)


def _parameters_with(specification: Classifier, experts: int) -> int:
    depth = specification.schedule.depth
    spread = allocate([1.0] * depth, experts)
    return parameter_count(replace(specification, schedule=spread)).total


def _summed(specification: Classifier, mean_active: Sequence[float] | None) -> Spread:
    layers = active_experts(specification.router, specification.schedule, mean_active)
    return Spread(
        sum(layer.minimum for layer in layers),
        sum(layer.expected for layer in layers),
        sum(layer.maximum for layer in layers),
    )
