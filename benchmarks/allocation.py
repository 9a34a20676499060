"""The batched allocation against a loop: a million profiles of 12 layers and 96 experts.

python benchmarks/allocation.py
"""

from __future__ import annotations

import time

import numpy as np

from dynamoe_search.schedules import allocate, allocate_batch

SCHEDULES, DEPTH, TOTAL = 1_000_000, 12, 96
LOOPED = 5_000


def main() -> None:
    """Time both forms in one run, and print the table."""
    generator = np.random.default_rng(0)
    cases = {
        "contrasts up to 20 to 1": 1 + 0.9 * generator.uniform(-1, 1, (SCHEDULES, DEPTH)),
        "whole weights, many ties": generator.integers(1, 5, (SCHEDULES, DEPTH)).astype(float),
        "weights far below the minimum": generator.exponential(1, (SCHEDULES, DEPTH)) ** 3,
    }
    for name, profiles in cases.items():
        start = time.perf_counter()
        batched = allocate_batch(profiles, TOTAL)
        batch_seconds = time.perf_counter() - start

        start = time.perf_counter()
        looped = [allocate(profile, TOTAL).counts for profile in profiles[:LOOPED]]
        loop_seconds = (time.perf_counter() - start) * SCHEDULES / LOOPED

        assert np.array_equal(batched[:LOOPED], np.array(looped))
        print(
            f"{name:31} batch {batch_seconds:5.2f} s per million,"
            f" loop {loop_seconds:6.1f} s per million, ratio {loop_seconds / batch_seconds:5.0f}"
        )


if __name__ == "__main__":
    main()
