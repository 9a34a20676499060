"""Metrics by the names of NeMo Automodel, against a worked example and its rules."""

import statistics

import numpy as np
import pytest

from dynamoe_search.interop.metrics import automodel_metrics
from dynamoe_search.measure.counts import RoutingCounts


def counts_of(*loads: list[int]) -> list[RoutingCounts]:
    """Layers in which each token uses one expert."""
    return [
        RoutingCounts.of_indices(np.repeat(np.arange(len(load)), load)[:, None], len(load))
        if load
        else RoutingCounts.nothing(["all"])
        for load in loads
    ]


def test_a_worked_example() -> None:
    """A dense layer between two of 4 and 2 experts: utilizations 2, 1, 1, 0 and 0.5, 1.5."""
    found = automodel_metrics(counts_of([4, 2, 2, 0], [], [1, 3]), detailed=True, extremes=1)
    first, second = statistics.stdev([2, 1, 1, 0]), statistics.stdev([0.5, 1.5])
    diversity = (2**1.5 / 4, np.exp(-0.25 * np.log(0.25) - 0.75 * np.log(0.75)) / 2)
    expected = {
        "moe/cv_mean": (first + second) / 2,
        "moe/cv_median": (first + second) / 2,
        "moe/cv_min": second,
        "moe/cv_max": first,
        "moe/expert_utilization_p25": 0.5,  # of 0, 0.5, 1, 1, 1.5, 2 that of index 6 // 4
        "moe/expert_utilization_median": 1,
        "moe/expert_utilization_p75": 1.5,  # and that of index 18 // 4
        "moe/expert_utilization_min": 0,
        "moe/expert_utilization_max": 2,
        "moe/dead_expert_frac_mean": 0.125,
        "moe/expert_diversity_mean": sum(diversity) / 2,
        "moe/expert_diversity_min": diversity[0],
        "moe/layer_0/cv": first,
        "moe/layer_1/cv": second,
        "moe/layer_0/utilization_mean": 1,
        "moe/layer_1/utilization_mean": 1,
        "moe/layer_0/dead_expert_frac": 0.25,
        "moe/layer_1/dead_expert_frac": 0,
        "moe/layer_0/expert_diversity": diversity[0],
        "moe/layer_1/expert_diversity": diversity[1],
        "moe_expert_utilization/layer_0_expert_3": 0,
        "moe_expert_utilization/layer_0_expert_0": 2,
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("load", "low", "high"), [([5], 1, 1), ([1, 3], 0.5, 1.5), ([1, 1, 1, 5], 0.5, 2.5)]
)
def test_few_experts(load: list[int], low: float, high: float) -> None:
    found = automodel_metrics(counts_of(load))
    assert found["moe/expert_utilization_p25"] == low
    assert found["moe/expert_utilization_p75"] == high
    assert (found["moe/cv_mean"] == 0) == (len(load) == 1)
