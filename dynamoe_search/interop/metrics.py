"""The balance of the load as scalars, under the names that NeMo Automodel logs.

The names and formulas are those of `nemo_automodel/components/moe/load_balance_metrics.py` and of
the tables of its MoE guide, so that a dashboard made for one shows the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dynamoe_search.measure.utilization import effective_experts

if TYPE_CHECKING:
    from dynamoe_search.measure.counts import RoutingCounts


def automodel_metrics(
    counts: Sequence[RoutingCounts], detailed: bool = False, extremes: int = 0
) -> dict[str, float]:
    """The scalars of NeMo Automodel's brief or detailed mode, but for the auxiliary loss.

    The utilization of an expert is its load over the even load: 1 is even, 0 is dead.

    Parameters
    ----------
    counts : sequence of RoutingCounts
        One per layer; those with N = 0 are left out.
    detailed : bool
        Whether to add the values of each layer.
    extremes : int
        Also give the utilization of this number of the busiest experts, and of the least busy.

    Returns
    -------
    dict of str to float
        - ``moe/cv_mean``, ``_median``, ``_min``, ``_max``, over layers: the coefficient of
          variation of the load, with ddof = 1;
        - ``moe/expert_utilization_p25``, ``_median``, ``_p75``, ``_min``, ``_max``, over the
          experts of all layers. Of n sorted values, p25 is that of index n // 4;
        - ``moe/dead_expert_frac_mean``, over layers: the share of experts that no token used;
        - ``moe/expert_diversity_mean`` and ``_min``, over layers: exp(H) / N, with the entropy H of
          the load;
        - detailed: ``moe/layer_{i}/cv``, ``utilization_mean``, ``dead_expert_frac``,
          ``expert_diversity``;
        - with extremes: ``moe_expert_utilization/layer_{i}_expert_{j}``.

        Here i counts the layers with experts from 0, in the order of the model, and j the experts
        of the layer from 0.

    Examples
    --------
    >>> from dynamoe_search.measure import RoutingCounts
    >>> one = RoutingCounts.of_indices(np.array([[0, 1], [0, 2]]), experts=4)
    >>> found = automodel_metrics([one], detailed=True)
    >>> [round(found[f"moe/{name}"], 3) for name in ("cv_mean", "layer_0/dead_expert_frac")]
    [0.816, 0.25]
    """
    loads = [one.load.sum(axis=0) for one in counts if one.experts]
    utilization = [load / load.mean() for load in loads]
    values = {
        "cv": [float(use.std(ddof=1)) if len(use) > 1 else 0.0 for use in utilization],
        "utilization_mean": [float(use.mean()) for use in utilization],
        "dead_expert_frac": [float((load == 0).mean()) for load in loads],
        "expert_diversity": [effective_experts(load) / len(load) for load in loads],
    }
    of_experts = np.sort(np.concatenate(utilization))
    quarter = len(of_experts) // 4 if len(of_experts) >= 4 else 0
    found = {
        "moe/cv_mean": np.mean(values["cv"]),
        "moe/cv_median": np.median(values["cv"]),
        "moe/cv_min": np.min(values["cv"]),
        "moe/cv_max": np.max(values["cv"]),
        "moe/expert_utilization_p25": of_experts[quarter],
        "moe/expert_utilization_median": np.median(of_experts),
        "moe/expert_utilization_p75": of_experts[3 * len(of_experts) // 4 if quarter else -1],
        "moe/expert_utilization_min": of_experts[0],
        "moe/expert_utilization_max": of_experts[-1],
        "moe/dead_expert_frac_mean": np.mean(values["dead_expert_frac"]),
        "moe/expert_diversity_mean": np.mean(values["expert_diversity"]),
        "moe/expert_diversity_min": np.min(values["expert_diversity"]),
    }
    if detailed:
        found |= {
            f"moe/layer_{layer}/{name}": value
            for name, by_layer in values.items()
            for layer, value in enumerate(by_layer)
        }
    if extremes > 0:
        found |= _extremes(utilization, extremes)
    return {name: float(value) for name, value in found.items()}


def _extremes(utilization: Sequence[np.ndarray], most: int) -> dict[str, float]:
    ordered = sorted(
        (value, layer, expert)
        for layer, use in enumerate(utilization)
        for expert, value in enumerate(use.tolist())
    )
    return {
        f"moe_expert_utilization/layer_{layer}_expert_{expert}": value
        for value, layer, expert in [*ordered[:most], *ordered[-most:]]
    }
