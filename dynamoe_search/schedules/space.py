"""The parameters of a family in plain data: what a search may choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar


@dataclass(frozen=True)
class Real:
    """A real parameter in [low, high]."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Whole:
    """An integer parameter in [low, high]."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Simplex:
    """Shares that are at least 0 and sum to 1; sampled uniformly on the simplex.

    Shares are proportional to -ln(v) of independent uniform v, so the corner of one name is where
    all other v are 1.
    """

    LEAST: ClassVar[float] = 1e-6  # of a v: -ln(v) is then at most 13.8

    names: tuple[str, ...]

    def shares(self, uniform: Sequence[float]) -> dict[str, float]:
        """The shares by name, of a value from `LEAST` to 1 for each."""
        sizes = [-math.log(value) for value in uniform]
        total = sum(sizes)
        # All at 1 has no direction: take the middle.
        shares = [size / total if total > 0 else 1 / len(sizes) for size in sizes]
        return dict(zip(self.names, shares, strict=True))


Dimension = Real | Whole | Simplex


def renamed(dimension: Dimension, prefix: str) -> Dimension:
    """The dimension with a prefix before its names.

    Examples
    --------
    >>> renamed(Real("tilt", -1.0, 1.0), "active_").name
    'active_tilt'
    """
    if isinstance(dimension, Simplex):
        return Simplex(tuple(prefix + name for name in dimension.names))
    return replace(dimension, name=prefix + dimension.name)
