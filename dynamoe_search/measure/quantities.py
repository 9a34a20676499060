"""The quantities that a study can measure of each network, and their means. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from dynamoe_search.statistics.two_way import estimate_means

GROUPS = ("trunk", "router", "experts")
"""The groups of parameters whose gradients are measured separately."""

NETWORK = "network"
"""The group of all parameters together."""

MEASURES = ("gradients", "utilization", "representation")
"""What a study file can name in `search.measure`."""


@dataclass(frozen=True)
class Measured:
    """A number that is measured of a network.

    Parameters
    ----------
    measure : str
        The one of `MEASURES` that gives it.
    label, unit : str
        How people read it.
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
        "effective_experts": Measured("utilization", "effective experts", "sum of layers"),
        "dead_experts": Measured("utilization", "dead experts", "sum of layers"),
        "maximum_violation": Measured("utilization", "MaxVio", "mean of layers"),
        "gini": Measured("utilization", "Gini", "mean of layers"),
        "router_entropy": Measured("utilization", "router entropy", "nats, mean of layers"),
        "information": Measured("utilization", "information", "nats, mean of layers"),
        "effective_rank": Measured("representation", "effective rank", "mean of layers"),
        "effective_rank_first": Measured("representation", "effective rank", "first layer"),
        "effective_rank_last": Measured("representation", "effective rank", "last layer"),
    }
)
"""The quantities, by their columns in `Study.training_runs`."""


def measured_means(runs: pd.DataFrame) -> pd.DataFrame:
    """The mean of every measured quantity, with its 95 % interval, for each candidate.

    Parameters
    ----------
    runs : DataFrame
        The training runs of a study, by `Study.training_runs`. Complete ones are used.

    Returns
    -------
    DataFrame
        One row per candidate, sorted: ``candidate``; for each of `MEASURED` that was measured, its
        expected mean over all seeds, under its name, with ``_low`` and ``_high``, by
        `dynamoe_search.statistics.estimate_means`. The ends are NaN where nothing was trained
        twice.

    Examples
    --------
    >>> runs = pd.DataFrame(
    ...     {"candidate": ["3-1", "2-2"], "seed": 0, "state": "complete", "gini": [0.4, 0.1]}
    ... )
    >>> measured_means(runs).values.tolist()
    [['2-2', 0.1, nan, nan], ['3-1', 0.4, nan, nan]]
    """
    complete = runs[runs["state"] == "complete"]
    table = complete.groupby("candidate", sort=True).size().index.to_frame()
    for name in MEASURED:
        if name in complete and complete[name].notna().any():
            table[[name, f"{name}_low", f"{name}_high"]] = estimate_means(
                complete[name], complete["candidate"], complete["seed"]
            )
    return table.reset_index(drop=True)


def with_measured(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of `measured_means` to a table by candidate, where the table lacks them."""
    measured = measured_means(runs)
    lacking = measured.columns.difference(table.columns, sort=False)
    return table.merge(measured[["candidate", *lacking]], on="candidate", how="left")
