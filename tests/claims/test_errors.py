"""The error rates of a whole folder of claims, simulated by the benchmark's script."""

import math

import pytest

from benchmarks.claims_errors import AT_MARGIN, World, score


@pytest.mark.slow
@pytest.mark.parametrize("world", [World(), World(others=0.02), World(AT_MARGIN)])
def test_verdicts_of_a_folder_rarely_err(world: World) -> None:
    found = score(world, repetitions=40)
    most = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 40)
    assert found.false_difference <= most
    assert found.false_equivalence <= most
    assert found.decided > 0.99
