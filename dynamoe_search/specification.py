"""What a network is, in plain data: enough to count it, to build it, and to write it down.

Knows nothing of torch, so that budgets can be computed without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule

# What binary fractions such as 0.7 * 10 may be off by when they stand for whole numbers.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Percentile:
    """The source's router, literally (DynaMoE, arXiv 2603.01697).

    A token uses the experts whose gate is strictly above the tau-percentile, by linear
    interpolation, of that token's own N gates; at least one. Without ties that is always
    K = max(1, N - 1 - floor(tau (N - 1))) experts: K varies by layer through N, never by token.
    The weights are a second softmax over the chosen gates.

    Parameters
    ----------
    tau : float
        The percentile, in [0, 1].
    temperature : float
        What logits are divided by before the softmax, above 0.
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
        """The fewest and the most experts a token can use of `experts`: one number, twice."""
        active = max(1, experts - 1 - self.rank(experts)[0])
        return active, active

    def rank(self, experts: int) -> tuple[int, float]:
        """Where the percentile lies among the sorted gates: a whole rank and a fraction beyond."""
        position = self.tau * (experts - 1)
        whole = floor(position + _ROUNDING)
        return whole, max(0.0, position - whole)


@dataclass(frozen=True)
class TopK:
    """The k largest gates of each token, or all where a layer has fewer experts.

    The weights are the chosen gates divided by their sum; with k = 1, where that would always be 1
    and teach the router nothing, the gate itself (as in Switch Transformers, arXiv 2101.03961).

    Parameters
    ----------
    k : int
        At least 1.
    temperature, noise : float
        As in `Percentile`; the noise only decides which experts are chosen.
    """

    k: int = 2
    temperature: float = 1.0
    noise: float = 0.0
    name: Literal["top_k"] = "top_k"

    def __post_init__(self) -> None:
        _require(self.k >= 1, "k", self.k, "at least 1")
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The fewest and the most experts a token can use of `experts`: one number, twice."""
        active = min(self.k, experts)
        return active, active


@dataclass(frozen=True)
class TopP:
    """The fewest largest gates whose sum reaches p (arXiv 2403.07652).

    K varies by token from 1 to ceil(p N): the k largest of N gates sum to at least k / N. The
    weights are the chosen gates themselves, so that a token of one expert still teaches the router.

    Parameters
    ----------
    p : float
        The sum to reach, above 0 and at most 1.
    temperature, noise : float
        As in `Percentile`; the noise only decides which experts are chosen.

    Examples
    --------
    >>> TopP(p=0.7).active_bounds(10)
    (1, 7)
    """

    p: float = 0.7
    temperature: float = 1.0
    noise: float = 0.0
    name: Literal["top_p"] = "top_p"

    def __post_init__(self) -> None:
        _require(0 < self.p <= 1, "p", self.p, "above 0 and at most 1")
        _require_common(self)

    def active_bounds(self, experts: int) -> tuple[int, int]:
        """The fewest and the most experts a token can use of `experts`."""
        return 1, max(1, ceil(self.p * experts - _ROUNDING))


Router = Percentile | TopK | TopP


@dataclass(frozen=True)
class Classifier:
    """An image classifier: projection, L residual MoE blocks with pre-normalisation, head.

    Parameters
    ----------
    inputs, classes : int
        The values of an image, and the classes to tell apart.
    width : int
        The model width d.
    hidden : int
        The hidden width of every expert; an expert is width -> hidden -> width, without biases.
    schedule : Schedule
        The experts of each layer.
    router : Router
        The rule by which tokens choose experts.
    """

    inputs: int
    classes: int
    width: int
    hidden: int
    schedule: Schedule
    router: Router

    def __post_init__(self) -> None:
        for name in ("inputs", "classes", "width", "hidden"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


@dataclass(frozen=True)
class DenseClassifier:
    """The classifier with one plain feed-forward network a block instead of experts.

    Parameters
    ----------
    inputs, classes, width : int
        As in `Classifier`.
    hidden : tuple of int
        The hidden width of each block, at least 1.
    """

    inputs: int
    classes: int
    width: int
    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("inputs", "classes", "width"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(bool(self.hidden), "hidden", self.hidden, "one width a block")
        for width in self.hidden:
            _require(width >= 1, "hidden", self.hidden, "at least 1 in every block")


Specification = Classifier | DenseClassifier


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise InvalidInput(f"{name} is {value}; it must be {expected}")


def _require_common(router: Router) -> None:
    _require(router.temperature > 0, "temperature", router.temperature, "above 0")
    _require(router.noise >= 0, "noise", router.noise, "at least 0")
