"""Quantiles of mixtures of Student's t distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

_MOST_STEPS = 60
_PRECISION = 1e-5  # of a step, over the smallest scale of a mixture


def mixture_quantile(
    level: float, means: Floats, scales: Floats, weights: Floats, degrees: int
) -> Floats:
    """A quantile of mixtures of t distributions, by Newton's method within a bracket.

    Parameters
    ----------
    level : float
        From 0 to 1.
    means, scales : ndarray of float64, shape (n, G)
        Of the components of each mixture. All scales are above 0, or all are 0 or NaN.
    weights : ndarray of float64, shape (G,)
        They sum to 1, and are the same for all mixtures.
    degrees : int
        The degrees of freedom of all components.

    Returns
    -------
    ndarray of float64, shape (n,)
        The mean where scales are 0, NaN where they are NaN.
    """
    if not (scales > 0).all():
        return np.asarray((means + scales) @ weights)
    ends = means + scales * special.stdtrit(degrees, level)
    # The quantile of a mixture lies among those of its components.
    low, high, found = ends.min(axis=1), ends.max(axis=1), ends @ weights
    left = np.arange(len(means))  # a mixture is left alone once its step was small
    for _ in range(_MOST_STEPS):
        at, mine, widths = found[left], means[left], scales[left]
        standard = (at[:, None] - mine) / widths
        excess = _t_probability(degrees, standard) @ weights - level
        density = (_t_density(degrees, standard) / widths) @ weights
        low[left] = np.where(excess < 0, at, low[left])
        high[left] = np.where(excess < 0, high[left], at)
        following = at - excess / density
        is_inside = (following > low[left]) & (following < high[left])
        found[left] = np.where(is_inside, following, (low[left] + high[left]) / 2)
        left = left[np.abs(found[left] - at) >= _PRECISION * widths.min(axis=1)]
        if not len(left):
            break
    return np.asarray(found)


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
