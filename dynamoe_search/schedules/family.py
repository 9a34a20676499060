"""Families: continuous, parametrized sets of profiles for the search.

A family is a frozen dataclass with a ``name`` and three methods: ``search_space`` lists its
parameters in plain data, ``profile`` turns parameters into a profile, and ``locate`` finds a named
pattern. To add a family, write such a class, list it in `FAMILIES` and add it to `make_family`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules.allocation import allocate
from dynamoe_search.schedules.pattern import (
    DEFAULT_CONTRAST,
    DEFAULT_CYCLES,
    PATTERNS_AND_UNIFORM,
    depth_coordinates,
    pattern_profile,
    pattern_shape,
)
from dynamoe_search.schedules.space import Dimension, Real, Simplex, Whole

LARGEST_CONTRAST = 0.95
_DEFAULT_DEPTH = 8

Parameters = Mapping[str, float]
Profile = NDArray[np.float64]


@dataclass(frozen=True)
class Location:
    """The point of a family that stands for a named pattern.

    Parameters
    ----------
    parameters : dict
        The family's parameters at the point.
    residual : float
        The largest difference over the layers between the profiles of the family and the pattern,
        both scaled to mean 1.
    exact : bool
        Whether the family gives the pattern's integer schedule at the point.
    """

    parameters: dict[str, float]
    residual: float
    exact: bool


class Family(Protocol):
    """The interface of a family."""

    name: ClassVar[str]

    def search_space(self, depth: int) -> tuple[Dimension, ...]:
        """The parameters of the family for a network of `depth` layers."""

    def profile(self, parameters: Parameters, depth: int) -> Profile:
        """The positive weights, shape (depth,), for these parameters."""

    def locate(
        self, pattern: str, depth: int = _DEFAULT_DEPTH, contrast: float = DEFAULT_CONTRAST
    ) -> Location:
        """The point of a named pattern with this contrast."""


@dataclass(frozen=True)
class Blend:
    """A mixture of tilt, peak and wave.

    w(u) = 1 + contrast * s(u) with s(u) = tilt (1 - 2u) + peak (1 - 2|2u - 1|)
    + wave sin(2 pi (cycles u + phase)), divided by |tilt| + |peak| + |wave| if that is above 1, so
    that weights stay positive. The six patterns are the points where one coefficient is 1 or -1 and
    the others are 0; uniform is the origin. On the straight line between two patterns the profile
    is the linear mixture of theirs.

    Examples
    --------
    >>> blend = Blend()
    >>> blend.profile(blend.locate("descending").parameters, depth=3).round(3).tolist()
    [1.6, 1.0, 0.4]
    """

    name: ClassVar[str] = "blend"

    def search_space(self, depth: int) -> tuple[Dimension, ...]:
        """Six reals; the cycles are limited to what `depth` layers can show, and to 4."""
        return (
            Real("tilt", -1.0, 1.0),
            Real("peak", -1.0, 1.0),
            Real("wave", -1.0, 1.0),
            Real("cycles", 0.5, min(4.0, max(DEFAULT_CYCLES, (depth - 1) / 2))),
            Real("phase", 0.0, 1.0),
            Real("contrast", 0.0, LARGEST_CONTRAST),
        )

    def profile(self, parameters: Parameters, depth: int) -> Profile:
        """The profile, shape (depth,); `InvalidInput` for missing, unknown or bad parameters."""
        values = _checked(self, parameters, depth)
        tilt, peak, wave = values["tilt"], values["peak"], values["wave"]
        u = depth_coordinates(depth)
        shape = (
            tilt * pattern_shape("descending", depth)
            + peak * pattern_shape("pyramid", depth)
            + wave * np.sin(2 * np.pi * (values["cycles"] * u + values["phase"]))
        )
        return 1 + values["contrast"] * shape / max(1.0, abs(tilt) + abs(peak) + abs(wave))

    def locate(
        self, pattern: str, depth: int = _DEFAULT_DEPTH, contrast: float = DEFAULT_CONTRAST
    ) -> Location:
        """Exact for every pattern of a contrast of at most `LARGEST_CONTRAST`."""
        if contrast > LARGEST_CONTRAST:
            raise InvalidInput(
                f"contrast is {contrast}; the blend family holds contrasts up to {LARGEST_CONTRAST}"
            )
        parameters = {
            "tilt": {"descending": 1.0, "ascending": -1.0}.get(pattern, 0.0),
            "peak": {"pyramid": 1.0, "inverted_pyramid": -1.0}.get(pattern, 0.0),
            "wave": {"wave": 1.0, "inverted_wave": -1.0}.get(pattern, 0.0),
            "cycles": DEFAULT_CYCLES,
            "phase": 0.0,
            "contrast": contrast,
        }
        return _location(self, parameters, pattern, depth, contrast, exact=True)


@dataclass(frozen=True)
class Mixture:
    """A weighted mean of the six patterns and uniform; its parameters are the shares.

    Parameters
    ----------
    contrast : float
        The contrast of the patterns, in [0, 1).

    Examples
    --------
    >>> mixture = Mixture()
    >>> shares = {name: 0.0 for name in mixture.search_space(3)[0].names}
    >>> shares |= {"descending": 0.5, "ascending": 0.5}
    >>> mixture.profile(shares, depth=3).round(9).tolist()
    [1.0, 1.0, 1.0]
    """

    contrast: float = DEFAULT_CONTRAST
    name: ClassVar[str] = "mixture"

    def search_space(self, depth: int) -> tuple[Dimension, ...]:
        """One simplex; its corners are the patterns and uniform."""
        return (Simplex(PATTERNS_AND_UNIFORM),)

    def profile(self, parameters: Parameters, depth: int) -> Profile:
        """The profile, shape (depth,); shares are divided by their sum."""
        shares = _checked(self, parameters, depth)
        total = sum(shares.values())
        if min(shares.values()) < 0 or not total > 0:
            raise InvalidInput(
                f"the shares of a mixture must be at least 0 and not all 0, got {dict(shares)}"
            )
        return sum(
            (
                share / total * pattern_profile(pattern, depth, self.contrast)
                for pattern, share in shares.items()
            ),
            start=np.zeros(depth),
        )

    def locate(
        self, pattern: str, depth: int = _DEFAULT_DEPTH, contrast: float = DEFAULT_CONTRAST
    ) -> Location:
        """A corner; exact for a pattern with the mixture's own contrast, and for uniform."""
        parameters = {name: float(name == pattern) for name in PATTERNS_AND_UNIFORM}
        exact = contrast == self.contrast or pattern == "uniform"
        return _location(self, parameters, pattern, depth, contrast, exact)


@dataclass(frozen=True)
class Spline:
    """Values at evenly spaced depths, interpolated by monotone cubics (PCHIP).

    w(u) = 1 + v(u), where v passes through the values and is monotone between two of them.
    Descending and ascending are exact; other patterns are matched at the knots only, with the
    residual that `locate` reports.

    Parameters
    ----------
    knots : int
        The number of values, at least 2.

    Examples
    --------
    >>> spline = Spline(knots=2)
    >>> spline.profile({"value_0": 0.5, "value_1": -0.5}, depth=3).tolist()
    [1.5, 1.0, 0.5]
    """

    knots: int = 5
    name: ClassVar[str] = "spline"

    def __post_init__(self) -> None:
        if self.knots < 2:
            raise InvalidInput(f"a spline needs at least 2 knots, got {self.knots}")

    def search_space(self, depth: int) -> tuple[Dimension, ...]:
        """One real per knot."""
        return tuple(
            Real(f"value_{knot}", -LARGEST_CONTRAST, LARGEST_CONTRAST) for knot in range(self.knots)
        )

    def profile(self, parameters: Parameters, depth: int) -> Profile:
        """The profile, shape (depth,); `InvalidInput` for missing, unknown or bad parameters."""
        # Imported here, so that the rest of `schedules` needs numpy only.
        from scipy.interpolate import PchipInterpolator

        values = list(_checked(self, parameters, depth).values())
        knots = np.linspace(0, 1, self.knots)
        profile: Profile = 1 + PchipInterpolator(knots, values)(depth_coordinates(depth))
        return profile

    def locate(
        self, pattern: str, depth: int = _DEFAULT_DEPTH, contrast: float = DEFAULT_CONTRAST
    ) -> Location:
        """The values of the pattern's shape at the knots."""
        shape = contrast * pattern_shape(pattern, self.knots)
        if np.abs(shape).max() > LARGEST_CONTRAST:
            raise InvalidInput(
                f"contrast is {contrast}; the spline family holds contrasts up to"
                f" {LARGEST_CONTRAST}"
            )
        parameters = {f"value_{knot}": float(value) for knot, value in enumerate(shape)}
        exact = pattern in ("descending", "ascending", "uniform")
        return _location(self, parameters, pattern, depth, contrast, exact)


@dataclass(frozen=True)
class Free:
    """One whole number per layer: it contains every schedule of a total.

    The numbers are the profile, so allocation scales them to the total; numbers that already sum to
    the total are the schedule itself.

    Parameters
    ----------
    total : int
        The total of the schedules.
    minimum, maximum : int
        The fewest and the most experts per layer; `maximum` can be None.
    step : int
        Every layer has a multiple of it; the numbers are in units of it.

    Examples
    --------
    >>> free = Free(total=20)
    >>> free.locate("descending", depth=4).parameters
    {'layer_0': 8, 'layer_1': 6, 'layer_2': 4, 'layer_3': 2}
    """

    total: int
    minimum: int = 1
    maximum: int | None = None
    step: int = 1
    name: ClassVar[str] = "free"

    def search_space(self, depth: int) -> tuple[Dimension, ...]:
        """One whole number per layer."""
        lowest = -(-self.minimum // self.step)
        highest = self.total // self.step - (depth - 1) * lowest
        if self.maximum is not None:
            highest = min(highest, self.maximum // self.step)
        return tuple(Whole(f"layer_{layer}", lowest, highest) for layer in range(depth))

    def profile(self, parameters: Parameters, depth: int) -> Profile:
        """The profile, shape (depth,); `InvalidInput` for missing, unknown or bad parameters."""
        return np.array(list(_checked(self, parameters, depth).values()), dtype=np.float64)

    def locate(
        self, pattern: str, depth: int = _DEFAULT_DEPTH, contrast: float = DEFAULT_CONTRAST
    ) -> Location:
        """The pattern's integer schedule; exact for the family's total and bounds."""
        bounds = (self.total, self.minimum, self.maximum, self.step)
        schedule = allocate(pattern_profile(pattern, depth, contrast), *bounds)
        parameters: dict[str, float] = {
            f"layer_{layer}": count // self.step for layer, count in enumerate(schedule)
        }
        return _location(self, parameters, pattern, depth, contrast, exact=True)


@dataclass(frozen=True)
class Uniform:
    """A single point: every layer has the same weight, and nothing moves.

    Examples
    --------
    >>> Uniform().profile({}, depth=3).tolist()
    [1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "none"

    def search_space(self, depth: int) -> tuple[Dimension, ...]:
        """Nothing."""
        return ()

    def profile(self, parameters: Parameters, depth: int) -> Profile:
        """The profile, shape (depth,); `InvalidInput` for any parameter."""
        _checked(self, parameters, depth)
        return np.ones(depth)

    def locate(
        self, pattern: str, depth: int = _DEFAULT_DEPTH, contrast: float = DEFAULT_CONTRAST
    ) -> Location:
        """Exact for uniform alone."""
        return _location(self, {}, pattern, depth, contrast, pattern == "uniform")


NONE = Uniform.name
"""In place of a family's name: what a study file calls a schedule that does not move."""

FAMILIES: tuple[str, ...] = (Blend.name, Mixture.name, Spline.name, Free.name)


def make_family(
    name: str,
    total: int,
    minimum: int = 1,
    maximum: int | None = None,
    contrast: float = DEFAULT_CONTRAST,
    step: int = 1,
) -> Family:
    """The family of a name, for schedules with this total and bounds.

    Raises
    ------
    InvalidInput
        For an unknown name.
    """
    match name:
        case Uniform.name:
            return Uniform()
        case Blend.name:
            return Blend()
        case Mixture.name:
            return Mixture(contrast)
        case Spline.name:
            return Spline()
        case Free.name:
            return Free(total, minimum, maximum, step)
    raise InvalidInput(f"unknown family {name!r}; choose from {', '.join(FAMILIES)}")


def _checked(family: Family, parameters: Parameters, depth: int) -> dict[str, float]:
    """The parameters in the order of the search space; `InvalidInput` if any is wrong."""
    space = family.search_space(depth)
    names = [name for d in space for name in (d.names if isinstance(d, Simplex) else (d.name,))]
    missing = [name for name in names if name not in parameters]
    unknown = [name for name in parameters if name not in names]
    if missing or unknown:
        raise InvalidInput(
            f"the {family.name} family takes {', '.join(names)};"
            f" missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    for name in names:
        if not np.isfinite(parameters[name]):
            raise InvalidInput(f"{name} is {parameters[name]}; it must be a finite number")
    for d in space:
        if not isinstance(d, Simplex) and not d.low <= parameters[d.name] <= d.high:
            raise InvalidInput(
                f"{d.name} is {parameters[d.name]}; it must be from {d.low} to {d.high}"
            )
    return {name: parameters[name] for name in names}


def _location(
    family: Family,
    parameters: dict[str, float],
    pattern: str,
    depth: int,
    contrast: float,
    exact: bool,
) -> Location:
    wanted = pattern_profile(pattern, depth, contrast)
    found = family.profile(parameters, depth)
    residual = float(np.abs(found / found.mean() - wanted / wanted.mean()).max())
    return Location(parameters, residual, exact)
