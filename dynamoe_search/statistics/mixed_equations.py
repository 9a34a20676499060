"""The two-way model with known ratios of its deviations: least squares, and how likely they are.

The model is that of `dynamoe_search.statistics.two_way`: y = m + a[c] + s[b] + e.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CrossProducts:
    """The sums of products of the columns (1, one for each block, value): all that a fit needs.

    They are split into what lies within candidates and what lies between them, the latter by the
    number of values of a candidate. So the time of a fit does not depend on how many candidates
    there are.

    Parameters
    ----------
    within : ndarray of float64, shape (2 + B, 2 + B)
    between : ndarray of float64, shape (sizes, 2 + B, 2 + B)
    sizes : ndarray of float64, shape (sizes,)
        The numbers of values of a candidate that occur.
    candidates : ndarray of int64, shape (sizes,)
        How many candidates have as many.
    degrees : int
        The number of values, less 1.
    """

    within: Floats
    between: Floats
    sizes: Floats
    candidates: NDArray[np.int64]
    degrees: int

    @classmethod
    def of(
        cls, counts: Floats, totals: Floats, deviations: Floats, blocks: NDArray[np.int64]
    ) -> CrossProducts:
        """The sums of products.

        Parameters
        ----------
        counts : ndarray of float64, shape (C, B)
            How many values each candidate has of each block.
        totals : ndarray of float64, shape (C,)
            The sum of the values of each candidate.
        deviations : ndarray of float64, shape (n,)
            The values less the mean of their candidate.
        blocks : ndarray of int64, shape (n,)
            The block of each.
        """
        number = counts.sum(axis=1)
        within = np.zeros((counts.shape[1] + 2,) * 2)
        within[1:-1, 1:-1] = np.diag(counts.sum(axis=0)) - counts.T @ (counts / number[:, None])
        within[1:-1, -1] = within[-1, 1:-1] = np.bincount(blocks, deviations, counts.shape[1])
        within[-1, -1] = deviations @ deviations
        sums = np.column_stack([number, counts, totals]) / np.sqrt(number)[:, None]
        sizes, candidates = np.unique(number, return_counts=True)
        between = np.stack([sums[number == size].T @ sums[number == size] for size in sizes])
        return cls(within, between, sizes, candidates, len(deviations) - 1)


@dataclass(frozen=True, eq=False)
class Solutions:
    """Solutions of the mixed model equations, one for each pair of ratios.

    Parameters
    ----------
    log_likelihood : ndarray of float64, shape (G,)
        Up to a constant.
    effects : ndarray of float64, shape (G, 1 + B)
        The expected m, and each s[b].
    covariance : ndarray of float64, shape (G, 1 + B, 1 + B)
        Their covariance, over sigma^2.
    variance : ndarray of float64, shape (G,)
        The estimate of sigma^2.
    """

    log_likelihood: Floats
    effects: Floats
    covariance: Floats
    variance: Floats


def solve_mixed_equations(products: CrossProducts, ratios: Floats, least: float) -> Solutions:
    """Solve Henderson's mixed model equations, with a flat prior on m and 1 / sigma on sigma.

    With sigma^2 V the covariance of the n values and Q their generalized sum of squares around m,
    the likelihood with m and sigma integrated, which is the restricted one, is
    |V|^(-1/2) (1' V^-1 1)^(-1/2) Q^(-(n - 1) / 2), up to a constant (Harville 1974). Candidates'
    effects are taken out by Woodbury's identity, so that equations of size 1 + B are left.

    Parameters
    ----------
    products : CrossProducts
    ratios : ndarray of float64, shape (G, 2)
        tau / sigma and omega / sigma.
    least : float
        Added to the estimates of sigma^2: what rounding alone leaves.
    """
    spread = 1 + np.outer(ratios[:, 0] ** 2, products.sizes)
    sums = products.within + np.tensordot(1 / spread, products.between, 1)
    # Seeds' effects are in units of omega, so that omega may be 0.
    units = np.repeat(ratios[:, 1:], sums.shape[1] - 1, axis=1)
    units[:, 0] = 1
    in_pairs = units[:, :, None] * units[:, None, :]
    normal = sums[:, :-1, :-1] * in_pairs
    normal[:, 1:, 1:] += np.eye(units.shape[1] - 1)
    right = sums[:, :-1, -1] * units
    inverse = np.linalg.inv(normal)
    solved = (inverse @ right[:, :, None])[:, :, 0]
    explained = (right * solved).sum(axis=1)
    variance = np.maximum(sums[:, -1, -1] - explained, 0) / products.degrees + least
    determinants = np.log(spread) @ products.candidates + np.linalg.slogdet(normal)[1]
    return Solutions(
        -0.5 * (determinants + products.degrees * np.log(variance)),
        solved * units,
        inverse * in_pairs,
        variance,
    )
