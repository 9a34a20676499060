"""The landscape of a study: its schedules on a map, and a loss surface fitted over the map."""

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
from threadpoolctl import threadpool_limits

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, pattern_shape
from dynamoe_search.statistics.candidates import complete_runs, describe_candidates
from dynamoe_search.statistics.intervals import CONFIDENCE, Noise, pooled_noise

Floats = NDArray[np.float64]

FEWEST_CANDIDATES = 8  # enough to fit a width, a height and a noise
_MEAN_VARIANCE = 100.0  # of the prior on the overall mean, over the variance of the losses
_LEAST_WIDTH = 1e-6  # where all candidates lie at one place
# Width, height and noise need no more candidates than this; fitting them takes time by the cube.
_MOST_TO_FIT = 150

AXES = ("descending", "pyramid")
"""The patterns that lie on the map's axes: experts early or late, and in the middle or at the ends.

The axes are the same in every study. Except for rotation they are the first two principal
components of the blend family: at 8 layers both pairs show 68 % of its variance.
"""


def relative_counts(counts: ArrayLike) -> Floats:
    """Counts divided by their mean over layers: 1 where a layer has as many as the average.

    Parameters
    ----------
    counts : array_like of int, shape (schedules, depth)

    Returns
    -------
    ndarray of float64, shape (schedules, depth)

    Examples
    --------
    >>> relative_counts([[3, 1], [4, 4]]).tolist()
    [[1.5, 0.5], [1.0, 1.0]]
    """
    values = np.asarray(counts, dtype=np.float64)
    return np.asarray(values / values.mean(axis=1, keepdims=True))


def place_on_map(counts: ArrayLike) -> Floats:
    """The positions of schedules on the map: how much of each axis' pattern their counts contain.

    They are the coefficients of a least-squares fit of the centered shapes of `AXES`, which are
    orthogonal, to the relative counts. Uniform lies at the origin. A pattern lies on its axis at
    its contrast, up to the rounding to whole experts and the mean of its shape.

    Parameters
    ----------
    counts : array_like of int, shape (schedules, depth)

    Returns
    -------
    ndarray of float64, shape (schedules, 2)

    Raises
    ------
    InvalidInput
        For fewer than 3 layers, where all schedules lie on one line.

    Examples
    --------
    >>> (place_on_map([[8, 6, 4, 2], [5, 5, 5, 5], [2, 4, 6, 8]]).round(2) + 0).tolist()
    [[0.6, 0.0], [0.0, 0.0], [-0.6, 0.0]]
    """
    relative = relative_counts(counts)
    shapes = _shapes(relative.shape[1])
    return np.asarray((relative @ shapes.T) / (shapes**2).sum(axis=1))


def _shapes(depth: int) -> Floats:
    """The centered shapes of the axes; shape (2, depth)."""
    if depth < 3:
        raise InvalidInput(
            f"schedules of {depth} layers all lie on one line; a map needs at least 3 layers"
        )
    shapes = np.stack([pattern_shape(pattern, depth) for pattern in AXES])
    return np.asarray(shapes - shapes.mean(axis=1, keepdims=True))


def shares_on_map(counts: ArrayLike) -> tuple[float, float]:
    """The share of the variance of schedules' relative counts that each axis shows, from 0 to 1.

    Parameters
    ----------
    counts : array_like of int, shape (schedules, depth)
        Not all equal.
    """
    places, relative = place_on_map(counts), relative_counts(counts)
    lengths = (_shapes(relative.shape[1]) ** 2).sum(axis=1)
    shown = places.var(axis=0) * lengths / relative.var(axis=0).sum()
    return float(shown[0]), float(shown[1])


@dataclass(frozen=True)
class Landscape:
    """The candidates of a study on the map, and the loss surface that was fitted to them.

    Parameters
    ----------
    candidates : DataFrame
        One row per candidate: ``candidate``, ``schedule``, ``settings``, ``pattern``, ``group``,
        ``seeds``, ``loss`` (mean validation loss in nats), ``x`` and ``y`` (by `place_on_map`),
        ``fitted`` and ``margin`` (the surface there, and half the width of its 95 % interval).
    reach : ndarray of float64, shape (schedules, 2)
        The positions of the candidates and of schedules from all over the family.
    shares : tuple of float
        The share of the variance of these schedules that each axis shows.
    process : GaussianProcessRegressor
        The surface, of standardized losses.
    noise : Noise
        The noise of one training run.
    predictive_r2 : float
        The leave-one-out R^2: the share of the variance of candidates' losses that the surface
        predicts without the candidate, at the same width. 1 is perfect; 0 is no better than the
        mean of the others.
    of_active : bool
        Whether the map is of active schedules, as where these alone were searched.
    """

    candidates: pd.DataFrame
    reach: Floats
    shares: tuple[float, float]
    process: GaussianProcessRegressor
    noise: Noise
    predictive_r2: float
    of_active: bool = False

    def surface(self, places: ArrayLike) -> tuple[Floats, Floats]:
        """The fitted mean loss in nats, and half the width of its 95 % interval.

        Parameters
        ----------
        places : array_like of float, shape (n, 2)

        Returns
        -------
        loss, margin : ndarray of float64, shape (n,)
        """
        return _surface(self.process, self.candidates["loss"].to_numpy(np.float64), places)


def fit_landscape(runs: pd.DataFrame, reachable: ArrayLike | None = None) -> Landscape:
    """Fit a smooth surface to the mean losses of a study's candidates.

    A Gaussian process with a Matérn 5/2 kernel (Rasmussen and Williams 2006, section 4.2) over the
    map of `place_on_map`, with the same width for both axes. The noise of a mean of n runs,
    s / sqrt(n), is known from the study's seeds. What the map does not show, such as other
    differences between schedules, is fitted as further noise. So the surface is the mean loss of
    the schedules at a position, and its interval is that of this mean. Width, height and further
    noise are fitted to at most 150 candidates, an even sample by loss; the surface, to all.

    Where all candidates have one schedule and differ in their active ones, the map is of these.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.
    reachable : array_like of int, shape (schedules, depth), optional
        Schedules from all over the family, to show how much of the map it reaches.

    Raises
    ------
    InvalidInput
        If there are fewer than 8 candidates or 3 layers, or all schedules or losses are equal.
    """
    complete = complete_runs(runs)
    candidates = describe_candidates(complete).drop(columns="feasible")
    candidates["loss"] = complete.groupby("candidate", sort=True)["validation_loss"].mean()
    candidates = candidates[np.isfinite(candidates["loss"])].reset_index()
    if len(candidates) < FEWEST_CANDIDATES:
        raise InvalidInput(
            f"a surface needs at least {FEWEST_CANDIDATES} candidates with complete training runs,"
            f" and this study has {len(candidates)}; raise search.runs in the study file"
        )
    losses = candidates["loss"].to_numpy(np.float64)
    if np.ptp(losses) == 0:
        raise InvalidInput("all candidates have the same loss, so there is no landscape")
    of_active = "active_schedule" in candidates and candidates["schedule"].nunique() == 1
    texts = candidates["active_schedule" if of_active else "schedule"]
    counts = np.array([Schedule.parse(text).counts for text in texts])
    if (counts == counts[0]).all():
        raise InvalidInput("all candidates have the same schedule, so there is no landscape")
    places = place_on_map(counts)
    noise = pooled_noise(complete["validation_loss"], complete["candidate"])
    error = np.zeros(len(losses))
    if noise.degrees:
        error = noise.deviation / np.sqrt(candidates["seeds"].to_numpy(np.float64))
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
        _predictive_r2(process),
        of_active,
    )


def _fit(places: Floats, losses: Floats, error: Floats) -> GaussianProcessRegressor:
    scale = losses.std()
    # A width below the candidates' spread would fit noise: studies have a dozen to a hundred.
    width = max(float(np.sqrt(places.var(axis=0).mean())), _LEAST_WIDTH)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(width, (width, 20 * width), nu=2.5)
    kernel += ConstantKernel(_MEAN_VARIANCE, "fixed")  # the overall mean is unknown, too
    kernel += WhiteKernel(0.1, (1e-6, 10.0))
    values, noise = (losses - losses.mean()) / scale, (error / scale) ** 2 + 1e-9
    some = _even_sample(losses, _MOST_TO_FIT)
    process = GaussianProcessRegressor(
        kernel, alpha=noise[some], n_restarts_optimizer=3, random_state=0
    )
    # Threads wait for each other longer than such small matrices take.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # A width at its bound is a valid result: the loss hardly changes over the map.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(places[some], values[some])
        if len(some) == len(values):
            return process
        whole = GaussianProcessRegressor(process.kernel_, alpha=noise, optimizer=None)
        return whole.fit(places, values)


def _even_sample(losses: Floats, most: int) -> NDArray[np.intp]:
    """The places of some of the losses, from the lowest to the highest in even steps."""
    ranks = np.linspace(0, len(losses) - 1, min(most, len(losses))).round().astype(int)
    return np.sort(np.argsort(losses, kind="stable")[ranks])


def _surface(
    process: GaussianProcessRegressor, losses: Floats, places: ArrayLike
) -> tuple[Floats, Floats]:
    mean, deviation = process.predict(np.asarray(places, dtype=np.float64), return_std=True)
    # The variance of the mean at a position, without that of single schedules around it.
    spread = process.kernel_.k2.noise_level
    own = np.sqrt(np.maximum(deviation**2 - spread, 0))
    quantile = stats.norm.ppf((1 + CONFIDENCE) / 2)
    return losses.mean() + losses.std() * mean, quantile * losses.std() * own


def _predictive_r2(process: GaussianProcessRegressor) -> float:
    """1 - the squared leave-one-out errors, over those of predicting the mean of the others.

    The errors of a Gaussian process are K^-1 y over the diagonal of K^-1 (Rasmussen and Williams
    2006, equation 5.12).
    """
    values = process.y_train_
    inverse = cho_solve((process.L_, True), np.eye(len(values)))
    errors = (inverse @ values) / np.diag(inverse)
    others = (values - values.mean()) * len(values) / (len(values) - 1)
    return float(1 - (errors**2).sum() / (others**2).sum())
