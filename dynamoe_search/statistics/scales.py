"""A ladder's results as a table: each candidate beside a reference, at each scale and over all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.ladder import (
    LEAST_SCALES,
    DifferenceFit,
    Estimate,
    compute_multipliers,
    fit_difference,
    mean_estimate,
)

_UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def compare_scales(results: pd.DataFrame, reference: str = "uniform") -> pd.DataFrame:
    """Each candidate beside the reference, at each scale.

    Parameters
    ----------
    results : DataFrame
        As `Study.ladder` gives it: ``scale``, ``label``, ``candidate``, ``seed``, ``loss``,
        ``training_flops`` and ``total_parameters``.
    reference : str
        The label with which the others are compared.

    Returns
    -------
    DataFrame
        A row per label and scale, the reference among them: ``label``, ``scale``, ``candidate``,
        ``total_parameters`` and ``training_flops`` (means over seeds), ``seeds`` (that it has in
        common with the reference), ``loss`` (its mean over these), ``difference`` to the reference
        in nats, with its 95 % interval of the paired t test, ``low`` and ``high``; ``multiplier``
        (of the reference's compute, see `compute_multipliers`), ``multiplier_low`` and
        ``multiplier_high``, NaN where fewer than 3 scales or 2 seeds are known.

    Raises
    ------
    InvalidInput
        Where the reference has no results.
    """
    losses, rows = _losses(results, reference), list[dict[str, Any]]()
    costs = ["total_parameters", "training_flops"]
    about = results.groupby(["label", "scale"]).agg(
        {"candidate": "first", **dict.fromkeys(costs, "mean")}
    )
    for label in results["label"].unique():
        multipliers = _multipliers(results, losses, label, reference)
        for scale, table in losses.items():
            if label not in table:
                continue
            pairs = table[[reference, label]].dropna() if label != reference else table[[label]]
            of_seeds = (pairs[label] - pairs[reference]).to_numpy()
            found = mean_estimate(of_seeds) if len(of_seeds) > 1 else _UNKNOWN
            factor = multipliers.get(scale, _UNKNOWN)
            rows.append(
                {
                    **{"label": label, "scale": scale},
                    **about.loc[(label, scale)].to_dict(),
                    **{"seeds": len(pairs), "loss": pairs[label].mean()},
                    "difference": of_seeds.mean() if len(of_seeds) else math.nan,
                    **{"low": found.low, "high": found.high, "multiplier": factor.value},
                    **{"multiplier_low": factor.low, "multiplier_high": factor.high},
                }
            )
    return pd.DataFrame(rows)


def fit_ladder(results: pd.DataFrame, reference: str = "uniform") -> dict[str, DifferenceFit]:
    """How the difference to the reference changes with training FLOPs, by label.

    Parameters
    ----------
    results, reference
        As for `compare_scales`. The training FLOPs are those of the reference; the seeds are those
        that both have at every scale.

    Returns
    -------
    dict of str to DifferenceFit
        Without labels that have fewer than 3 scales or 2 seeds, or are the reference's candidate at
        every scale.

    Raises
    ------
    InvalidInput
        Where the reference has no results.

    Examples
    --------
    >>> results = pd.DataFrame({
    ...     "scale": [1, 1, 2, 2, 3, 3] * 2, "label": ["uniform"] * 6 + ["pyramid"] * 6,
    ...     "seed": [0, 1] * 6, "training_flops": [1e9, 1e9, 8e9, 8e9, 64e9, 64e9] * 2,
    ...     "loss": [2.0, 2.1, 1.5, 1.6, 1.2, 1.3, 1.92, 2.03, 1.46, 1.565, 1.18, 1.283]})
    >>> round(fit_ladder(results)["pyramid"].exponent.value, 2)
    -0.34
    """
    losses = _losses(results, reference)
    found: dict[str, DifferenceFit] = {}
    for label in results["label"].unique():
        whole = _whole(losses, label, reference)
        if label == reference or whole is None or (whole[0] == whole[1]).all():
            continue
        found[label] = fit_difference(_flops(results, reference).array, whole[1] - whole[0])
    return found


def _losses(results: pd.DataFrame, reference: str) -> dict[int, pd.DataFrame]:
    """By scale, the losses by seed and label: in the order of the reference's training FLOPs."""
    found = {
        int(scale): results[results["scale"] == scale].pivot(
            index="seed", columns="label", values="loss"
        )
        for scale in _flops(results, reference).index
    }
    if not found:
        labels = ", ".join(map(str, results["label"].unique()))
        raise InvalidInput(
            f"the ladder has no results of {reference!r} to compare with; it has {labels}"
        )
    return found


def _flops(results: pd.DataFrame, reference: str) -> pd.Series:
    """Training FLOPs of the reference by scale, in increasing order."""
    of_reference = results[results["label"] == reference]
    return of_reference.groupby("scale")["training_flops"].mean().sort_values()


def _whole(
    losses: dict[int, pd.DataFrame], label: str, reference: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The losses of the reference and of a label by seed and scale; None where they are too few."""
    if len(losses) < LEAST_SCALES or any(label not in table for table in losses.values()):
        return None
    of_reference = pd.DataFrame({scale: table[reference] for scale, table in losses.items()})
    of_label = pd.DataFrame({scale: table[label] for scale, table in losses.items()})
    complete = of_reference.notna().all(axis=1) & of_label.notna().all(axis=1)
    if complete.sum() < 2:
        return None
    return of_reference[complete].to_numpy(), of_label[complete].to_numpy()


def _multipliers(
    results: pd.DataFrame, losses: dict[int, pd.DataFrame], label: str, reference: str
) -> dict[int, Estimate]:
    whole = _whole(losses, label, reference)
    if whole is None:
        return {}
    found = compute_multipliers(_flops(results, reference).array, *whole)
    return dict(zip(losses, found, strict=True))
