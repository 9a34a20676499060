import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dynamoe_search.bounds.separable import (
    best_of_equal_layers,
    best_schedule,
    worst_of_equal_layers,
    worst_schedule,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, enumerate_schedules, pattern_schedule


def value(utility: np.ndarray, schedule: Schedule, minimum: int) -> float:
    return sum(utility[layer, count - minimum] for layer, count in enumerate(schedule))


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    depth, counts = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    minimum = draw(st.integers(1, 3))
    total = draw(st.integers(depth * minimum, depth * (minimum + counts - 1)))
    element = st.one_of(st.floats(-1e6, 1e6), st.integers(-2, 2).map(float))
    return draw(arrays(np.float64, (depth, counts), elements=element)), total, minimum


@given(problems())
def test_the_best_and_the_worst_are_those_of_an_enumeration(
    problem: tuple[np.ndarray, int, int],
) -> None:
    utility, total, minimum = problem
    depth, counts = utility.shape
    values = [
        value(utility, schedule, minimum)
        for schedule in enumerate_schedules(total, depth, minimum, minimum + counts - 1)
    ]
    slack = 1e-9 * max(1.0, np.abs(utility).max())
    for optimum, extreme in (
        (best_schedule(utility, total, minimum), max(values)),
        (worst_schedule(utility, total, minimum), min(values)),
    ):
        assert optimum.value == pytest.approx(extreme, abs=slack)
        assert value(utility, optimum.schedule, minimum) == pytest.approx(extreme, abs=slack)
        assert optimum.schedule.total == total


@given(
    arrays(np.float64, st.integers(1, 9), elements=st.one_of(st.floats(-9, 9), st.just(-1.0))),
    st.sampled_from(["concave", "convex", "neither"]),
    st.integers(1, 5),
    st.integers(1, 3),
    st.data(),
)
def test_equal_layers_have_the_optima_of_any_layers(
    steps: np.ndarray, shape: str, layers: int, minimum: int, data: st.DataObject
) -> None:
    if shape != "neither":
        steps = np.sort(steps)[:: -1 if shape == "concave" else 1]
    utility = np.cumsum(steps)
    total = data.draw(st.integers(layers * minimum, layers * (minimum + len(utility) - 1)))
    for equal, any_layers in (
        (best_of_equal_layers, best_schedule),
        (worst_of_equal_layers, worst_schedule),
    ):
        found = equal(utility, layers, total, minimum)
        expected = any_layers(np.tile(utility, (layers, 1)), total, minimum)
        assert found.value == pytest.approx(expected.value, abs=1e-9)
        assert value(np.tile(utility, (layers, 1)), found.schedule, minimum) == pytest.approx(
            expected.value, abs=1e-9
        )
        assert found.schedule.total == total


def test_a_forbidden_number_of_equal_layers_is_not_taken() -> None:
    utility = np.array([0.0, -np.inf, 5.0])
    assert best_of_equal_layers(utility, layers=2, total=4).schedule == Schedule((1, 3))
    assert worst_of_equal_layers(-utility, layers=3, total=5).schedule == Schedule((1, 1, 3))
    with pytest.raises(InvalidInput, match="is forbidden"):
        best_of_equal_layers(utility, layers=2, total=5)


def test_concave_utilities_are_maximized_by_the_largest_gains_first() -> None:
    generator = np.random.default_rng(0)
    gains = -np.sort(-generator.exponential(1, (12, 84)), axis=1)
    utility = np.concatenate([np.zeros((12, 1)), gains.cumsum(axis=1)], axis=1)
    greedy = np.sort(gains, axis=None)[-(96 - 12) :].sum()
    assert best_schedule(utility, total=96).value == pytest.approx(greedy)


def test_of_equals_the_most_even_schedule_is_taken() -> None:
    flat = np.zeros((4, 20))
    assert best_schedule(flat, total=20).schedule == Schedule((5, 5, 5, 5))
    assert worst_schedule(flat, total=20).schedule == Schedule((5, 5, 5, 5))
    concave = np.tile(np.log(np.arange(1, 86)), (12, 1))  # whose sums differ by rounding only
    assert best_schedule(concave, total=96).schedule == pattern_schedule("uniform", 12, 96)


def test_counts_can_be_forbidden() -> None:
    only_powers = np.tile(np.where(np.isin(np.arange(1, 9), [1, 2, 4, 8]), 0.0, -math.inf), (3, 1))
    assert set(best_schedule(only_powers, total=11).schedule) == {1, 2, 8}
    assert set(worst_schedule(-only_powers, total=13).schedule) == {1, 4, 8}
    with pytest.raises(InvalidInput, match="forbidden"):
        best_schedule(only_powers, total=23)


@pytest.mark.parametrize(
    ("utility", "total", "message"),
    [
        ([1.0, 2.0], 3, "shape"),
        ([[1.0, math.nan]], 1, "below inf"),
        ([[1.0, math.inf]], 1, "below inf"),
        ([[1.0, 2.0]] * 2, 5, "at most 4"),
        ([[1.0, 2.0]] * 2, 1, "at least 2"),
    ],
)
def test_bad_input_is_refused(utility: list, total: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        best_schedule(utility, total)
