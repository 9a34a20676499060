"""The best schedules together with their active schedules, against all of them."""

import math
from itertools import product

import numpy as np
import pytest

from dynamoe_search.bounds.pairs import best_pair
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import enumerate_schedules


def log_configurations(depth: int, minimum: int, counts: int, most: int) -> np.ndarray:
    layer = [
        [math.log(math.comb(n, k)) if k <= n else -np.inf for k in range(1, most + 1)]
        for n in range(minimum, minimum + counts)
    ]
    return np.array([layer] * depth)


@pytest.mark.parametrize("seed", range(3))
def test_against_every_pair(seed: int) -> None:
    generator = np.random.default_rng(seed)
    depth, minimum, experts, active = 3, 1 + seed % 2, 11, 6
    counts, most = 6, 4
    utility = generator.normal(size=(depth, counts, most))
    utility[log_configurations(depth, minimum, counts, most) == -np.inf] = -np.inf
    pairs = product(
        enumerate_schedules(experts, depth, minimum, minimum + counts - 1),
        enumerate_schedules(active, depth, 1, most),
    )
    values = {
        (schedule, used): sum(
            utility[layer, schedule[layer] - minimum, used[layer] - 1] for layer in range(depth)
        )
        for schedule, used in pairs
    }
    found = best_pair(utility, experts, active, minimum)
    assert found.value == pytest.approx(max(values.values()))
    assert values[found.schedule, found.active] == pytest.approx(found.value)


def test_one_schedule_alone_is_the_best_active_schedule() -> None:
    utility = np.full((3, 4, 3), -np.inf)
    gain = np.array([[0, 5, 6], [0, 1, 9], [0, 2, 3]])
    for layer, more in enumerate((1, 2, 0)):
        utility[layer, more] = gain[layer]
    found = best_pair(utility, experts=6, active=5)
    assert (str(found.schedule), str(found.active), found.value) == ("2-3-1", "1-3-1", 9)


def test_configurations_gain_where_both_move_and_not_where_one_does() -> None:
    # C(2n, 2k) > C(n, k)^2; but ln C(N, K) is concave in K alone, and in N alone.
    utility = log_configurations(4, 2, 10, 6)
    both = best_pair(utility, experts=24, active=8, minimum=2)
    assert (str(both.schedule), str(both.active)) == ("3-9-3-9", "1-3-1-3")
    assert both.value > 4 * math.log(math.comb(6, 2))
    alone = np.full_like(utility, -np.inf)
    alone[:, 4] = utility[:, 4]  # 6 experts in each layer
    assert str(best_pair(alone, experts=24, active=8, minimum=2).active) == "2-2-2-2"


@pytest.mark.parametrize(
    ("utility", "sums", "message"),
    [
        (np.zeros((2, 3)), (4, 2), "shape"),
        (np.full((2, 3, 2), np.inf), (4, 2), "below inf"),
        (np.full((2, 3, 2), -np.inf), (4, 2), "is forbidden"),
        (np.zeros((2, 3, 2)), (7, 2), "at most 6, got 7"),
        (np.zeros((2, 3, 2)), (4, 5), "at most 4, got 5"),
    ],
)
def test_what_cannot_be(utility: np.ndarray, sums: tuple[int, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        best_pair(utility, *sums)
