"""The best active schedule of a trained model within the FLOPs of an even one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.bounds.affordable import best_affordable_schedule
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.schedules import Schedule, pattern_schedule
from dynamoe_search.statistics.comparison import compare_with_reference

MARGIN = 0.01
"""The difference of losses, in nats, that does not matter."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ActiveChoice:
    """An active schedule that sensitivities choose, beside the even one of no fewer FLOPs.

    Parameters
    ----------
    layers : tuple of int
        The places of the layers with experts.
    trained, even, chosen : Schedule
        The active experts of these layers: as the model is, evenly spread, and chosen.
    flops : mapping of str to int
        The FLOPs of a token in routed experts, forward, under each of the three.
    predicted : mapping of str to float
        The sum of the differences of the layers alone to the model as it is, in nats; NaN where a
        layer was not measured.
    """

    layers: tuple[int, ...]
    trained: Schedule
    even: Schedule
    chosen: Schedule
    flops: dict[str, int]
    predicted: dict[str, float]

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The three schedules by their names."""
        return {"trained": self.trained, "even": self.even, "chosen": self.chosen}


def choose_active(sensitivity: pd.DataFrame, mean: float) -> ActiveChoice:
    """The active schedule of least predicted loss, at no more FLOPs than the even one.

    The prediction is additive: the loss of the model as it is, and the differences of all layers,
    each measured alone. Of all schedules of the numbers that were measured it is the exact optimum.

    Parameters
    ----------
    sensitivity : DataFrame
        As `measure_sensitivity` gives it. A number with a loss that is not finite is not chosen.
    mean : float
        The mean active experts per layer of the even schedule, whose FLOPs are the budget.

    Returns
    -------
    ActiveChoice

    Raises
    ------
    InvalidInput
        If the mean is below 1 or makes no whole number of experts, the table lacks a column, or no
        schedule of the numbers measured is within the budget.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "layer": [0, 0, 0, 1, 1, 1],
    ...     "active": [1, 2, 3, 1, 2, 3],
    ...     "trained": [False, True, False] * 2,
    ...     "flops": [10, 20, 30] * 2,
    ...     "difference": [0.01, 0.0, -0.005, 0.3, 0.0, -0.1],
    ... })
    >>> str(choose_active(table, mean=2).chosen)
    '1-3'
    """
    difference, flops = _by_layer(sensitivity, "difference"), _by_layer(sensitivity, "flops")
    numbers = difference.columns.to_numpy()
    trained = sensitivity[sensitivity["trained"]].sort_values("layer")["active"]
    even = _even(len(difference), mean)
    prices = _prices(flops)
    budget = int(prices @ np.array(even.counts))
    first = int(numbers.min())
    utility = np.full((len(difference), int(numbers.max()) - first + 1), -np.inf)
    utility[:, numbers - first] = np.where(difference.notna(), -difference, -np.inf)
    cost = np.outer(prices, np.arange(first, int(numbers.max()) + 1))
    chosen = best_affordable_schedule(utility, cost, budget, first).schedule
    schedules = {"trained": Schedule(tuple(trained.tolist())), "even": even, "chosen": chosen}
    return ActiveChoice(
        layers=tuple(difference.index.tolist()),
        **schedules,
        flops={name: int(prices @ np.array(one.counts)) for name, one in schedules.items()},
        predicted={name: _predicted(difference, one) for name, one in schedules.items()},
    )


def compare_choice(
    choice: ActiveChoice, losses: pd.DataFrame, margin: float = MARGIN
) -> pd.DataFrame:
    """The chosen active schedule beside the even one, on documents that it was not chosen by.

    Parameters
    ----------
    choice : ActiveChoice
    losses : DataFrame
        As `schedule_losses` gives it, a column for each of ``choice.schedules``.
    margin : float
        The difference that does not matter, in nats.

    Returns
    -------
    DataFrame
        One row for each of trained, even and chosen: ``name``, ``active``, ``flops``,
        ``documents``, the mean ``loss``, and the ``predicted`` loss: that of the trained schedule
        and the differences of the layers alone. For the chosen schedule also the ``difference`` to
        the even one, paired by document, ``low`` and ``high`` (95 %), the ``p_value`` and the
        ``verdict``, as `compare_with_reference` gives them; it is "the same" where it is the even
        one.

    Raises
    ------
    InvalidInput
        If the margin is not above 0.
    RunFailed
        If a loss is not finite.
    """
    failed = losses.columns[~np.isfinite(losses).all()]
    if len(failed):
        raise RunFailed(
            f"the loss with the {failed[0]} schedule, {choice.schedules[failed[0]]}, is not finite"
            " in some documents; choose another type of numbers, or measure fewer active experts"
        )
    base = float(losses["trained"].mean())
    rows = [
        {
            "name": name,
            "active": str(schedule),
            "flops": choice.flops[name],
            "documents": len(losses),
            "loss": float(losses[name].mean()),
            "predicted": base + choice.predicted[name],
        }
        for name, schedule in choice.schedules.items()
    ]
    table = pd.DataFrame(rows)
    if choice.chosen == choice.even:
        unknown = dict.fromkeys(("difference", "low", "high", "p_value"), math.nan)
        verdicts = np.where(table["name"] == "chosen", "the same", "")
        return table.assign(**unknown, verdict=verdicts)
    pairs = losses[["even", "chosen"]].melt(
        ignore_index=False, var_name="candidate", value_name="loss"
    )
    found = compare_with_reference(pairs.reset_index(names="seed"), "even", margin).iloc[0]
    is_chosen = table["name"] == "chosen"
    for column in ("difference", "low", "high"):
        table[column] = np.where(is_chosen, found[column], math.nan)
    table["p_value"] = np.where(is_chosen, found["p_difference"], math.nan)
    table["verdict"] = np.where(is_chosen, found["verdict"], "")
    return table


def _by_layer(sensitivity: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per layer and one column per number of experts."""
    for name in ("layer", "active", "trained", column):
        if name not in sensitivity:
            raise InvalidInput(f"the sensitivities have no column {name!r}")
    return sensitivity.pivot(index="layer", columns="active", values=column)


def _prices(flops: pd.DataFrame) -> NDArray[np.int64]:
    """The FLOPs of one expert of each layer."""
    per_expert = flops.div(flops.columns.to_numpy(), axis=1)
    return np.asarray(per_expert.bfill(axis=1).iloc[:, 0].round(), dtype=np.int64)


def _even(depth: int, mean: float) -> Schedule:
    """The active schedule that is as even as its total of experts allows."""
    total = round(mean * depth) if math.isfinite(mean) else 0
    if total < depth or abs(total - mean * depth) > _ROUNDING * depth:
        raise InvalidInput(
            f"{mean:g} active experts in each of {depth} layers with experts make"
            f" {mean * depth:g}; it must be a whole number of at least {depth}"
        )
    return pattern_schedule("uniform", depth, total)


def _predicted(difference: pd.DataFrame, schedule: Schedule) -> float:
    """The sum of the differences of the layers, each measured alone."""
    known = [
        difference[count].iloc[place] if count in difference else math.nan
        for place, count in enumerate(schedule)
    ]
    return float(np.sum(known))
