"""Quantiles of mixtures of Student's t distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

_MOST_STEPS = 60
_PRECISION = 1e-7  # over the smallest scale of each mixture


def mixture_quantile(
    level: float, means: Floats, scales: Floats, weights: Floats, degrees: int
) -> Floats:
    """A quantile of mixtures of t distributions, of shape (C, G); Newton's method in a bracket.

    It is NaN where scales are, and the mean where they are 0.
    """
    center = means @ weights
    if not (scales > 0).all():
        return np.asarray(center + scales @ weights)
    reach = scales * special.stdtrit(degrees, level)
    ends = means + reach  # the quantile of each component; that of the mixture lies among them
    low, high = ends.min(axis=1), ends.max(axis=1)
    found = ends @ weights
    for _ in range(_MOST_STEPS):
        standard = (found[:, None] - means) / scales
        excess = _t_probability(degrees, standard) @ weights - level
        low, high = np.where(excess < 0, found, low), np.where(excess < 0, high, found)
        density = (_t_density(degrees, standard) / scales) @ weights
        following = found - excess / density
        following = np.where((following > low) & (following < high), following, (low + high) / 2)
        if (np.abs(following - found) < _PRECISION * scales.min(axis=1)).all():
            break
        found = following
    return following


def _t_probability(degrees: int, values: Floats) -> Floats:
    """The distribution function of Student's t; from 30 degrees on to 5 digits, by Wallace 1959."""
    if degrees < 30:
        return np.asarray(special.stdtr(degrees, values))
    factor = (8 * degrees + 1) / (8 * degrees + 3)
    normal = factor * np.sqrt(degrees * np.log1p(values**2 / degrees))
    return np.asarray(special.ndtr(np.copysign(normal, values)))


def _t_density(degrees: int, values: Floats) -> Floats:
    height = special.poch(degrees / 2, 0.5) / np.sqrt(degrees * np.pi)
    return np.asarray(height * (1 + values**2 / degrees) ** (-(degrees + 1) / 2))
