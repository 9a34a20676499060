"""What a study can have measured of each network: the numbers by name, and their means. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from dynamoe_search.statistics.intervals import half_width, pooled_noise

GROUPS = ("trunk", "router", "experts")
"""The groups of parameters whose gradients are told apart."""

MEASURES = ("gradients", "utilization", "representation")
"""What a study file can ask for."""


@dataclass(frozen=True)
class Measured:
    """A number that is measured of a network.

    Parameters
    ----------
    measure : str
        Which of `MEASURES` gives it.
    label, unit : str
        For people.
    """

    measure: str
    label: str
    unit: str


MEASURED: Mapping[str, Measured] = MappingProxyType(
    {
        "gradient_noise": Measured("gradients", "noise scale", "samples"),
        **{
            f"gradient_noise_{group}": Measured("gradients", f"noise scale, {group}", "samples")
            for group in GROUPS
        },
        "gradient_trace": Measured("gradients", "variance", "squared gradient"),
        "effective_experts": Measured("utilization", "effective experts", "in all"),
        "dead_experts": Measured("utilization", "dead experts", "in all"),
        "maximum_violation": Measured("utilization", "MaxVio", "mean of layers"),
        "gini": Measured("utilization", "Gini", "mean of layers"),
        "router_entropy": Measured("utilization", "router entropy", "nats, mean of layers"),
        "information": Measured("utilization", "information", "nats, mean of layers"),
        "effective_rank": Measured("representation", "effective rank", "mean of layers"),
        "effective_rank_first": Measured("representation", "effective rank", "first layer"),
        "effective_rank_last": Measured("representation", "effective rank", "last layer"),
    }
)
"""By the column of `Study.training_runs` that holds it."""


def measured_means(runs: pd.DataFrame) -> pd.DataFrame:
    """What was measured, by candidate: means over its blocks, with their 95 % intervals.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it; complete trainings count.

    Returns
    -------
    DataFrame
        Indexed by candidate, in their order; for each of `MEASURED` that there is, its mean under
        its name, with ``_low`` and ``_high``, from the noise pooled over the study; NaN where
        nothing was trained twice, or the noise is not finite.

    Examples
    --------
    >>> runs = pd.DataFrame(
    ...     {"candidate": ["3-1", "3-1", "2-2"], "state": "complete", "gini": [0.2, 0.4, 0.1]}
    ... )
    >>> measured_means(runs).round(2).loc["2-2"].tolist()
    [0.1, -1.7, 1.9]
    """
    complete = runs[runs["state"] == "complete"]
    grouped = complete.groupby("candidate", sort=True)
    columns = {}
    for name in MEASURED:
        if name not in complete or complete[name].isna().all():
            continue
        columns[name] = grouped[name].mean()
        noise = pooled_noise(complete[name], complete["candidate"])
        width = half_width(noise, grouped[name].count())
        columns[f"{name}_low"] = columns[name] - width
        columns[f"{name}_high"] = columns[name] + width
    return pd.DataFrame(columns, index=grouped.size().index)


def with_measured(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """A table with a column ``candidate``, and the columns of `measured_means` that it lacks."""
    measured = measured_means(runs).drop(columns=list(table), errors="ignore")
    return table.join(measured, on="candidate")
