"""Several objectives at once: which candidates are on the Pareto front, and how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.candidates import complete_runs, describe_candidates
from dynamoe_search.statistics.two_way import estimate_means, fit_two_way


@dataclass(frozen=True)
class Objective:
    """A quantity that a search minimizes or maximizes.

    Parameters
    ----------
    column : str
        The column of `Study.training_runs` that holds it, from 0 to `largest`; can be infinite.
    minimize : bool
        Whether less is better.
    label, unit : str
        How people read it.
    largest : float
        The largest possible value.
    """

    column: str
    minimize: bool
    label: str
    unit: str
    largest: float = math.inf


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "loss": Objective("validation_loss", True, "validation loss", "nats"),
        "active_flops": Objective("flops_per_token", True, "active compute", "FLOPs per token"),
        "gradient_noise": Objective("gradient_noise", True, "gradient noise scale", "samples"),
        "utilization_entropy": Objective(
            "utilization_entropy", False, "utilization entropy", "of ln N", largest=1.0
        ),
    }
)
"""The objectives, by their names in a study file."""


def pareto_front(values: ArrayLike, minimize: Sequence[bool]) -> NDArray[np.bool_]:
    """Which points are on the Pareto front: no other point dominates them.

    A point dominates another if it is at least as good in every objective and better in one. Of
    equal points all are on the front, or none.

    Parameters
    ----------
    values : array_like of float, shape (n, m)
        One point per row. A point with a NaN is not on the front, and dominates nothing.
    minimize : sequence of bool, length m
        Whether less is better, for each objective.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InvalidInput
        If the shapes do not fit.

    Examples
    --------
    >>> pareto_front([[1, 5], [2, 3], [3, 4]], minimize=[True, True]).tolist()
    [True, True, False]
    >>> pareto_front([[1, 5], [2, 3], [3, 4]], minimize=[True, False]).tolist()
    [True, False, False]
    """
    points = _less_is_better(values, minimize)
    front = np.asarray(~np.isnan(points).any(axis=1))
    # Dominance is transitive, so it is enough to look at the points that are still on the front.
    for index in range(len(points)):
        if front[index]:
            point = points[index]
            front &= ~((point <= points).all(axis=1) & (point < points).any(axis=1))
    return front


def make_pareto_table(runs: pd.DataFrame, objectives: Sequence[str]) -> pd.DataFrame:
    """The means of every candidate, and whether it is, or may be, on the Pareto front.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.
    objectives : sequence of str
        Names in `OBJECTIVES`.

    Returns
    -------
    DataFrame
        One row per candidate, the front first, then by the first objective: ``candidate``,
        ``schedule``, ``settings``, ``pattern``, ``group``, ``seeds``; for each objective its
        expected mean over all seeds, under its name, with ``_low`` and ``_high`` (95 % intervals,
        see `dynamoe_search.statistics.estimate_means`; NaN where nothing was trained twice);
        ``feasible``; ``on_front``; ``maybe_on_front``. The noise is assumed to be the same for all,
        which fits ``gradient_noise`` only roughly, since large values scatter more: intervals are
        too wide for small values and too narrow for large ones.

        Candidates that are not feasible (see `describe_candidates`) are not on the front, and
        dominate none.

        ``on_front`` compares the means. ``maybe_on_front`` is False only where another candidate
        is ahead by more than the least significant difference in every objective (5 % for all
        pairs, see `dynamoe_search.statistics.TwoWay.margins`). In an objective without noise, as
        the FLOPs of a router of fixed K, any lead is enough, and an equal value does not protect.
        An infinite value is worse than a finite one, whatever the noise. Where the noise is
        unknown, it is True for all. The whole front is included.

    Raises
    ------
    InvalidInput
        If no run is complete, or an objective is unknown or was not measured.

    Examples
    --------
    >>> runs = pd.DataFrame({
    ...     "candidate": ["4-2", "4-2", "3-3", "3-3"], "schedule": ["4-2", "4-2", "3-3", "3-3"],
    ...     "settings": "", "pattern": "", "group": "searched", "seed": [0, 1, 0, 1],
    ...     "state": "complete", "feasible": True, "validation_loss": [1.0, 1.1, 1.2, 1.3],
    ...     "flops_per_token": [90.0, 90.0, 80.0, 80.0]})
    >>> table = make_pareto_table(runs, ["loss", "active_flops"])
    >>> table[["candidate", "on_front"]].values.tolist()
    [['4-2', True], ['3-3', True]]
    """
    complete = complete_runs(runs)
    columns = [_column(name, complete) for name in objectives]
    minimize = [OBJECTIVES[name].minimize for name in objectives]
    table = describe_candidates(complete)
    feasible = table.pop("feasible").to_numpy()
    margins = []
    for name, column in zip(objectives, columns, strict=True):
        recorded = complete[column], complete["candidate"], complete["seed"]
        estimates = estimate_means(*recorded).clip(lower=0, upper=OBJECTIVES[name].largest)
        table[[name, f"{name}_low", f"{name}_high"]] = estimates
        margins.append(_margins(*recorded, table.index[feasible]))
    points = _less_is_better(table[list(objectives)], minimize)
    table["feasible"] = feasible
    for column in ("on_front", "maybe_on_front"):
        table[column] = False
    every = [True] * len(minimize)
    table.loc[feasible, "on_front"] = pareto_front(points[feasible], every)
    table.loc[feasible, "maybe_on_front"] = _not_surely_dominated(points[feasible], margins)
    order = np.lexsort((points[:, 0], ~table["on_front"]))
    return table.reset_index().iloc[order].reset_index(drop=True)


def _less_is_better(values: ArrayLike, minimize: Sequence[bool]) -> NDArray[np.float64]:
    """The points with the maximized objectives negated, checked for their shape."""
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(minimize):
        raise InvalidInput(
            f"values are of shape {points.shape}; expected one row per point, with"
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


def _margins(
    values: pd.Series, candidates: pd.Series, blocks: pd.Series, compared: pd.Index
) -> NDArray[np.float64]:
    """The least significant leads of the candidates to compare; shape (n, n).

    Where one of two has no finite value there is no noise to hide their difference.
    """
    margins = np.zeros((len(compared),) * 2)
    if not np.isfinite(values).any():
        return margins
    posterior = fit_two_way(values, candidates, blocks)
    places = posterior.candidates.get_indexer(compared)
    known = np.flatnonzero(places >= 0)
    if math.isnan(posterior.noise):
        margins[:] = np.inf
    margins[np.ix_(known, known)] = posterior.margins(places[known])[:, places[known]]
    return margins


def _not_surely_dominated(
    points: NDArray[np.float64], margins: Sequence[NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Which points no other point dominates by significant leads; shape (n,)."""
    count = len(points)
    never_behind = np.ones((count, count), dtype=bool)
    ahead = np.zeros((count, count), dtype=bool)
    for values, margin in zip(points.T, margins, strict=True):
        with np.errstate(invalid="ignore"):  # the difference of two infinite values is NaN
            lead = values - values[:, None]
        beyond_noise = lead > margin
        never_behind &= beyond_noise | ((margin == 0) & (lead >= 0))
        ahead |= beyond_noise
    surely_dominated = (never_behind & ahead).any(axis=0)
    return np.asarray(~(surely_dominated | np.isnan(points).any(axis=1)))
