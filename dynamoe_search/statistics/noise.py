"""Whether noise is about normal, and alike for all candidates: what intervals assume, tested.

Both tests compare with normal noise in the same design, by simulation: candidates have few values,
for which the usual large-sample tables do not hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DRAWS = 1999
_MOST_NUMBERS = 4_000_000  # in all draws together
_FEWEST_DRAWS = 199
_LEAST_VARIANCE = 1e-12  # over the mean of all: of two values that happen to be equal


@dataclass(frozen=True)
class NoiseCheck:
    """How noise compares with what is assumed of it.

    Parameters
    ----------
    values, candidates : int
        The values of candidates that have several, and how many candidates these are.
    excess_kurtosis : float
        The kurtosis of the residuals, less what normal noise has on average in the same design:
        above 0 for heavy tails.
    kurtosis_p : float
        The p value of heavier tails than those of normal noise.
    bartlett_p : float
        The p value of Bartlett's statistic: do candidates differ in the variance of their noise?
        Heavy tails lower it, too.
    """

    values: int
    candidates: int
    excess_kurtosis: float
    kurtosis_p: float
    bartlett_p: float


def check_noise(
    values: pd.Series, candidates: pd.Series, blocks: pd.Series, seed: int = 0
) -> NoiseCheck | None:
    """Test the residuals of the two-way model, of the candidates with several values.

    Parameters
    ----------
    values : Series of float
        One for each candidate and seed. Those that are not finite are left out.
    candidates, blocks : Series
        The candidate and the block (the seed) of each.
    seed : int
        Of the simulated noise.

    Returns
    -------
    NoiseCheck or None
        None where there are fewer than two such candidates, or nothing varies beyond the effects.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> candidates, blocks = pd.Series(np.repeat(np.arange(20), 4)), pd.Series([0, 1, 2, 3] * 20)
    >>> noise = pd.Series(generator.standard_t(2, size=80))
    >>> check_noise(noise, candidates, blocks).kurtosis_p < 0.05
    True
    """
    table = pd.DataFrame({"value": values, "candidate": candidates, "block": blocks})
    table = table[np.isfinite(table["value"])].astype({"value": np.float64})
    table = table[table.groupby("candidate")["candidate"].transform("size") > 1]
    of, names = pd.factorize(table["candidate"], sort=True)
    if len(names) < 2:
        return None
    table, of = table.iloc[np.argsort(of, kind="stable")], np.sort(of)
    design = _Design.of(of, pd.factorize(table["block"])[0])
    observed = design.residuals(table["value"].to_numpy()[None])
    size = float(np.abs(table["value"]).max())
    if design.degrees < 1 or (np.abs(observed) <= 1e-12 * size).all():
        return None
    draws = max(_FEWEST_DRAWS, min(_DRAWS, _MOST_NUMBERS // len(of)))
    normal = np.random.default_rng(seed).standard_normal((draws, len(of)))
    simulated = design.residuals(normal)
    kurtosis, of_normal = _kurtosis(observed)[0], _kurtosis(simulated)
    unlike, of_equal = design.bartlett(observed)[0], design.bartlett(simulated)
    return NoiseCheck(
        values=len(of),
        candidates=len(names),
        excess_kurtosis=float(kurtosis - of_normal.mean()),
        kurtosis_p=float((1 + (of_normal >= kurtosis).sum()) / (1 + draws)),
        bartlett_p=float((1 + (of_equal >= unlike).sum()) / (1 + draws)),
    )


def _kurtosis(residuals: Floats) -> Floats:
    squares = residuals**2
    return np.asarray((squares**2).mean(axis=1) / squares.mean(axis=1) ** 2)


@dataclass(frozen=True, eq=False)
class _Design:
    """Which values belong to which candidate and block; sorted by candidate."""

    starts: NDArray[np.int64]  # the first value of each candidate
    numbers: NDArray[np.int64]  # its number of values
    seeds: Floats  # an orthonormal basis of the effects of blocks within candidates

    @classmethod
    def of(cls, candidates: NDArray[np.int64], blocks: NDArray[np.int64]) -> _Design:
        numbers = np.bincount(candidates)
        starts = np.concatenate([[0], np.cumsum(numbers)[:-1]])
        centered = _centered(np.eye(blocks.max() + 1)[blocks].T, starts, numbers)
        basis, lengths, _ = np.linalg.svd(centered.T, full_matrices=False)
        return cls(starts, numbers, basis[:, lengths > 1e-9])

    @property
    def degrees(self) -> int:
        return int(self.numbers.sum() - len(self.numbers) - self.seeds.shape[1])

    def residuals(self, values: Floats) -> Floats:
        """What is left of values, shape (draws, n), without effects of candidates and blocks."""
        centered = _centered(values, self.starts, self.numbers)
        return np.asarray(centered - (centered @ self.seeds) @ self.seeds.T)

    def bartlett(self, residuals: Floats) -> Floats:
        """Bartlett's statistic, up to a factor: sum of (n - 1) ln(pooled / own variance)."""
        degrees = self.numbers - 1
        own = np.add.reduceat(residuals**2, self.starts, axis=1)
        pooled = own.sum(axis=1, keepdims=True) / degrees.sum()
        return np.asarray(-np.log(np.maximum(own / degrees / pooled, _LEAST_VARIANCE)) @ degrees)


def _centered(values: Floats, starts: NDArray[np.int64], numbers: NDArray[np.int64]) -> Floats:
    means = np.add.reduceat(values, starts, axis=1) / numbers
    return np.asarray(values - np.repeat(means, numbers, axis=1))
