"""Bounds of a million schedules of 12 layers and 96 experts: one table against a loop.

python benchmarks/bounds.py
"""

from __future__ import annotations

import time

import numpy as np

from dynamoe_search.bounds.budget import ExpertBudget, budget_extremes, score_schedules
from dynamoe_search.bounds.layers import QUANTITIES, schedule_bounds
from dynamoe_search.schedules import Schedule, allocate_batch
from dynamoe_search.specification import Experts, Percentile, Router, TopK, TopP

SCHEDULES, LAYERS, EXPERTS = 1_000_000, 12, 96
LOOPED = 200


def main() -> None:
    """Time both ways and the extremes of the budget, and print the results."""
    profiles = np.random.default_rng(0).exponential(1, (SCHEDULES, LAYERS)) + 0.05
    counts = allocate_batch(profiles, EXPERTS)
    routers: tuple[Router, ...] = (TopK(k=2), Percentile(), TopP(p=0.7))
    for router in routers:
        budget = ExpertBudget(LAYERS, EXPERTS, 512, 2048, router, tokens=32)
        start = time.perf_counter()
        scores = score_schedules(budget, counts)
        scoring = time.perf_counter() - start

        start = time.perf_counter()
        looped = [
            schedule_bounds(Experts(2048, Schedule(tuple(row)), router), 512, tokens=32)
            for row in counts[:LOOPED].tolist()
        ]
        looping = (time.perf_counter() - start) * SCHEDULES / LOOPED
        assert np.allclose(scores[:LOOPED], looped, rtol=1e-12)

        start = time.perf_counter()
        extremes = budget_extremes(budget)
        solving = time.perf_counter() - start
        for name in QUANTITIES:
            slack = 1e-9 * abs(extremes.loc[name, "most"])
            assert scores[name].max() <= extremes.loc[name, "most"] + slack
            assert scores[name].min() >= extremes.loc[name, "least"] - slack
        print(
            f"{router.name:10} {len(QUANTITIES)} bounds of a million schedules in {scoring:5.2f} s,"
            f" looped {looping:6.0f} s, ratio {looping / scoring:6.0f};"
            f" extremes of the budget in {solving:5.3f} s"
        )


if __name__ == "__main__":
    main()
