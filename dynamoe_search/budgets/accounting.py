"""The cost of a network before it is built: parameters and FLOPs.

Parameter counts are exact. FLOPs count matrix products only, two per multiply-add, without
normalization, softmax and activation functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    MATRICES,
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    Router,
    Specification,
    VariableRouter,
)

_ROUNDING = 1e-9  # the error allowed in measured means
BACKWARD_AND_FORWARD = 3  # in forward passes; the backward pass costs two


@dataclass(frozen=True)
class ParameterCount:
    """The number of parameters of each part; plain blocks and shared experts count as experts."""

    trunk: int
    routers: int
    experts: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.trunk + self.routers + self.experts


@dataclass(frozen=True)
class Spread:
    """The minimum, expected and maximum value of a quantity per token."""

    minimum: float
    expected: float
    maximum: float


def parameter_count(specification: Specification) -> ParameterCount:
    """The exact number of parameters of a network.

    Trunk of a classifier: inputs * d + d for the projection, 2 d for each block's normalization and
    for the last one, d * classes + classes for the head. Trunk of a language model: vocabulary * d
    for the embedding, which is also the head; per block, 4 d^2 + 2 d for attention and its
    normalization, and 2 d for the other normalization; 2 d for the last one. A layer of N experts
    has d N for the router and 2 d h per expert, so of layers with experts only their sum matters. A
    plain block of hidden width h has 2 d h.

    In the modern style a normalization has d in place of 2 d, and an expert or plain block 3 d h in
    place of 2 d h. Shared experts count as any expert, but have no router. With keys and values of
    width c in all, attention has 2 d^2 + 2 d c in place of 4 d^2, and d + c more where queries and
    keys are normalized.

    Examples
    --------
    >>> from dynamoe_search.specification import Experts
    >>> parameter_count(Classifier(64, 10, 32, Experts(64, Schedule((3, 1))))).total
    19114
    """
    blocks, width = specification.blocks, specification.width
    trunk, always = _trunk_parameters(specification), _always_parameters(specification)
    if isinstance(blocks, Dense):
        return ParameterCount(trunk, routers=0, experts=always)
    total = blocks.schedule.total
    return ParameterCount(
        trunk, routers=width * total, experts=always + expert_parameters(specification) * total
    )


def expert_parameters(specification: Specification) -> int:
    """The parameters of one expert, 2 d h or 3 d h; d more are its row of the router."""
    return _unit_parameters(specification) * experts_of(specification).hidden


def _unit_parameters(specification: Specification) -> int:
    """The parameters of one hidden unit: a row or column of each matrix of an expert."""
    return MATRICES[specification.blocks.style] * specification.width


def _always_parameters(specification: Specification) -> int:
    """The parameters of all plain blocks and shared experts."""
    return _unit_parameters(specification) * sum(specification.blocks.always_widths)


def _trunk_parameters(specification: Specification) -> int:
    s, depth = specification, specification.blocks.depth
    norm = s.width if s.blocks.style == "modern" else 2 * s.width
    norms = norm * (depth + 1)
    match s:
        case Classifier():
            return s.inputs * s.width + s.width + norms + s.width * s.classes + s.classes
        case LanguageModel():
            attention = _projections(s) + norm + s.query_key_norm * (s.width + s.key_value_width)
            return s.vocabulary * s.width + norms + (depth * attention if s.heads else 0)


def _projections(network: LanguageModel) -> int:
    """The products of one layer's attention with weights: for queries, keys, values and output."""
    return 2 * network.width * (network.width + network.key_value_width)


def active_experts(blocks: Experts, mean_active: Sequence[float] | None = None) -> list[Spread]:
    """The number of experts that a token uses, for each layer; 0 in plain blocks.

    Parameters
    ----------
    blocks : Experts
    mean_active : sequence of float, optional
        The measured mean K of each layer, which is then the expected value. Without it, the
        expected value is the router's target, or, without a target, its largest K, which an
        untrained router with equal gates uses.

    Raises
    ------
    InvalidInput
        If a measured mean is impossible for its router.
    """
    layers = list(zip(blocks.schedule, blocks.routers, strict=True))
    bounds = [router.active_bounds(n) if n else (0, 0) for n, router in layers]
    if mean_active is None:
        return [
            Spread(least, _held(router, most), most)
            for (_, router), (least, most) in zip(layers, bounds, strict=True)
        ]
    if len(mean_active) != blocks.depth:
        raise InvalidInput(
            f"{len(mean_active)} mean active experts given for {blocks.depth} layers"
        )
    for layer, (mean, (least, most)) in enumerate(zip(mean_active, bounds, strict=True)):
        if not least - _ROUNDING <= mean <= most + _ROUNDING:
            raise InvalidInput(
                f"the mean active experts of layer {layer} are {mean}; with"
                f" {blocks.routers[layer].name} and {blocks.schedule[layer]} experts they are"
                f" from {least} to {most}"
            )
    return [
        Spread(least, mean, most) for (least, most), mean in zip(bounds, mean_active, strict=True)
    ]


def _held(router: Router, most: int) -> float:
    if isinstance(router, VariableRouter) and router.target is not None:
        return min(router.target, most)
    return most


def active_parameters(
    specification: Specification, mean_active: Sequence[float] | None = None
) -> Spread:
    """The parameters that one token uses: trunk, routers, and its experts.

    Every token uses plain blocks and shared experts.

    Parameters
    ----------
    specification : Classifier or LanguageModel
    mean_active : sequence of float, optional
        As in `active_experts`; ignored for dense networks.
    """
    count, blocks = parameter_count(specification), specification.blocks
    if isinstance(blocks, Dense):
        return Spread(count.total, count.total, count.total)
    fixed = count.trunk + count.routers + _always_parameters(specification)
    return _with_active(blocks, mean_active, fixed, expert_parameters(specification))


def flops_per_token(
    specification: Specification, mean_active: Sequence[float] | None = None
) -> Spread:
    """The FLOPs of one token's forward pass; for a classifier, a token is an image.

    Classifier: 2 (inputs * d + sum over layers of (d N + 2 d h K) + d * classes). Language model:
    vocabulary instead of classes, no product at the input, and per block 2 (4 d^2 + 2 d T) for
    attention over a context of T. As in `torch.utils.flop_counter`, the masked half of attention
    counts, too. Plain blocks, shared experts, the modern style and fewer heads of keys and values
    change the products as they change the parameters: two FLOPs for each that a token uses, without
    normalizations.

    Parameters
    ----------
    specification, mean_active
        As in `active_parameters`.
    """
    blocks = specification.blocks
    fixed = _trunk_products(specification) + _always_parameters(specification)
    if isinstance(blocks, Dense):
        return Spread(2.0 * fixed, 2.0 * fixed, 2.0 * fixed)
    fixed += specification.width * blocks.schedule.total
    return _with_active(blocks, mean_active, 2.0 * fixed, 2 * expert_parameters(specification))


def _trunk_products(specification: Specification) -> int:
    """The multiply-adds per token outside routers and experts."""
    s = specification
    match s:
        case Classifier():
            return s.width * (s.inputs + s.classes)
        case LanguageModel():
            attention = _projections(s) + 2 * s.width * s.context if s.heads else 0
            return s.width * s.vocabulary + s.blocks.depth * attention


def training_flops(
    specification: Specification, tokens: int, mean_active: Sequence[float] | None = None
) -> float:
    """The FLOPs of training on a number of tokens: three times the forward pass."""
    return BACKWARD_AND_FORWARD * tokens * flops_per_token(specification, mean_active).expected


def with_schedule(specification: Specification, schedule: Schedule) -> Specification:
    """The same network with another schedule."""
    return replace(specification, blocks=replace(experts_of(specification), schedule=schedule))


def experts_of(specification: Specification) -> Experts:
    """The blocks of a network with experts; `InvalidInput` for a dense network."""
    if isinstance(specification.blocks, Dense):
        raise InvalidInput("the network is dense; this needs a network with experts")
    return specification.blocks


def _with_active(
    blocks: Experts, mean_active: Sequence[float] | None, fixed: float, expert: float
) -> Spread:
    """A fixed cost, and the cost of one expert for each active expert of all layers."""
    layers = active_experts(blocks, mean_active)
    return Spread(
        fixed + expert * sum(layer.minimum for layer in layers),
        fixed + expert * sum(layer.expected for layer in layers),
        fixed + expert * sum(layer.maximum for layer in layers),
    )
