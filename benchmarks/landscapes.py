"""Losses whose truth is known, for searches that are simulated: nothing is trained.

A loss is y[c, s] = mu(c) + b_s + e[c, s]. mu is a landscape over the schedules of a family, drawn
again for every repetition; b_s is what seed s does to all candidates; e is noise. A training run
gives the losses of one candidate on one seed block, whose seeds are the same for all candidates.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from dynamoe_search import bench
from dynamoe_search.schedules import (
    PATTERNS_AND_UNIFORM,
    Family,
    Real,
    Schedule,
    Simplex,
    Whole,
    allocate_batch,
    enumerate_schedules,
    make_family,
    pattern_schedule,
)
from dynamoe_search.statistics.shrinkage import expected_means, paired_means

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SEEDS = 4
"""The seeds of a block."""

_POOL = 2**14  # points of a family whose best is taken as the best of the family
_ENUMERATED = 2**14  # a space of at most this number of schedules is known whole
_MODES = 6
_BUMPS = 4


@dataclass(frozen=True)
class Space:
    """The schedules that a search chooses from.

    Parameters
    ----------
    family : {"blend", "free"}
    depth, total : int
    minimum : int
        The fewest experts per layer.
    """

    family: str
    depth: int
    total: int
    minimum: int = 1

    @cached_property
    def points(self) -> Family:
        """The family, in which the peers search."""
        return make_family(self.family, self.total, self.minimum)

    @property
    def dimensions(self) -> list[Real | Whole]:
        """The parameters of the family; that of shares, which has another kind, is not used."""
        every = self.points.search_space(self.depth)
        return [dimension for dimension in every if not isinstance(dimension, Simplex)]

    @cached_property
    def pool(self) -> Integers:
        """Schedules, shape (schedules, depth): all of them, or those of 2^14 Sobol points.

        The named patterns and uniform are among them.
        """
        return _pool(self)


@cache
def _pool(space: Space) -> Integers:
    if space.family == "free":
        every = enumerate_schedules(space.total, space.depth, space.minimum)
        rows = [schedule.counts for _, schedule in zip(range(_ENUMERATED + 1), every, strict=False)]
        if len(rows) <= _ENUMERATED:
            return np.array(rows)
    dimensions = space.dimensions
    names = [dimension.name for dimension in dimensions]
    low = [dimension.low for dimension in dimensions]
    high = [dimension.high for dimension in dimensions]
    draws = qmc.Sobol(len(names), seed=0).random(_POOL) * (np.array(high) - low) + low
    profiles = [
        space.points.profile(dict(zip(names, draw, strict=True)), space.depth) for draw in draws
    ]
    patterns = [
        pattern_schedule(name, space.depth, space.total).counts for name in PATTERNS_AND_UNIFORM
    ]
    counts = allocate_batch(profiles, space.total, space.minimum)
    return np.unique(np.concatenate([counts, patterns]), axis=0)


def coordinates(counts: Integers) -> Floats:
    """The smooth part of schedules: cosine coefficients of the logarithms of their counts.

    c_k = sqrt(2 / L) sum over l of ln(N_l / mean N) cos(pi k (l + 1/2) / L), for k = 1 to 6, or to
    L - 1 if that is less: the first coefficients of the orthonormal discrete cosine transform.

    Parameters
    ----------
    counts : ndarray of int64, shape (schedules, depth)

    Returns
    -------
    ndarray of float64, shape (schedules, min(6, depth - 1))
    """
    depth = counts.shape[1]
    logs = np.log(counts / counts.mean(axis=1, keepdims=True))
    k = np.arange(1, min(_MODES, depth - 1) + 1)
    waves = np.cos(np.pi * k[:, None] * (np.arange(depth) + 0.5) / depth)
    return np.asarray(math.sqrt(2 / depth) * logs @ waves.T)


Kind = Literal["bowl", "slope", "bumps"]


@dataclass(frozen=True)
class Landscape:
    """How losses come about: deviations in nats.

    Parameters
    ----------
    space : Space
    kind : {"bowl", "slope", "bumps", "table"}
        The smooth part, of the coordinates c, each over the root mean square of all in the pool:

        - bowl: sum of a_k (c_k - o_k)^2, with a = exp(z / 2) of normal z, and o a random schedule;
        - slope: sum of w_k c_k, with normal w;
        - bumps: -sum over 4 random schedules o of h exp(-|c - o|^2 / 6), h uniform in [0.5, 1].

        "table" takes means and noise from a tabular benchmark instead, and its gap and noise are
        only said; see `_table_problem`.
    gap : float
        By how much the median of the pool's means is above their least. 0: all are equal.
    noise : float
        The deviation of the difference of two candidates, for one seed.
    rough : float
        The deviation of a part that is independent and normal for each schedule, over the spread
        between median and least of the smooth part. The whole is then scaled to the gap.
    seeds : float
        The deviation of what a seed does to all candidates.
    degrees : float
        The degrees of freedom of the noise, which is Student's t; normal where infinite.
    unequal : float
        The deviation of the logarithm of the noise's size between candidates.
    table : str
        The name of the tabular benchmark.
    """

    space: Space
    kind: Kind | Literal["table"]
    gap: float
    noise: float
    rough: float = 0.0
    seeds: float = 0.02
    degrees: float = math.inf
    unequal: float = 0.0
    table: str = ""


@dataclass(frozen=True)
class Problem:
    """One repetition of a landscape: the truth, and the losses of any training run.

    Parameters
    ----------
    space : Space
    surface : callable
        The means of schedules, in nats, given their counts, shape (schedules, depth).
    draw_noise : callable
        Noise of a number of seeds, of deviation 1, given a generator.
    size : float
        The deviation of the noise of one loss.
    seeds : float
    unequal : float
    seed : int
        Decides all that is random.
    """

    space: Space
    surface: Callable[[Integers], Floats]
    draw_noise: Callable[[np.random.Generator], Floats]
    size: float
    seeds: float
    unequal: float
    seed: int
    _known: dict[str, float] = field(default_factory=dict)

    def regret(self, candidate: str) -> float:
        """By how much a candidate's mean is above the least of the pool, in nats; at least 0."""
        if candidate not in self._known:
            counts = np.array([Schedule.parse(candidate).counts])
            self._known[candidate] = max(0.0, float(self.surface(counts)[0] - self._least))
        return self._known[candidate]

    def losses(self, candidate: str, block: int) -> tuple[float, ...]:
        """The losses of a training run, one per seed of the block."""
        size = self.size
        if self.unequal:
            deviate = self._generator("size", candidate).standard_normal()
            # So that the mean square is that of the noise.
            size *= math.exp(self.unequal * deviate - self.unequal**2)
        noise = size * self.draw_noise(self._generator("noise", candidate, str(block)))
        of_seeds = self.seeds * self._generator("seeds", str(block)).standard_normal(SEEDS)
        return tuple((1 + self.regret(candidate) + of_seeds + noise).tolist())

    @cached_property
    def _least(self) -> float:
        return float(self.surface(self.space.pool).min())

    def _generator(self, *about: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *map(zlib.crc32, map(str.encode, about))])


def make_problem(landscape: Landscape, repetition: int) -> Problem:
    """A repetition of a landscape.

    Parameters
    ----------
    landscape : Landscape
    repetition : int
        The same number gives the same truth and the same losses.
    """
    if landscape.kind == "table":
        return _table_problem(landscape, repetition)
    raw = _raw_surface(landscape, np.random.default_rng([repetition, 1]))
    values = raw(landscape.space.pool)
    scale = landscape.gap / (np.median(values) - values.min())

    def draw_noise(generator: np.random.Generator) -> Floats:
        if math.isinf(landscape.degrees):
            return generator.standard_normal(SEEDS)
        variance = landscape.degrees / (landscape.degrees - 2)
        return generator.standard_t(landscape.degrees, SEEDS) / math.sqrt(variance)

    return Problem(
        landscape.space,
        lambda counts: scale * raw(counts),
        draw_noise,
        landscape.noise / math.sqrt(2),
        landscape.seeds,
        landscape.unequal,
        repetition,
    )


def _raw_surface(
    landscape: Landscape, generator: np.random.Generator
) -> Callable[[Integers], Floats]:
    pool = coordinates(landscape.space.pool)
    unit = math.sqrt(float((pool**2).mean()))
    smooth = _smooth_surface(landscape.kind, pool / unit, generator)
    values = smooth(pool / unit)
    deviation = landscape.rough * float(np.median(values) - values.min())
    keys = generator.integers(2**63, size=landscape.space.depth, dtype=np.uint64) * 2 + 1

    def surface(counts: Integers) -> Floats:
        whole = smooth(coordinates(counts) / unit)
        return whole + deviation * _normal_of(counts, keys) if deviation else whole

    return surface


def _smooth_surface(
    kind: str, pool: Floats, generator: np.random.Generator
) -> Callable[[Floats], Floats]:
    modes = pool.shape[1]
    match kind:
        case "bowl":
            weights = np.exp(generator.standard_normal(modes) / 2)
            best = pool[generator.integers(len(pool))]
            return lambda c: np.asarray((c - best) ** 2 @ weights)
        case "slope":
            direction = generator.standard_normal(modes)
            return lambda c: np.asarray(c @ direction)
        case "bumps":
            centers = pool[generator.integers(len(pool), size=_BUMPS)]
            heights = generator.uniform(0.5, 1.0, _BUMPS)

            def bumps(c: Floats) -> Floats:
                squares = ((c[:, None] - centers) ** 2).sum(axis=2)
                return np.asarray(-np.exp(-squares / 6) @ heights)

            return bumps
    raise ValueError(kind)


def _normal_of(counts: Integers, keys: NDArray[np.uint64]) -> Floats:
    """A normal deviate for each schedule: the same for the same counts and keys.

    The last steps are those of splitmix64 (Steele, Lea and Flood 2014).
    """
    mixed = (counts.astype(np.uint64) * keys).sum(axis=1, dtype=np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(norm.ppf((mixed >> np.uint64(11)).astype(np.float64) / 2**53 + 2.0**-54))


def _table_problem(landscape: Landscape, repetition: int) -> Problem:
    """Truth and noise of a tabular benchmark of schedules.

    The truth is the expected means of its schedules (shrunk by their noise, see
    `dynamoe_search.statistics.shrinkage`). The noise of a loss is drawn, with replacement, from the
    residuals of the two-way layout of schedules and seeds, scaled to the variance that their
    degrees of freedom tell. So there are more blocks than were recorded, and the truth is known.
    """
    truth, residuals, seeds = _table(landscape.table)
    space = landscape.space
    place = {tuple(row): at for at, row in enumerate(space.pool.tolist())}
    size = float(residuals.std())
    return Problem(
        space,
        lambda counts: truth[[place[tuple(row)] for row in counts.tolist()]],
        lambda generator: generator.choice(residuals, SEEDS) / size,
        size,
        seeds,
        0.0,
        repetition,
    )


@cache
def _table(name: str) -> tuple[Floats, Floats, float]:
    """Means in the order of the space's pool, residuals, and the deviation of seeds' effects."""
    losses = bench.load(name).losses.to_numpy(np.float64)
    rows, columns = losses.shape
    found = paired_means(losses)
    of_seeds = losses.mean(axis=0)
    residuals = losses - found.means[:, None] - of_seeds + losses.mean()
    residuals *= math.sqrt(rows * columns / ((rows - 1) * (columns - 1)))
    return expected_means(found.means, found.error), residuals.ravel(), float(of_seeds.std(ddof=1))


_SMALL = Space("free", 4, 16)
_DIGITS = Space("blend", 8, 32, 2)
_MIDDLE = Space("blend", 12, 48)
_DEEP = Space("blend", 24, 96)

LANDSCAPES = {
    "slope, 4 layers": Landscape(_SMALL, "slope", gap=0.006, noise=0.010),
    "bowl, 8 layers": Landscape(_DIGITS, "bowl", gap=0.010, noise=0.010),
    "rough bowl, 8 layers": Landscape(_DIGITS, "bowl", gap=0.010, noise=0.010, rough=0.25),
    "bumps, 12 layers, noisy": Landscape(_MIDDLE, "bumps", gap=0.014, noise=0.030),
    "rough bumps, 12 layers": Landscape(_MIDDLE, "bumps", gap=0.014, noise=0.014, rough=0.25),
    "bowl, 24 layers, small gap": Landscape(_DEEP, "bowl", gap=0.003, noise=0.003),
    "slope, 24 layers": Landscape(_DEEP, "slope", gap=0.010, noise=0.020),
    "digits table, 4 layers": Landscape(
        Space("free", 4, 12), "table", gap=0.0036, noise=0.0190, table="digits-4x12"
    ),
    "text table, 4 layers": Landscape(
        Space("free", 4, 16, 2), "table", gap=0.0392, noise=0.0255, table="text-4x16"
    ),
    "active table, 4 layers": Landscape(  # of active experts: 2 per layer on average
        Space("free", 4, 8), "table", gap=0.0138, noise=0.0225, table="text-4x32-active"
    ),
}
"""The published ones: gaps of 0.003 to 0.014 nats, or as in a table; noise of 0.003 to 0.03; 4 to
24 layers."""
