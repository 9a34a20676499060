"""Several objectives at once: which candidates no other one beats, and how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.intervals import (
    Noise,
    half_width,
    least_significant_difference,
    pooled_noise,
)


@dataclass(frozen=True)
class Objective:
    """What a search makes small or large.

    Parameters
    ----------
    column : str
        Where the runs of a study hold it. It is never below 0, and may be infinite.
    minimize : bool
        Whether less is better.
    label, unit : str
        For people.
    largest : float
        That it can be.
    """

    column: str
    minimize: bool
    label: str
    unit: str
    largest: float = math.inf


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "loss": Objective("validation_loss", True, "validation loss", "nats"),
        "active_flops": Objective("flops_per_token", True, "active compute", "FLOPs a token"),
        "gradient_noise": Objective("gradient_noise", True, "gradient noise scale", "samples"),
        "utilization_entropy": Objective(
            "utilization_entropy", False, "utilization entropy", "of ln N", largest=1.0
        ),
    }
)
"""By the name that a study file gives it."""


def pareto_front(values: ArrayLike, minimize: Sequence[bool]) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    A point dominates another if it is at least as good in every objective and better in one. Equal
    points do not dominate each other: all are on the front, or none.

    Parameters
    ----------
    values : array_like of float, shape (n, m)
        A point a row. One with a NaN is not on the front, and dominates nothing.
    minimize : sequence of bool, length m
        For each objective, whether less is better.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InvalidInput
        Where the shapes do not fit.

    Examples
    --------
    >>> pareto_front([[1, 5], [2, 3], [3, 4]], minimize=[True, True]).tolist()
    [True, True, False]
    >>> pareto_front([[1, 5], [2, 3], [3, 4]], minimize=[True, False]).tolist()
    [True, False, False]
    """
    points = _less_is_better(values, minimize)
    front = np.asarray(~np.isnan(points).any(axis=1))
    # Whatever a dominated point dominates, a point of the front dominates, too.
    for index in range(len(points)):
        if front[index]:
            point = points[index]
            front &= ~((point <= points).all(axis=1) & (point < points).any(axis=1))
    return front


def make_pareto_table(runs: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """Every candidate by its means, and whether it is, or may be, on the Pareto front.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it; complete trainings count.
    objectives : sequence of str
        Names in `OBJECTIVES`.

    Returns
    -------
    DataFrame
        A row a candidate, the front first, then by the first objective: ``candidate``,
        ``schedule``, ``settings``, ``pattern``, ``blocks``; for each objective its mean, under
        its name, with ``_low`` and ``_high`` (95 % intervals from the noise pooled over the study;
        NaN where nothing was trained twice); ``feasible``; ``on_front``; ``maybe_on_front``. One
        noise for all is a rough fit to ``gradient_noise``, which scatters the more the larger it
        is: too wide for the small ones, which matter, too narrow for the large ones.

        A candidate is feasible where more than half of its blocks meet all constraints: that
        mostly is where their mean does, and more blocks do not make it harder. Only feasible
        candidates can be on the front, or keep others off it.

        ``on_front`` goes by the means. ``maybe_on_front`` holds for whatever no candidate surely
        dominates: with a lead beyond the least significant difference (Tukey and Kramer, 5 % for
        all pairs of feasible candidates) in every objective. In an objective without noise, such
        as the FLOPs of a router of fixed K, any lead counts, and a tie is no obstacle. With
        unknown noise nobody is sure to dominate. What is infinite is behind all that is finite,
        beyond any known noise. The whole front is among them.

    Raises
    ------
    InvalidInput
        Where no run is complete, or an objective is unknown or was not measured.

    Examples
    --------
    >>> runs = pd.DataFrame({
    ...     "candidate": ["4-2", "4-2", "3-3", "3-3"], "schedule": "", "settings": "",
    ...     "pattern": "", "block": [0, 1, 0, 1], "state": "complete", "feasible": True,
    ...     "validation_loss": [1.0, 1.1, 1.2, 1.3], "flops_per_token": [90.0, 90.0, 80.0, 80.0]})
    >>> table = make_pareto_table(runs, ["loss", "active_flops"])
    >>> table[["candidate", "on_front"]].values.tolist()
    [['4-2', True], ['3-3', True]]
    """
    complete = runs[runs["state"] == "complete"]
    if complete.empty:
        raise InvalidInput("no training of this study is complete yet")
    columns = [_column(name, complete) for name in objectives]
    minimize = [OBJECTIVES[name].minimize for name in objectives]
    grouped = complete.groupby("candidate", sort=True)
    table = grouped.agg(
        schedule=("schedule", "first"),
        settings=("settings", "first"),
        pattern=("pattern", "first"),
        blocks=("block", "size"),
    )
    noises = [_noise(complete[column], complete["candidate"]) for column in columns]
    for name, column, noise in zip(objectives, columns, noises, strict=True):
        # A mean of equal numbers can differ from them in the last digit; the same FLOPs may not.
        mean = grouped[column].mean().clip(grouped[column].min(), grouped[column].max())
        width = half_width(noise, table["blocks"])
        table[name], table[f"{name}_low"] = mean, (mean - width).clip(lower=0)
        table[f"{name}_high"] = (mean + width).clip(upper=OBJECTIVES[name].largest)
    feasible = (grouped["feasible"].mean() > 0.5).to_numpy()
    points = _less_is_better(table[list(objectives)], minimize)
    table["feasible"] = feasible
    for column in ("on_front", "maybe_on_front"):
        table[column] = False
    every = [True] * len(minimize)
    table.loc[feasible, "on_front"] = pareto_front(points[feasible], every)
    table.loc[feasible, "maybe_on_front"] = _not_surely_dominated(
        points[feasible], noises, table["blocks"].to_numpy()[feasible]
    )
    order = np.lexsort((points[:, 0], ~table["on_front"]))
    return table.reset_index().iloc[order].reset_index(drop=True)


def _less_is_better(values: ArrayLike, minimize: Sequence[bool]) -> NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(minimize):
        raise InvalidInput(
            f"values are of shape {points.shape}; expected a row a point, with"
            f" {len(minimize)} columns as in minimize"
        )
    return np.where(np.asarray(minimize, dtype=bool), points, -points)


def _column(name: str, complete: pd.DataFrame) -> str:
    if name not in OBJECTIVES:
        raise InvalidInput(f"{name!r} is no objective; there are {', '.join(OBJECTIVES)}")
    column = OBJECTIVES[name].column
    if column not in complete or complete[column].isna().all():
        raise InvalidInput(
            f"{name} was not measured in this study; name it in the study file's objectives or"
            " constraints"
        )
    return column


def _noise(values: pd.Series, groups: pd.Series) -> Noise:
    """The pooled noise of finite values; exactly 0 where they never differ within a group."""
    finite = values[np.isfinite(values)]
    noise = pooled_noise(finite, groups[finite.index])
    if noise.degrees and (finite.groupby(groups).nunique() == 1).all():
        return Noise(0.0, noise.degrees)
    return noise


def _not_surely_dominated(
    points: NDArray[np.float64], noises: Sequence[Noise], blocks: NDArray[np.int64]
) -> NDArray[np.bool_]:
    count = len(points)
    never_behind = np.ones((count, count), dtype=bool)
    ahead = np.zeros((count, count), dtype=bool)
    for values, noise in zip(points.T, noises, strict=True):
        with np.errstate(invalid="ignore"):  # two infinite values are not apart
            lead = values - values[:, None]
        margin = least_significant_difference(noise, blocks[:, None], blocks, groups=count)
        beyond_noise = lead > margin
        never_behind &= beyond_noise | ((margin == 0) & (lead >= 0))
        ahead |= beyond_noise
    surely_dominated = (never_behind & ahead).any(axis=0)
    return np.asarray(~(surely_dominated | np.isnan(points).any(axis=1)))
