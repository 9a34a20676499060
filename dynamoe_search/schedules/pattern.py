"""The named patterns: six shapes over depth, and uniform.

The source (DynaMoE, arXiv 2603.01697) names these shapes; the formulas here are this toolkit's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules.allocation import allocate
from dynamoe_search.schedules.schedule import Schedule

DEFAULT_CONTRAST = 0.6  # the largest weight is then four times the smallest
DEFAULT_CYCLES = 2.0

Shape = Callable[[NDArray[np.float64], float], NDArray[np.float64]]

_SHAPES: dict[str, Shape] = {
    "descending": lambda u, cycles: 1 - 2 * u,
    "ascending": lambda u, cycles: 2 * u - 1,
    "pyramid": lambda u, cycles: 1 - 2 * np.abs(2 * u - 1),
    "inverted_pyramid": lambda u, cycles: 2 * np.abs(2 * u - 1) - 1,
    "wave": lambda u, cycles: np.sin(2 * np.pi * cycles * u),
    "inverted_wave": lambda u, cycles: -np.sin(2 * np.pi * cycles * u),
    "uniform": lambda u, cycles: np.zeros_like(u),
}

PATTERNS: tuple[str, ...] = tuple(name for name in _SHAPES if name != "uniform")
"""The six patterns; ``uniform`` is not one of them."""

PATTERNS_AND_UNIFORM: tuple[str, ...] = tuple(_SHAPES)


def depth_coordinates(depth: int) -> NDArray[np.float64]:
    """The depth coordinate u of each layer: l / (L - 1), or 0.5 if there is only one layer.

    Parameters
    ----------
    depth : int
        The number of layers L, at least 1.

    Returns
    -------
    ndarray of float64, shape (depth,)
        From 0 at the first layer to 1 at the last.

    Examples
    --------
    >>> depth_coordinates(3).tolist()
    [0.0, 0.5, 1.0]
    """
    if depth < 1:
        raise InvalidInput(f"depth is {depth}; a network needs at least one layer")
    if depth == 1:
        return np.array([0.5])
    return np.arange(depth) / (depth - 1)


def interpolate_counts(counts: Sequence[int], depth: int) -> NDArray[np.float64]:
    """Counts per layer as a profile of another depth: linear over the depth coordinate.

    Parameters
    ----------
    counts : sequence of int
        At least one.
    depth : int
        The number of layers wanted, at least 1.

    Returns
    -------
    ndarray of float64, shape (depth,)

    Examples
    --------
    >>> interpolate_counts([8, 4, 2], 5).tolist()
    [8.0, 6.0, 4.0, 3.0, 2.0]
    """
    found = np.interp(depth_coordinates(depth), depth_coordinates(len(counts)), counts)
    return np.asarray(found, dtype=np.float64)


def pattern_shape(pattern: str, depth: int, cycles: float = DEFAULT_CYCLES) -> NDArray[np.float64]:
    """The shape s(u_l) of a pattern at each layer.

    descending 1 - 2u; pyramid 1 - 2|2u - 1|; wave sin(2 pi c u); ascending, inverted_pyramid and
    inverted_wave are their negatives; uniform is 0.

    Parameters
    ----------
    pattern : str
        One of `PATTERNS_AND_UNIFORM`.
    depth : int
        The number of layers, at least 1.
    cycles : float
        The cycles c of the waves over the depth. At some depths every layer is at a zero of the
        wave: with c = 2 it is flat at depths 1, 2, 3 and 5.

    Returns
    -------
    ndarray of float64, shape (depth,)
        Values in [-1, 1].

    Raises
    ------
    InvalidInput
        For an unknown pattern or a depth below 1.

    Examples
    --------
    >>> pattern_shape("pyramid", 5).tolist()
    [-1.0, 0.0, 1.0, 0.0, -1.0]
    """
    if pattern not in _SHAPES:
        raise InvalidInput(f"unknown pattern {pattern!r}; choose from {', '.join(_SHAPES)}")
    return _SHAPES[pattern](depth_coordinates(depth), cycles)


def pattern_profile(
    pattern: str,
    depth: int,
    contrast: float = DEFAULT_CONTRAST,
    cycles: float = DEFAULT_CYCLES,
) -> NDArray[np.float64]:
    """The profile w(u) = 1 + contrast * s(u) of a pattern.

    Parameters
    ----------
    pattern, depth, cycles
        As in `pattern_shape`.
    contrast : float
        In [0, 1). The largest weight is (1 + contrast) / (1 - contrast) times the smallest.

    Returns
    -------
    ndarray of float64, shape (depth,)
        Positive weights.

    Raises
    ------
    InvalidInput
        For an unknown pattern, a depth below 1 or a contrast outside [0, 1).

    Examples
    --------
    >>> pattern_profile("descending", 3, contrast=0.5).tolist()
    [1.5, 1.0, 0.5]
    """
    if not 0 <= contrast < 1:
        raise InvalidInput(f"contrast is {contrast}; it must be at least 0 and below 1")
    return 1 + contrast * pattern_shape(pattern, depth, cycles)


def pattern_schedule(
    pattern: str,
    depth: int,
    total: int,
    minimum: int = 1,
    maximum: int | None = None,
    contrast: float = DEFAULT_CONTRAST,
    cycles: float = DEFAULT_CYCLES,
    step: int = 1,
) -> Schedule:
    """The integer schedule of a pattern: its profile, allocated.

    Parameters
    ----------
    pattern, depth, contrast, cycles
        As in `pattern_profile`.
    total, minimum, maximum, step
        As in `dynamoe_search.schedules.allocate`.

    Examples
    --------
    >>> str(pattern_schedule("descending", depth=4, total=20))
    '8-6-4-2'
    """
    profile = pattern_profile(pattern, depth, contrast, cycles)
    return allocate(profile, total, minimum, maximum, step)
