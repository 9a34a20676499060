"""Routers in plain data: the rules by which a token chooses its experts.

A router has a ``name``, its constants, and ``active_bounds``: the K that it can choose among N
experts. No batch leaves these bounds, in any precision, whatever the noise: gates are compared by
rank. `held_at` fixes the K of a router, for the compute-matched regime.
`dynamoe_search.models.routing` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, floor, inf
from typing import Any, Literal

from dynamoe_search.errors import InvalidInput

# The error allowed where products such as 0.7 * 10 should be whole numbers.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Percentile:
    """The router of the source, DynaMoE (arXiv 2603.01697).

    A token uses the experts whose gate is strictly above the tau-percentile (by linear
    interpolation) of its own N gates, and at least one expert. Unless gates are equal, these are
    the K = max(1, N - 1 - floor(tau (N - 1))) largest: K varies by layer through N, never by token.
    Here it is K where gates are equal, too. The weights are a second softmax over the chosen gates.

    Parameters
    ----------
    tau : float
        The percentile, in [0, 1].
    temperature : float
        The divisor of the logits before the softmax, above 0.
    noise : float
        The standard deviation of the Gaussian noise added to the gates in training, at least 0.

    Examples
    --------
    >>> [Percentile(tau=0.5).active_bounds(experts) for experts in (1, 2, 3, 8)]
    [(1, 1), (1, 1), (1, 1), (4, 4)]
    """

    tau: float = 0.5
    temperature: float = 0.5
    noise: float = 0.1
    name: Literal["percentile"] = "percentile"

    def __post_init__(self) -> None:
        _require(0 <= self.tau <= 1, "tau", self.tau, "from 0 to 1")
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The smallest and the largest K among `experts`; here they are equal."""
        active = max(1, experts - 1 - floor(self.tau * (experts - 1) + _ROUNDING))
        return active, active


@dataclass(frozen=True)
class TopK:
    """The k largest gates of each token, or all gates if a layer has fewer experts.

    The weights are the chosen gates divided by their sum. With k = 1 that would always be 1, and
    the router would have no gradient; the weight is then the gate itself (as in Switch
    Transformers, arXiv 2101.03961).

    Parameters
    ----------
    k : int
        At least 1.
    temperature, noise : float
        As in `Percentile`; the noise changes which experts are chosen, not how many.
    gates : {"softmax", "sigmoid"}
        What makes gates of logits. Sigmoids, as in DeepSeek-V3 (arXiv 2412.19437), do not compete
        with each other.
    renormalize : bool
        Whether the weights are divided by their sum, as in Mixtral (arXiv 2401.04088); otherwise
        they are the gates themselves, as in OLMoE (arXiv 2409.02060).
    """

    k: int = 2
    temperature: float = 1.0
    noise: float = 0.0
    gates: Literal["softmax", "sigmoid"] = "softmax"
    renormalize: bool = True
    name: Literal["top_k"] = "top_k"

    def __post_init__(self) -> None:
        _require(self.k >= 1, "k", self.k, "at least 1")
        _require(self.gates in ("softmax", "sigmoid"), "gates", self.gates, "softmax or sigmoid")
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The smallest and the largest K among `experts`; here they are equal."""
        active = min(self.k, experts)
        return active, active


@dataclass(frozen=True)
class TopP:
    """The smallest number of largest gates whose sum reaches p (arXiv 2403.07652).

    K varies by token from 1 to ceil(p N): the k largest of N gates sum to at least k / N. With
    p = 1 it is always N, since all gates are above 0. The weights are the chosen gates themselves,
    so a token with one expert still trains the router.

    Parameters
    ----------
    p : float
        The sum to reach, above 0 and at most 1.
    target : float, optional
        The mean K that a controller holds by moving its threshold instead of p; None for p itself.
    temperature, noise : float
        As in `Percentile`; the noise changes which experts are chosen, not how many.

    Examples
    --------
    >>> TopP(p=0.7).active_bounds(10)
    (1, 7)
    """

    p: float = 0.7
    target: float | None = None
    temperature: float = 1.0
    noise: float = 0.0
    name: Literal["top_p"] = "top_p"

    def __post_init__(self) -> None:
        _require(0 < self.p <= 1, "p", self.p, "above 0 and at most 1")
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The smallest and the largest K among `experts`."""
        if self.target is not None:
            return _held_bounds(self.target, experts)
        most = max(1, ceil(self.p * experts - _ROUNDING))
        return (1 if self.p < 1 else most), most


@dataclass(frozen=True)
class Relative:
    """The experts whose gate is at least tau times the token's largest (arXiv 2310.04361).

    K varies by token from 1 to N; a token with equal gates uses every expert. With tau = 0 it is
    always N. The weights are the chosen gates themselves, as in `TopP`.

    Parameters
    ----------
    tau : float
        The share of the largest gate, from 0 to 1.
    target : float, optional
        As in `TopP`, instead of tau.
    temperature, noise : float
        As in `Percentile`; the noise changes which experts are chosen, not how many.
    """

    tau: float = 0.5
    target: float | None = None
    temperature: float = 1.0
    noise: float = 0.0
    name: Literal["relative"] = "relative"

    def __post_init__(self) -> None:
        _require(0 <= self.tau <= 1, "tau", self.tau, "from 0 to 1")
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The smallest and the largest K among `experts`."""
        if self.target is not None:
            return _held_bounds(self.target, experts)
        return (1 if self.tau > 0 else experts), experts


@dataclass(frozen=True)
class Threshold:
    """The experts whose gate reaches a threshold that a controller moves to hold a mean K.

    Similar to arXiv 2512.13996. A token's largest gate is always used, so K varies by token from 1
    to N. At a threshold t it is at most floor(1 / t), because gates sum to 1. The weights are the
    chosen gates themselves, as in `TopP`.

    Parameters
    ----------
    target : float
        The mean K to hold, at least 1; a layer with fewer experts uses all of them.
    temperature, noise : float
        As in `Percentile`; the noise changes which experts are chosen, not how many.
    """

    target: float = 2.0
    temperature: float = 1.0
    noise: float = 0.0
    name: Literal["threshold"] = "threshold"

    def __post_init__(self) -> None:
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The smallest and the largest K among `experts`."""
        return _held_bounds(self.target, experts)


def _held_bounds(target: float, experts: int) -> tuple[int, int]:
    """From 1 to N for a mean K, but always 1 for a mean of 1, and N for a mean of N or more."""
    if experts <= target:
        return experts, experts
    return 1, (1 if target == 1 else experts)


FixedRouter = Percentile | TopK
"""Routers with the same K for every token of a layer."""

VariableRouter = TopP | Relative | Threshold
"""Routers whose K varies by token: each compares a score per expert with a threshold."""

Router = FixedRouter | VariableRouter


def largest_active(router: Router, experts: int) -> int:
    """The largest K for `held_at` among N experts: N, but max(1, N - 1) for `Percentile`."""
    return max(1, experts - 1) if isinstance(router, Percentile) else experts


def held_at(router: Router, experts: int, active: float) -> Router:
    """The same router with a given K among N experts: exact if K is fixed, else on average.

    Parameters
    ----------
    router : Router
    experts : int
        N.
    active : float
        K, from 1 to `largest_active`; a whole number for a `FixedRouter`.

    Examples
    --------
    >>> held_at(TopK(), experts=8, active=3).k, held_at(TopP(), experts=8, active=2.5).target
    (3, 2.5)
    """
    match router:
        case Percentile():
            # Halfway between two ranks, so that rounding cannot change K.
            return replace(router, tau=max(0.0, experts - active - 0.5) / max(1, experts - 1))
        case TopK():
            return replace(router, k=int(active))
        case _:
            return replace(router, target=active)


def with_constants(router: Router, constants: Mapping[str, float]) -> Router:
    """The same router with other constants.

    Parameters
    ----------
    router : Router
    constants : mapping of str to float
        Values by name; k is converted to int.

    Raises
    ------
    InvalidInput
        If the router has no constant of a name, or a value is out of range.

    Examples
    --------
    >>> with_constants(TopK(), {"k": 3.0}).k
    3
    """
    values: dict[str, Any] = {n: int(v) if n == "k" else v for n, v in constants.items()}
    unknown = [name for name in values if not hasattr(router, name)]
    _require(not unknown, "the constant", ", ".join(unknown), f"one of {router.name}'s")
    return replace(router, **values)


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise InvalidInput(f"{name} is {value}; it must be {expected}")


def _require_common(router: Router) -> None:
    if isinstance(router, VariableRouter) and router.target is not None:
        _require(1 <= router.target < inf, "target", router.target, "a mean K of at least 1")
    _require(0 < router.temperature < inf, "temperature", router.temperature, "above 0")
    _require(0 <= router.noise < inf, "noise", router.noise, "at least 0")
