"""Bounds of all schedules of a budget of experts, and the extremes among them.

The bounds of a layer depend only on its number of experts N, so one table by N is enough: it gives
the bounds of a million schedules by lookup, and the exact extremes over all schedules.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.bounds.layers import QUANTITIES, divisors, layer_bounds
from dynamoe_search.bounds.separable import best_of_equal_layers, worst_of_equal_layers
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    DEFAULT_CONTRAST,
    PATTERNS_AND_UNIFORM,
    PRESETS,
    Family,
    Schedule,
    allocate_batch,
    make_family,
    pattern_schedule,
    preset_schedule,
)
from dynamoe_search.schedules.space import Dimension, Simplex, Whole
from dynamoe_search.specification import Experts, Router, Style

_ROWS_AT_ONCE = 2**14  # the working arrays of this many schedules fit into the processor's cache


@dataclass(frozen=True)
class ExpertBudget:
    """A budget of experts, and what all its schedules share.

    Parameters
    ----------
    layers, experts : int
        The number of layers L, and of the experts in all layers together.
    width, hidden : int
        The model width d, and the hidden width h of an expert, d -> h -> d.
    router : Router
        The router of every layer.
    minimum, maximum : int
        The fewest and the most experts per layer; None sets no maximum.
    tokens : int
        The batch size T, in tokens, for which distinct experts are counted.
    shared : int
        The experts of each layer that every token uses.
    style : {"paper", "modern"}
        Of the experts, as in `dynamoe_search.specification.Experts`.
    step : int
        Every layer has a multiple of it.

    Raises
    ------
    InvalidInput
        If no schedule meets the budget, or a width or the batch is below 1.
    """

    layers: int
    experts: int
    width: int
    hidden: int
    router: Router
    _: KW_ONLY
    minimum: int = 1
    maximum: int | None = None
    tokens: int = 1
    shared: int = 0
    style: Style = "paper"
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("layers", "width", "hidden", "tokens"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be at least 1")
        self.named("uniform")  # raises if no schedule meets the budget

    @property
    def limits(self) -> tuple[int, int | None, int]:
        """What limits the experts of each layer: minimum, maximum and step."""
        return self.minimum, self.maximum, self.step

    @property
    def least(self) -> int:
        """The fewest experts that one layer can have."""
        return -(-self.minimum // self.step) * self.step

    @property
    def largest(self) -> int:
        """The most experts that one layer can have."""
        room = self.experts - (self.layers - 1) * self.least
        return room if self.maximum is None else min(room, self.maximum // self.step * self.step)

    def named(self, name: str, contrast: float = DEFAULT_CONTRAST) -> Schedule:
        """The schedule of a pattern or preset, or one in text form, such as ``8-6-4-2``.

        Raises
        ------
        InvalidInput
            For an unknown name, or a schedule outside the budget.
        """
        bounds = (self.layers, self.experts, self.minimum, self.maximum)
        if name in PATTERNS_AND_UNIFORM:
            return pattern_schedule(name, *bounds, contrast, step=self.step)
        if name in PRESETS:
            return preset_schedule(name, *bounds, self.step)
        if name[:1].isalpha():
            raise InvalidInput(
                f"{name!r} is neither a schedule, such as 8-6-4-2, nor a name: choose from"
                f" {', '.join([*PATTERNS_AND_UNIFORM, *PRESETS])}"
            )
        schedule = Schedule.parse(name)
        if schedule.depth != self.layers:
            raise InvalidInput(f"{name} has {schedule.depth} layers; the budget has {self.layers}")
        _checked_counts(self, [schedule.counts])
        return schedule


def bounds_by_experts(budget: ExpertBudget) -> pd.DataFrame:
    """The bounds of one layer by its number of experts N.

    Returns
    -------
    DataFrame
        As `layer_bounds`, indexed by N, from `budget.least` to `budget.largest` in steps.
    """
    return _bounds_by_experts(budget).copy()


@lru_cache(maxsize=8)
def _bounds_by_experts(budget: ExpertBudget) -> pd.DataFrame:
    counts = range(budget.least, budget.largest + 1, budget.step)
    # A network with one layer of each size.
    blocks = Experts(
        budget.hidden,
        Schedule(tuple(counts)),
        budget.router,
        shared=budget.shared,
        style=budget.style,
    )
    return layer_bounds(blocks, budget.width, budget.tokens).set_index("experts")


def score_schedules(budget: ExpertBudget, counts: ArrayLike) -> pd.DataFrame:
    """The bounds of many schedules of a budget at once.

    Parameters
    ----------
    budget : ExpertBudget
    counts : array_like of int, shape (schedules, L)
        One schedule per row.

    Returns
    -------
    DataFrame
        One row per schedule, with the columns of `QUANTITIES`, as `schedule_bounds` gives them.

    Raises
    ------
    InvalidInput
        For a schedule outside the budget.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> budget = ExpertBudget(layers=2, experts=8, width=32, hidden=64, router=TopK(k=2))
    >>> score_schedules(budget, [[4, 4], [6, 2], [7, 1]])["flops_expected"].tolist()
    [33280.0, 33280.0, 25088.0]
    """
    chosen = (_checked_counts(budget, counts) - budget.least) // budget.step
    table = bounds_by_experts(budget).to_numpy(dtype=np.float64)
    totals = np.empty((len(chosen), table.shape[1]))
    for start in range(0, len(chosen), _ROWS_AT_ONCE):
        part = totals[start : start + _ROWS_AT_ONCE]
        part[:] = 0
        for layer in chosen[start : start + _ROWS_AT_ONCE].T:
            part += table[layer]
    return pd.DataFrame(totals / divisors(budget.layers), columns=list(QUANTITIES))


def _checked_counts(budget: ExpertBudget, counts: ArrayLike) -> NDArray[np.int64]:
    whole = np.asarray(counts)
    if whole.ndim != 2 or whole.shape[1] != budget.layers or whole.dtype.kind not in "iu":
        raise InvalidInput(
            f"schedules are of shape {whole.shape} and type {whole.dtype}; expected one row of"
            f" {budget.layers} whole numbers per schedule"
        )
    inside = (whole >= budget.least).all(axis=1) & (whole <= budget.largest).all(axis=1)
    inside &= (whole.sum(axis=1) == budget.experts) & (whole % budget.step == 0).all(axis=1)
    if not inside.all():
        wrong = "-".join(map(str, whole[int(np.argmin(inside))].tolist()))
        steps = "" if budget.step == 1 else f", in steps of {budget.step},"
        raise InvalidInput(
            f"{wrong} is outside the budget: {budget.layers} layers of {budget.least} to"
            f" {budget.largest} experts{steps} that sum to {budget.experts}"
        )
    return whole.astype(np.int64, copy=False)


def compare_schedules(budget: ExpertBudget, schedules: Mapping[str, Schedule]) -> pd.DataFrame:
    """The bounds of named schedules of a budget.

    Returns
    -------
    DataFrame
        One row per schedule: ``name``, ``schedule`` and the columns of `QUANTITIES`.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> budget = ExpertBudget(layers=2, experts=8, width=32, hidden=64, router=TopK(k=2))
    >>> table = compare_schedules(budget, {"uniform": budget.named("uniform")})
    >>> table[["name", "log2_configurations"]].round(2).values.tolist()
    [['uniform', 5.17]]
    """
    scores = score_schedules(budget, [schedule.counts for schedule in schedules.values()])
    scores.insert(0, "name", list(schedules))
    scores.insert(1, "schedule", list(schedules.values()))
    return scores


def budget_extremes(budget: ExpertBudget, quantities: Collection[str] = QUANTITIES) -> pd.DataFrame:
    """The exact minimum and maximum of quantities over all schedules of a budget.

    Every quantity is a sum over layers, so dynamic programming finds them: see
    `dynamoe_search.bounds.separable`.

    Parameters
    ----------
    budget : ExpertBudget
    quantities : collection of str
        Of `QUANTITIES`. Where many experts are shared, each may take a second.

    Returns
    -------
    DataFrame
        One row for each of the quantities, the index: ``least``, ``least_schedule``, ``most`` and
        ``most_schedule``. Where several schedules are equal and uniform is one, it is uniform.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> budget = ExpertBudget(layers=2, experts=8, width=32, hidden=64, router=TopK(k=2))
    >>> str(budget_extremes(budget).loc["log2_configurations", "most_schedule"])
    '4-4'
    """
    table = bounds_by_experts(budget)
    uniform = budget.named("uniform")
    # In steps of experts, of which the table has each number.
    shared = budget.layers, budget.experts // budget.step, budget.least // budget.step
    even = score_schedules(budget, [uniform.counts]).iloc[0]
    rows = {}
    for name, divisor in zip(QUANTITIES, divisors(budget.layers), strict=True):
        if name not in quantities:
            continue
        utility = table[name].to_numpy(dtype=np.float64) / divisor
        row: dict[str, float | Schedule] = {}
        for end, find in (("least", worst_of_equal_layers), ("most", best_of_equal_layers)):
            optimum = find(utility, *shared)
            is_even = math.isclose(even[name], optimum.value, rel_tol=1e-9, abs_tol=1e-12)
            schedule = Schedule(tuple(budget.step * steps for steps in optimum.schedule))
            row[end] = optimum.value
            row[f"{end}_schedule"] = uniform if is_even else schedule
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def family_bounds(
    budget: ExpertBudget, family: str, points: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """The bounds of schedules from all over a family: random profiles, allocated to the budget.

    Parameters
    ----------
    budget : ExpertBudget
    family : str
        One of `dynamoe_search.schedules.FAMILIES`.
    points : int
        The number of profiles to draw.
    seed : int

    Returns
    -------
    DataFrame
        One row per distinct schedule: ``schedule`` and the columns of `QUANTITIES`.

    Examples
    --------
    >>> from dynamoe_search.specification import TopK
    >>> budget = ExpertBudget(layers=2, experts=8, width=32, hidden=64, router=TopK(k=2))
    >>> found = family_bounds(budget, "blend", points=200)["schedule"]
    >>> min(map(str, found)), max(map(str, found))
    ('1-7', '7-1')
    """
    if points < 1:
        raise InvalidInput(f"points is {points}; it must be at least 1")
    bounds = (budget.experts, budget.minimum, budget.maximum)
    shapes = make_family(family, *bounds, step=budget.step)
    profiles = sample_family(shapes, budget.layers, points, seed)
    counts = allocate_batch(profiles, budget.experts, *budget.limits)
    distinct = np.unique(counts, axis=0)
    scores = score_schedules(budget, distinct)
    scores.insert(0, "schedule", [Schedule(tuple(row)) for row in distinct.tolist()])
    return scores


def sample_family(
    family: Family, depth: int, points: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """Profiles of random points of a family's search space, drawn uniformly.

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
    profiles = [family.profile(_random_point(space, generator), depth) for _ in range(points)]
    return np.array(profiles)


def _random_point(space: tuple[Dimension, ...], generator: np.random.Generator) -> dict[str, float]:
    """A point of a search space, drawn uniformly from intervals and simplexes."""
    point: dict[str, float] = {}
    for dimension in space:
        if isinstance(dimension, Simplex):
            shares = generator.dirichlet(np.ones(len(dimension.names)))
            point |= dict(zip(dimension.names, shares.tolist(), strict=True))
        elif isinstance(dimension, Whole):
            point[dimension.name] = int(generator.integers(dimension.low, dimension.high + 1))
        else:
            point[dimension.name] = float(generator.uniform(dimension.low, dimension.high))
    return point
