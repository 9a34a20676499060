"""The landscape of a study: its schedules on a plane, and the loss fitted over it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.linalg import cho_solve
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from dynamoe_search.bounds.budget import random_point
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Family, Schedule, pattern_shape
from dynamoe_search.statistics.intervals import CONFIDENCE, Noise, pooled_noise

Floats = NDArray[np.float64]

FEWEST_CANDIDATES = 8  # of which a surface's width, its height and a noise are fitted
_VAGUE = 100.0  # times the variance of the losses
_LEAST_WIDTH = 1e-6  # where all candidates lie at one place


AXES = ("descending", "pyramid")
"""The map's axes, by the patterns that lie on them: experts early or late, central or at the ends.

They are the same in every study, and those of the two principal components of the blend family, but
for rotation: at 8 layers both show 68 % of its variance.
"""


def relative_counts(counts: ArrayLike) -> Floats:
    """Counts over the mean of their layers: 1 where a layer has as many as the average.

    Examples
    --------
    >>> relative_counts([[3, 1], [4, 4]]).tolist()
    [[1.5, 0.5], [1.0, 1.0]]
    """
    values = np.asarray(counts, dtype=np.float64)
    return np.asarray(values / values.mean(axis=1, keepdims=True))


def place_on_map(counts: ArrayLike) -> Floats:
    """Where schedules lie on the map: how much of each axis' pattern is in their relative counts.

    The coefficients of a least-squares fit of the shapes of `AXES`, each less its mean, which are
    orthogonal. Uniform lies at the origin; a pattern at its contrast, but for rounding to whole
    experts and for the mean of its shape.

    Parameters
    ----------
    counts : array_like of int, shape (schedules, depth)

    Returns
    -------
    ndarray of float64, shape (schedules, 2)

    Raises
    ------
    InvalidInput
        For fewer than 3 layers, whose schedules all lie on a line.

    Examples
    --------
    >>> (place_on_map([[8, 6, 4, 2], [5, 5, 5, 5], [2, 4, 6, 8]]).round(2) + 0).tolist()
    [[0.6, 0.0], [0.0, 0.0], [-0.6, 0.0]]
    """
    relative = relative_counts(counts)
    shapes = _shapes(relative.shape[1])
    return np.asarray((relative @ shapes.T) / (shapes**2).sum(axis=1))


def _shapes(depth: int) -> Floats:
    """The shapes of the axes, less their means; shape (2, depth)."""
    if depth < 3:
        raise InvalidInput(
            f"the schedules of {depth} layers all lie on a line: a map takes 3 layers or more"
        )
    shapes = np.stack([pattern_shape(pattern, depth) for pattern in AXES])
    return np.asarray(shapes - shapes.mean(axis=1, keepdims=True))


def shares_on_map(counts: ArrayLike) -> tuple[float, float]:
    """The part of the variance of schedules' relative counts that each axis shows.

    Parameters
    ----------
    counts : array_like of int, shape (schedules, depth)
        Not all alike.
    """
    places, relative = place_on_map(counts), relative_counts(counts)
    lengths = (_shapes(relative.shape[1]) ** 2).sum(axis=1)
    shown = places.var(axis=0) * lengths / relative.var(axis=0).sum()
    return float(shown[0]), float(shown[1])


def sample_family(family: Family, depth: int, points: int = 1000, seed: int = 0) -> Floats:
    """Profiles from all over a family: random points of its search space.

    Parameters
    ----------
    family : Family
    depth : int
    points : int
    seed : int

    Returns
    -------
    ndarray of float64, shape (points, depth)

    Examples
    --------
    >>> from dynamoe_search.schedules import Blend
    >>> sample_family(Blend(), depth=4, points=3).shape
    (3, 4)
    """
    space, generator = family.search_space(depth), np.random.default_rng(seed)
    return np.array([family.profile(random_point(space, generator), depth) for _ in range(points)])


@dataclass(frozen=True)
class Landscape:
    """The candidates of a study on a plane, and the surface of the loss that was fitted to them.

    Parameters
    ----------
    candidates : DataFrame
        A row a candidate: ``candidate``, ``schedule``, ``pattern``, ``blocks``, ``loss`` (its
        mean validation loss in nats), ``x`` and ``y`` (by `place_on_map`), ``fitted`` and
        ``margin`` (the surface there, and half the width of its 95 % interval).
    reach : ndarray of float64, shape (schedules, 2)
        Places of schedules from all over the family, and of the candidates.
    shares : tuple of float
        The part of the variance of these schedules that each axis shows.
    process : GaussianProcessRegressor
        Of standardized losses.
    noise : Noise
        Of one training.
    foretold : float
        The part of the variance of candidates' losses that the surface foretells when a candidate
        is left out (of its width, which is kept): 1 is perfect, 0 or less no better than the mean.
    """

    candidates: pd.DataFrame
    reach: Floats
    shares: tuple[float, float]
    process: GaussianProcessRegressor
    noise: Noise
    foretold: float

    def surface(self, places: ArrayLike) -> tuple[Floats, Floats]:
        """The fitted mean loss in nats, and half the width of its 95 % interval.

        Parameters
        ----------
        places : array_like of float, shape (n, 2)
        """
        return _surface(self.process, self.candidates["loss"].to_numpy(np.float64), places)


def fit_landscape(runs: pd.DataFrame, reachable: ArrayLike | None = None) -> Landscape:
    """Fit a smooth surface to the mean losses of a study's candidates.

    A Gaussian process with a Matérn kernel (5/2; Rasmussen and Williams 2006, section 4.2) over the
    map of `place_on_map`, of one width for both axes, which have one unit. The noise of a mean of n
    trainings is known from the study's blocks, s / sqrt(n); whatever else the map does not
    show, such as the other directions in which schedules differ, is fitted as further noise. So the
    surface is the mean loss of the schedules that lie at a place, and its uncertainty is that of
    this mean.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it; complete trainings count.
    reachable : array_like of int, shape (schedules, depth), optional
        Schedules from all over the family, to show what it reaches.

    Raises
    ------
    InvalidInput
        With fewer than 8 candidates or 3 layers, or where all losses are equal.
    """
    complete = runs[runs["state"] == "complete"]
    candidates = complete.groupby("candidate", sort=True).agg(
        schedule=("schedule", "first"),
        pattern=("pattern", "first"),
        blocks=("block", "size"),
        loss=("validation_loss", "mean"),
    )
    candidates = candidates[np.isfinite(candidates["loss"])].reset_index()
    if len(candidates) < FEWEST_CANDIDATES:
        raise InvalidInput(
            f"a surface takes at least {FEWEST_CANDIDATES} candidates that are trained in full, and"
            f" this study has {len(candidates)}: raise its runs"
        )
    losses = candidates["loss"].to_numpy(np.float64)
    if np.ptp(losses) == 0:
        raise InvalidInput("all candidates have the same loss: there is no landscape")
    counts = np.array([Schedule.parse(text).counts for text in candidates["schedule"]])
    places = place_on_map(counts)
    noise = pooled_noise(complete["validation_loss"], complete["candidate"])
    error = np.zeros(len(losses))
    if noise.degrees:
        error = noise.deviation / np.sqrt(candidates["blocks"].to_numpy(np.float64))
    process = _fit(places, losses, error)
    candidates[["x", "y"]] = places
    candidates["fitted"], candidates["margin"] = _surface(process, losses, places)
    schedules = counts if reachable is None else np.concatenate([counts, reachable])
    return Landscape(
        candidates,
        place_on_map(schedules),
        shares_on_map(schedules),
        process,
        noise,
        _foretold(process),
    )


def _fit(places: Floats, losses: Floats, error: Floats) -> GaussianProcessRegressor:
    scale = losses.std()
    # No finer than candidates spread: with a dozen or a hundred of them, dells are noise.
    width = max(float(np.sqrt(places.var(axis=0).mean())), _LEAST_WIDTH)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(width, (width, 20 * width), nu=2.5)
    kernel += ConstantKernel(_VAGUE, "fixed")  # the mean of all is not known, either
    kernel += WhiteKernel(0.1, (1e-6, 10.0))
    process = GaussianProcessRegressor(
        kernel, alpha=(error / scale) ** 2 + 1e-9, n_restarts_optimizer=3, random_state=0
    )
    with warnings.catch_warnings():
        # A width at its bound is an answer: the loss does not change along that axis.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(places, (losses - losses.mean()) / scale)


def _surface(
    process: GaussianProcessRegressor, losses: Floats, places: ArrayLike
) -> tuple[Floats, Floats]:
    mean, deviation = process.predict(np.asarray(places, dtype=np.float64), return_std=True)
    # Of the mean at a place, without what single schedules differ by there.
    spread = process.kernel_.k2.noise_level
    own = np.sqrt(np.maximum(deviation**2 - spread, 0))
    quantile = stats.norm.ppf((1 + CONFIDENCE) / 2)
    return losses.mean() + losses.std() * mean, quantile * losses.std() * own


def _foretold(process: GaussianProcessRegressor) -> float:
    """1 - the squared errors of leaving one out, over those of the mean of the others.

    Of a Gaussian process they are K^-1 y over the diagonal of K^-1 (Rasmussen and Williams 2006,
    equation 5.12).
    """
    values = process.y_train_
    inverse = cho_solve((process.L_, True), np.eye(len(values)))
    errors = (inverse @ values) / np.diag(inverse)
    others = (values - values.mean()) * len(values) / (len(values) - 1)
    return float(1 - (errors**2).sum() / (others**2).sum())
