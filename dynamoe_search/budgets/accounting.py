"""What a network costs before it is built: parameters, and FLOPs.

Counts are exact. FLOPs are those of matrix products, two a multiply-add; normalization, softmax and
activation functions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    Router,
    Specification,
    VariableRouter,
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


def parameter_count(specification: Specification) -> ParameterCount:
    """The exact parameters of a network.

    Trunk of a classifier: inputs * d + d for the projection, 2 d for each block's normalization and
    for the last one, d * classes + classes for the head. Trunk of a language model: vocabulary * d
    for the embedding, which is also the head, 4 d^2 + 2 d a block for attention and its
    normalization, 2 d a block and 2 d at the end for the other normalizations. A layer of N experts
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


def with_schedule(specification: Specification, schedule: Schedule) -> Specification:
    """The same network with other experts a layer."""
    return replace(specification, blocks=replace(experts_of(specification), schedule=schedule))


def experts_of(specification: Specification) -> Experts:
    """The blocks of a network with experts; `InvalidInput` for a dense one."""
    if isinstance(specification.blocks, Dense):
        raise InvalidInput("the network is dense; this needs one with experts")
    return specification.blocks


def _summed(blocks: Experts, mean_active: Sequence[float] | None) -> Spread:
    layers = active_experts(blocks, mean_active)
    return Spread(
        sum(layer.minimum for layer in layers),
        sum(layer.expected for layer in layers),
        sum(layer.maximum for layer in layers),
    )
