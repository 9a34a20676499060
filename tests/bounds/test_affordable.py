"""The best schedule within a cost, against all schedules."""

from itertools import product
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.bounds.affordable import best_affordable_schedule
from dynamoe_search.bounds.separable import best_schedule
from dynamoe_search.errors import InvalidInput

UTILITIES = st.sampled_from([-inf, -2.0, -0.5, 0.0, 0.25, 1.0, 3.0])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_schedule_within_the_budget_is_better_or_cheaper(
    data: st.DataObject,
) -> None:
    depth, counts = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    rows = st.lists(UTILITIES, min_size=counts, max_size=counts)
    u = np.array(data.draw(st.lists(rows, min_size=depth, max_size=depth)))
    prices = st.lists(st.integers(0, 6), min_size=counts, max_size=counts)
    c = np.array(data.draw(st.lists(prices, min_size=depth, max_size=depth)))
    budget = data.draw(st.integers(0, 20))
    layers = np.arange(depth)
    found = [
        (u[layers, choice].sum(), -c[layers, choice].sum())
        for choice in map(list, product(range(counts), repeat=depth))
        if c[layers, choice].sum() <= budget and u[layers, choice].sum() > -inf
    ]
    if not found:
        with pytest.raises(InvalidInput, match="forbidden, or over"):
            best_affordable_schedule(u, c, budget)
        return
    optimum = best_affordable_schedule(u, c, budget, minimum=2)
    choice = [count - 2 for count in optimum.schedule]
    assert optimum.value == u[layers, choice].sum()
    assert (optimum.value, -c[layers, choice].sum()) == max(found)


def test_where_every_expert_helps_and_costs_the_same_it_is_the_best_of_one_total() -> None:
    rng = np.random.default_rng(0)
    u = rng.exponential(size=(6, 8)).cumsum(axis=1)
    cost = np.broadcast_to(10**12 * np.arange(1, 9), u.shape)
    optimum = best_affordable_schedule(u, cost, budget=20 * 10**12)
    assert optimum.schedule == best_schedule(u, total=20).schedule


@pytest.mark.parametrize(
    ("utility", "cost", "message"),
    [
        ([[1.0, nan]], [[1, 2]], "below inf"),
        ([[1.0, 2.0]], [[1]], "of shape"),
        ([[1.0, 2.0]], [[1, 2.5]], "whole number"),
        ([[1.0, 2.0]], [[-1, 2]], "whole number"),
        ([[1.0, 2.0]], [[3, 4]], "over 2"),
    ],
)
def test_bad_input_is_refused(utility: object, cost: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        best_affordable_schedule(utility, cost, budget=2)
