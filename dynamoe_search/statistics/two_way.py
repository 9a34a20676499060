"""The two-way model: what of a measured value is the candidate's, what the seed's, what is noise.

    y[c, b] = m + a[c] + s[b] + e[c, b]

with a ~ N(0, tau^2), s ~ N(0, omega^2) and e ~ N(0, sigma^2). A candidate c can have any number of
blocks b; in a study each seed is one. What it is worth is m + a[c], its mean over all seeds.

What is not known is not assumed: m has a flat prior and sigma the prior 1 / sigma; tau / sigma and
omega / sigma have half-Cauchy priors of scale 1 (Gelman 2006), so that candidates may well be
equal. m, a, s and sigma are integrated in closed form, and the two ratios on a grid.

The posterior depends on all values and on nothing else. So it holds for the candidate that was
picked for being best, and whatever rule decided from earlier values what to train next. (Fixed
effects by least squares would not: where only leaders are trained on further seeds, their first
values were lucky, the later seeds look bad, and all others look worse than they are.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.statistics.intervals import CONFIDENCE, studentized_range
from dynamoe_search.statistics.mixed_equations import CrossProducts, solve_mixed_equations
from dynamoe_search.statistics.mixture import mixture_quantile

Floats = NDArray[np.float64]

_RATIOS = (1e-3, 1e4)  # the range of tau / sigma, and of omega / sigma
_POINTS = 16  # of the grid, for each ratio
_ZOOMS = 3
_MOST_QUANTILES = 200  # that are computed for a pattern of blocks
_NEGLIGIBLE = 1e-4  # a weight, over the largest
_LEAST_NOISE = 1e-7  # over the standard deviation of all values; below it, arithmetic is not exact
_ROUNDING = 1e-12  # what arithmetic leaves, of values of size 1


@dataclass(frozen=True, eq=False)
class TwoWay:
    """The posterior of the two-way model: a mixture over the points of a grid.

    Below, C is the number of candidates, B of blocks and G of points. Values are less `center`,
    over `scale`.

    Parameters
    ----------
    candidates : Index of str
        Sorted; of length C.
    blocks : Index of int
        Sorted; of length B.
    counts : ndarray of float64, shape (C, B)
        How many values each candidate has of each block.
    totals : ndarray of float64, shape (C,)
        The sum of the values of each candidate.
    center, scale : float
    weights : ndarray of float64, shape (G,)
        The probability of each point; they sum to 1.
    ratios : ndarray of float64, shape (G, 2)
        tau / sigma and omega / sigma.
    effects : ndarray of float64, shape (G, 1 + B)
        The expected m, and each s[b].
    covariance : ndarray of float64, shape (G, 1 + B, 1 + B)
        Their covariance, over sigma^2.
    variance : ndarray of float64, shape (G,)
        The estimate of sigma^2: 0 where the values of a candidate never differ, NaN where no
        candidate has two.
    degrees : int
        The degrees of freedom of `variance`.
    """

    candidates: pd.Index
    blocks: pd.Index
    counts: Floats
    totals: Floats
    center: float
    scale: float
    weights: Floats
    ratios: Floats
    effects: Floats
    covariance: Floats
    variance: Floats
    degrees: int

    @property
    def noise(self) -> float:
        """sigma: the standard deviation of what is neither the candidate's nor the seed's."""
        return float(self.scale * np.sqrt(self.variance @ self.weights))

    def expected(self, counts: ArrayLike, totals: ArrayLike) -> Floats:
        """What candidates are expected to be worth that have these values; shape (n,).

        The effects of the seeds, and the variances, stay those of this posterior.

        Parameters
        ----------
        counts : array_like of float, shape (n, B)
            How many values of each block; at least one in all.
        totals : array_like of float, shape (n,)
            Their sums.
        """
        counts, totals = np.asarray(counts, np.float64), np.asarray(totals, np.float64)
        terms = self._terms(counts)
        standard = (totals - counts.sum(axis=1) * self.center) / self.scale
        offset, share = self.weights @ terms.offset, self.weights @ terms.share
        return np.asarray(
            self.center + self.scale * (offset[terms.of] + share[terms.of] * standard)
        )

    def means(self) -> pd.DataFrame:
        """What each candidate is expected to be worth, with its 95 % interval.

        Returns
        -------
        DataFrame
            Indexed by candidate: ``mean``, ``low`` and ``high``. 2.5 % of the posterior lie below
            ``low``, and 2.5 % above ``high``; both are NaN where no candidate has two values.
        """
        tail = (1 - CONFIDENCE) / 2
        columns = {
            "mean": self._located @ self.weights,
            "low": self._quantile(tail),
            "high": self._quantile(1 - tail),
        }
        return self.center + self.scale * pd.DataFrame(columns, index=self.candidates)

    def _quantile(self, level: float) -> Floats:
        """A quantile of each candidate's posterior; shape (C,).

        Of candidates with the same pattern of blocks it depends on their totals alone. Where there
        are many, it is interpolated between some totals, to less than 1e-4 of the posterior's
        deviation.
        """
        terms = self._terms(self.counts)
        own = terms.share + ((terms.design @ self.covariance) * terms.design).sum(axis=-1)
        scales = np.sqrt(self.variance[:, None] * own)
        found = np.empty(len(self.totals))
        for pattern in range(scales.shape[1]):
            mine = terms.of == pattern
            totals = np.unique(self.totals[mine])
            if len(totals) > _MOST_QUANTILES:
                totals = np.linspace(totals[0], totals[-1], _MOST_QUANTILES)
            means = terms.offset[:, pattern] + terms.share[:, pattern] * totals[:, None]
            widths = np.broadcast_to(scales[:, pattern], means.shape)
            ends = mixture_quantile(level, means, widths, self.weights, self.degrees)
            found[mine] = np.interp(self.totals[mine], totals, ends)
        return found

    def margins(self, references: ArrayLike) -> Floats:
        """How much worse than a reference a candidate must be expected to be to be significant.

        Tukey's quantile of the studentized range, times the standard deviation of the difference,
        over sqrt(2). So any difference is claimed wrongly in at most 5 % of studies, also to the
        best, and also where many candidates are equal, which the priors do not foresee.

        Parameters
        ----------
        references : array_like of int, shape (R,)
            Places of candidates.

        Returns
        -------
        ndarray of float64, shape (R, C)
            0 for a candidate and itself; infinite where no candidate has two values.
        """
        candidates, blocks = self.counts.shape
        degrees = max(1, int(self.counts.sum()) - candidates - blocks + 1)
        quantile = studentized_range(max(2, candidates), degrees) / math.sqrt(2)
        return np.nan_to_num(quantile * self.deviations(references), nan=np.inf)

    def deviations(self, references: ArrayLike) -> Floats:
        """The standard deviations of the differences of candidates to references.

        Parameters
        ----------
        references : array_like of int, shape (R,)
            Places of candidates.

        Returns
        -------
        ndarray of float64, shape (R, C)
            NaN where no candidate has two values.
        """
        places = np.atleast_1d(references)
        terms = self._terms(self.counts)
        # The difference of two designs d and e has the variance d'Kd + e'Ke - 2 d'Ke at a point.
        weighted = (terms.design @ self.covariance) * (self.variance * self.weights)[:, None, None]
        own = (self.variance * self.weights) @ terms.share + (weighted * terms.design).sum((0, 2))
        of_two = np.einsum(
            "gri,gui->ru", weighted[:, terms.of[places]], terms.design, optimize=True
        )
        squares = own[terms.of[places], None] + own - 2 * of_two
        # The points of the grid differ in where they see the candidates.
        spread = (self._located - (self._located @ self.weights)[:, None]) * np.sqrt(self.weights)
        sizes = (spread**2).sum(axis=1)
        between = sizes[places, None] + sizes - 2 * spread[places] @ spread.T
        squares = squares[:, terms.of] + np.maximum(between, 0)
        squares[np.arange(len(places)), places] *= 0
        return np.asarray(self.scale * np.sqrt(squares))

    @cached_property
    def _located(self) -> Floats:
        """The expected mean of each candidate at each point; shape (C, G)."""
        terms = self._terms(self.counts)
        return np.asarray((terms.offset[:, terms.of] + terms.share[:, terms.of] * self.totals).T)

    def _terms(self, counts: Floats) -> _Terms:
        patterns, of = np.unique(counts, axis=0, return_inverse=True)
        number = patterns.sum(axis=1)
        share = 1 / (self.ratios[:, :1] ** -2.0 + number)
        design = -share[:, :, None] * np.column_stack([number, patterns])
        design[:, :, 0] += 1
        return _Terms(of, share, design, (design @ self.effects[:, :, None])[:, :, 0])


@dataclass(frozen=True, eq=False)
class _Terms:
    """A candidate's expected mean is offset + share * total, by the pattern of its blocks.

    `of` is the pattern of each candidate. `share` and `offset` have shape (G, patterns); the offset
    is design @ effects, with a design of shape (G, patterns, 1 + B).
    """

    of: NDArray[np.int64]
    share: Floats
    design: Floats
    offset: Floats


def fit_two_way(values: pd.Series, candidates: pd.Series, blocks: pd.Series) -> TwoWay:
    """The posterior of the two-way model.

    Parameters
    ----------
    values : Series of float
        One for each candidate and seed. Those that are not finite are left out; at least one is.
    candidates, blocks : Series
        The candidate and the block (the seed) of each.

    Examples
    --------
    >>> values = pd.Series([1.0, 1.3, 2.1, 2.2, 3.2])
    >>> found = fit_two_way(values, pd.Series(list("aabbc")), pd.Series([0, 1, 0, 1, 1]))
    >>> found.means().round(1).loc["a"].tolist()
    [1.3, 0.4, 2.5]
    """
    finite = np.isfinite(values.to_numpy(np.float64))
    given = values.to_numpy(np.float64)[finite]
    of, names = pd.factorize(candidates[finite], sort=True)
    on, distinct = pd.factorize(blocks[finite], sort=True)
    center = float(given.mean())
    rounding = _ROUNDING * float(np.abs(given).max())
    scale = max(float(given.std()), rounding) or 1.0
    standard = (given - center) / scale
    counts = np.zeros((len(names), len(distinct)))
    np.add.at(counts, (of, on), 1)
    totals = np.zeros(len(names))
    np.add.at(totals, of, standard)
    effects = np.zeros((1, 1 + len(distinct)))
    # Without shrinkage and effects a candidate is expected to be worth the mean of its values.
    posterior = TwoWay(
        candidates=pd.Index(names, name="candidate"),
        blocks=pd.Index(distinct),
        counts=counts,
        totals=totals,
        center=center,
        scale=scale,
        weights=np.ones(1),
        ratios=np.array([[np.inf, 0.0]]),
        effects=effects,
        covariance=effects[:, :, None] * effects[:, None, :],
        variance=np.full(1, np.nan),
        degrees=len(given) - 1,
    )
    if len(given) == len(names):
        return posterior
    within = standard - (totals / counts.sum(axis=1))[of]
    if within @ within <= len(given) * (rounding / scale) ** 2:
        return replace(posterior, variance=np.zeros(1))
    products = CrossProducts.of(counts, totals, within, on)
    low, high = np.log(np.array([_RATIOS, _RATIOS]).T)
    for _ in range(_ZOOMS):
        axes = np.linspace(low, high, _POINTS)  # a column for each ratio
        points = np.stack(np.meshgrid(*axes.T, indexing="ij"), axis=-1).reshape(-1, 2)
        solved = solve_mixed_equations(products, np.exp(points), _LEAST_NOISE**2)
        logs = solved.log_likelihood + _log_prior(points)
        weights = np.exp(logs - logs.max())
        kept = weights > _NEGLIGIBLE
        step = (high - low) / (_POINTS - 1)
        low = np.maximum(low, points[kept].min(axis=0) - step)
        high = np.minimum(high, points[kept].max(axis=0) + step)
    return replace(
        posterior,
        weights=weights[kept] / weights[kept].sum(),
        ratios=np.exp(points[kept]),
        effects=solved.effects[kept],
        covariance=solved.covariance[kept],
        variance=solved.variance[kept],
    )


def _log_prior(log_ratios: Floats) -> Floats:
    """The density of the logarithms of two ratios with half-Cauchy priors, up to a constant."""
    return np.asarray((log_ratios - np.log1p(np.exp(2 * log_ratios))).sum(axis=1))


def estimate_means(values: pd.Series, candidates: pd.Series, blocks: pd.Series) -> pd.DataFrame:
    """What the mean of each candidate over all seeds is expected to be, with its 95 % interval.

    Parameters
    ----------
    values : Series of float
        One for each candidate and seed. NaN are left out; an infinite one makes its candidate's
        mean infinite, and is left out of the others'.
    candidates, blocks : Series
        The candidate and the block (the seed) of each.

    Returns
    -------
    DataFrame
        Indexed by candidate, sorted: ``mean``, ``low`` and ``high``, by the two-way model. Where
        the values of a candidate never differ, they are these values; where no candidate has two,
        the ends are NaN. All are NaN for a candidate without values.

    Examples
    --------
    >>> values = pd.Series([1.0, 1.3, 2.1, 2.2, 3.2])
    >>> blocks = pd.Series([0, 1, 0, 1, 1])
    >>> estimate_means(values, pd.Series(list("aabbc")), blocks)["mean"].round(1).tolist()
    [1.3, 2.1, 2.9]
    """
    plain = values.groupby(candidates, sort=True).mean()
    table = pd.DataFrame({"mean": plain, "low": np.nan, "high": np.nan})
    finite = np.isfinite(values)
    if finite.any():
        posterior = fit_two_way(values, candidates, blocks)
        table.loc[posterior.candidates] = posterior.means()
        if (posterior.variance == 0).all():  # equal values stay equal, without what rounding leaves
            first = values[finite].groupby(candidates[finite]).first()
            table.loc[first.index] = np.repeat(first.to_numpy()[:, None], 3, axis=1)
    table[np.isinf(plain)] = np.inf
    return table
