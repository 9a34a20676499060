"""A ladder: how the difference of two candidates changes with training FLOPs.

Every candidate is trained at several scales from the same seeds. So each seed is a ladder of its
own, and each quantity here is a mean over seeds of a number that is known per seed: Student's t is
exact for normal noise, however unequal the noise of the scales, and whatever they share. No weight
is estimated from the noise, which would make intervals too short with few seeds.

C are the training FLOPs of a scale, l = ln(C / C_0), and C_0 is their geometric mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import CONFIDENCE

LEAST_SCALES = 3
"""Two scales have a line, and nothing that shows whether it is one."""
STEEPEST = 2.0
"""The exponents that are tried are at most this, up or down; those of losses are far less."""
_EXPONENTS = np.linspace(-STEEPEST, STEEPEST, 801)

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; an end that the data do not bound is infinite."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DifferenceFit:
    """A difference of losses over training FLOPs.

    Parameters
    ----------
    flops : ndarray of float64, shape (scales,)
        Training FLOPs, increasing.
    differences : ndarray of float64, shape (seeds, scales)
        The candidate's loss less the reference's, in nats.
    slope : Estimate
        Of a straight line over log FLOPs: nats per decade (factor of 10) of FLOPs.
    exponent : Estimate
        b of the power law difference = a C^b: below 0 where the difference shrinks.
    p_line : float
        The p value of the hypothesis that the mean differences lie on a line over log FLOPs.
    p_power : float
        Likewise, on a power law of FLOPs; approximate, at the exponent that was found.
    """

    flops: _Array
    differences: _Array
    slope: Estimate
    exponent: Estimate
    p_line: float
    p_power: float

    @property
    def keeps_sign(self) -> bool:
        """Whether the mean difference has the same sign at each scale."""
        signs = np.sign(self.differences.mean(axis=0))
        return bool((signs == signs[0]).all())

    def line_at(self, flops: float) -> Estimate:
        """The difference that the straight line predicts."""
        at, logs = self._log(flops), _centered_logs(self.flops)
        of_seeds = self.differences.mean(axis=1) + self.differences @ logs / (logs @ logs) * at
        return mean_estimate(of_seeds)

    def power_at(self, flops: float) -> Estimate:
        """The difference that the power law predicts.

        The interval is that of a, given b, united over all b of a 97.5 % interval, and itself of
        97.5 %: together at least 95 % (Bonferroni).
        """
        confidence = (1 + CONFIDENCE) / 2
        at, logs = self._log(flops), _centered_logs(self.flops)
        accepted = _accepted(logs, self.differences, confidence)
        curves = np.exp(np.outer(_EXPONENTS, logs))
        factors = self.differences @ (curves / (curves**2).sum(axis=1, keepdims=True)).T
        grown = np.exp(_EXPONENTS * at)
        half = _half_width(factors, confidence)
        low, high = (factors.mean(axis=0) - half) * grown, (factors.mean(axis=0) + half) * grown
        best = np.exp(self.exponent.value * logs)
        factor = float((self.differences @ best).mean() / (best @ best))
        value = factor * math.exp(self.exponent.value * at)
        ends = [float(low[accepted].min()), float(high[accepted].max())]
        # Exponents that are steeper still are not excluded: they have any value where they grow.
        if (accepted[-1] and at > logs[-1]) or (accepted[0] and at < logs[0]):
            ends = [-math.inf if ends[0] < 0 else ends[0], math.inf if ends[1] > 0 else ends[1]]
        return Estimate(value, ends[0], ends[1])

    def _log(self, flops: float) -> float:
        if not 0 < flops < math.inf:
            raise InvalidInput(f"training FLOPs are {flops:g}; they must be above 0 and finite")
        return math.log(flops) - float(np.log(self.flops).mean())


def fit_difference(flops: ArrayLike, differences: ArrayLike) -> DifferenceFit:
    """Fit a line over log FLOPs, and a power law, to the differences of two candidates.

    The line's slope is the mean of the seeds' own slopes. The power law difference = a C^b is
    fitted by least squares; its b solves sum over scales of w_b d = 0 with x = exp(b l) and
    w_b = (l - sum(l x^2) / sum(x^2)) x, which is 0 on average at the true b. So the b at which a t
    test over seeds does not reject that are an exact confidence set, as in Fieller's method.

    Parameters
    ----------
    flops : array_like of float, shape (scales,)
        At least 3 scales, of increasing FLOPs.
    differences : array_like of float, shape (seeds, scales)
        Losses in nats, less those of the reference; at least 2 seeds.

    Raises
    ------
    InvalidInput
        For fewer than 3 scales or 2 seeds, FLOPs that do not grow, or values that are not finite.

    Examples
    --------
    >>> fit = fit_difference([1e12, 1e13, 1e14], [[0.04, 0.02, 0.01], [0.044, 0.022, 0.011]])
    >>> round(fit.exponent.value, 3), fit.keeps_sign, round(fit.power_at(1e15).value, 3)
    (-0.301, True, 0.005)
    """
    sizes, values = _checked(flops, differences)
    logs = _centered_logs(sizes)
    slope = mean_estimate(values @ logs / (logs @ logs) * math.log(10))
    p_line = _lack_of_fit(np.column_stack([np.ones_like(logs), logs]), values)
    exponent = _exponent(logs, values)
    curve = np.exp(exponent.value * logs)
    p_power = _lack_of_fit(np.column_stack([curve, logs * curve]), values)
    return DifferenceFit(sizes, values, slope, exponent, p_line, p_power)


def compute_multipliers(
    flops: ArrayLike, reference: ArrayLike, losses: ArrayLike
) -> list[Estimate]:
    """How many times its compute the reference needs for the candidate's loss, at each scale.

    The reference's losses are taken as a power law of training FLOPs, loss ~ C^-s, without a floor,
    which few scales cannot show: ln multiplier = (ln of the reference's loss - ln of the
    candidate's) / s. That is the ratio of two means over seeds, with Fieller's interval (1954).
    Above 1 the candidate is better; below 1 it is the candidate that needs 1 / multiplier times as
    much.

    Parameters
    ----------
    flops : array_like of float, shape (scales,)
    reference, losses : array_like of float, shape (seeds, scales)
        Above 0, of the same seeds.

    Examples
    --------
    >>> flops = [1e12, 1e13, 1e14]
    >>> reference = [[2.00, 1.00, 0.50], [2.02, 1.01, 0.505]]
    >>> candidate = [[1.80, 0.90, 0.45], [1.83, 0.91, 0.456]]
    >>> [round(one.value, 2) for one in compute_multipliers(flops, reference, candidate)]
    [1.4, 1.42, 1.41]
    """
    sizes, of_reference = _checked(flops, reference)
    _, of_candidate = _checked(flops, losses)
    if min(of_reference.min(), of_candidate.min()) <= 0:
        raise InvalidInput("losses must be above 0")
    logs = _centered_logs(sizes)
    slopes = -np.log(of_reference) @ logs / (logs @ logs)
    gains = np.log(of_reference) - np.log(of_candidate)
    ratios = [_ratio_of_means(gains[:, place], slopes) for place in range(len(sizes))]
    return [Estimate(*(_exp(end) for end in (one.value, one.low, one.high))) for one in ratios]


def mean_estimate(of_seeds: ArrayLike) -> Estimate:
    """The mean of one number per seed, with the interval of Student's t."""
    values = np.asarray(of_seeds, dtype=np.float64)
    mean, half = float(values.mean()), float(_half_width(values, CONFIDENCE))
    return Estimate(mean, mean - half, mean + half)


def _checked(flops: ArrayLike, values: ArrayLike) -> tuple[_Array, _Array]:
    sizes, table = np.asarray(flops, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1:] != sizes.shape:
        raise InvalidInput("a ladder has a row per seed, and a column for the FLOPs of each scale")
    if len(sizes) < LEAST_SCALES or len(table) < 2:
        raise InvalidInput(
            f"a fit takes at least {LEAST_SCALES} scales with 2 seeds in common; there are"
            f" {len(sizes)} scales with {len(table)}"
        )
    if not (np.isfinite(sizes).all() and sizes[0] > 0 and (np.diff(sizes) > 0).all()):
        raise InvalidInput("the training FLOPs of scales must be above 0, and increase")
    if not np.isfinite(table).all():
        raise InvalidInput("a ladder has a value that is not finite; leave that seed out")
    return sizes, table


def _centered_logs(flops: _Array) -> _Array:
    logs = np.log(flops)
    return np.asarray(logs - logs.mean())


def _half_width(values: _Array, confidence: float) -> _Array:
    """Half the interval of means over the first axis."""
    seeds = len(values)
    quantile = stats.t.ppf((1 + confidence) / 2, seeds - 1)
    return np.asarray(quantile * values.std(axis=0, ddof=1) / math.sqrt(seeds))


def _contrasts(logs: _Array, differences: _Array) -> _Array:
    """The sums of w_b d, shape (seeds, exponents)."""
    curves = np.exp(np.outer(_EXPONENTS, logs))
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)
    middles = (curves**2) @ logs
    return np.asarray(differences @ ((logs - middles[:, None]) * curves).T)


def _accepted(logs: _Array, differences: _Array, confidence: float) -> NDArray[np.bool_]:
    """Whether the t test does not reject each of the exponents, filled up to an interval."""
    contrasts = _contrasts(logs, differences)
    found = np.asarray(np.abs(contrasts.mean(axis=0)) <= _half_width(contrasts, confidence))
    found[_nearest(_best_exponent(logs, differences))] = True
    places = np.flatnonzero(found)
    found[places[0] : places[-1] + 1] = True
    return found


def _best_exponent(logs: _Array, differences: _Array) -> float:
    """The exponent of least squares, between grid points by a parabola."""
    curves = np.exp(np.outer(_EXPONENTS, logs))
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)
    explained = (curves @ differences.mean(axis=0)) ** 2
    best = int(explained.argmax())
    if best in (0, len(_EXPONENTS) - 1):
        return float(_EXPONENTS[best])
    before, here, after = explained[best - 1 : best + 2]
    bend = before - 2 * here + after
    shift = 0.0 if bend == 0 else 0.5 * (before - after) / bend
    return float(_EXPONENTS[best] + shift * (_EXPONENTS[1] - _EXPONENTS[0]))


def _nearest(exponent: float) -> int:
    return int(np.abs(_EXPONENTS - exponent).argmin())


def _exponent(logs: _Array, differences: _Array) -> Estimate:
    accepted = np.flatnonzero(_accepted(logs, differences, CONFIDENCE))
    first, last = int(accepted[0]), int(accepted[-1])
    contrasts = _contrasts(logs, differences)
    excess = np.abs(contrasts.mean(axis=0)) - _half_width(contrasts, CONFIDENCE)
    low = -math.inf if first == 0 else _crossing(excess, first - 1)
    high = math.inf if last == len(_EXPONENTS) - 1 else _crossing(excess, last)
    return Estimate(_best_exponent(logs, differences), low, high)


def _crossing(excess: _Array, place: int) -> float:
    """Where the excess is 0, between a point of the grid and the next."""
    here, there = excess[place], excess[place + 1]
    part = 0.5 if here * there > 0 or here == there else here / (here - there)
    return float(_EXPONENTS[place] + part * (_EXPONENTS[1] - _EXPONENTS[0]))


def _lack_of_fit(model: _Array, values: _Array) -> float:
    """The p value of Hotelling's test that the means over seeds lie in a model's span.

    NaN where there are fewer seeds than it takes, or no noise.
    """
    seeds, scales = values.shape
    rest = scales - model.shape[1]
    left = np.linalg.svd(model)[0][:, model.shape[1] :]
    residuals = values @ left
    covariance = np.atleast_2d(np.cov(residuals, rowvar=False))
    if seeds <= rest or np.linalg.matrix_rank(covariance) < rest:
        return math.nan
    mean = residuals.mean(axis=0)
    statistic = seeds * mean @ np.linalg.solve(covariance, mean)
    return float(stats.f.sf(statistic * (seeds - rest) / (rest * (seeds - 1)), rest, seeds - rest))


def _ratio_of_means(above: _Array, below: _Array) -> Estimate:
    """The ratio of two means over the same seeds, with Fieller's interval."""
    seeds = len(above)
    factor = stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1) ** 2 / seeds
    covariance = np.cov(above, below)
    ratio = above.mean() / below.mean()
    square = below.mean() ** 2 - factor * covariance[1, 1]
    if square <= 0:  # the loss of the reference is not shown to change with compute
        return Estimate(float(ratio), -math.inf, math.inf)
    half_linear = above.mean() * below.mean() - factor * covariance[0, 1]
    constant = above.mean() ** 2 - factor * covariance[0, 0]
    root = math.sqrt(max(0.0, half_linear**2 - square * constant))
    return Estimate(float(ratio), (half_linear - root) / square, (half_linear + root) / square)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
