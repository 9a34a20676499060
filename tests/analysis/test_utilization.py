import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dynamoe_search.analysis.utilization import (
    load_entropy,
    mean_normalised_entropy,
    normalised_entropy,
)
from dynamoe_search.errors import InvalidInput

LOADS = st.lists(st.integers(0, 10**9), min_size=1, max_size=40).filter(any)


@given(load=LOADS)
def test_entropy_against_scipy_and_by_hand(load: list[int]) -> None:
    entropy = load_entropy(load)
    assert entropy == pytest.approx(stats.entropy(load), rel=1e-12, abs=1e-12)
    shares = [count / sum(load) for count in load if count]
    assert entropy == pytest.approx(-math.fsum(f * math.log(f) for f in shares), abs=1e-12)


@given(load=LOADS, data=st.data())
def test_bounds_and_the_order_and_scale_of_a_load(load: list[int], data: st.DataObject) -> None:
    assert 0 <= load_entropy(load) <= math.log(len(load))
    assert 0 <= normalised_entropy(load) <= 1
    shuffled = data.draw(st.permutations(load))
    assert load_entropy(shuffled) == pytest.approx(load_entropy(load), abs=1e-12)
    assert load_entropy([3 * count for count in load]) == pytest.approx(
        load_entropy(load), abs=1e-12
    )


@given(experts=st.integers(2, 300), count=st.integers(1, 10**9))
def test_the_extremes_are_met(experts: int, count: int) -> None:
    assert normalised_entropy([count] * experts) == pytest.approx(1, abs=1e-12)
    assert normalised_entropy([count] + [0] * (experts - 1)) == 0


@given(loads=st.lists(LOADS, min_size=1, max_size=8))
def test_every_layer_counts_alike(loads: list[list[int]]) -> None:
    mean = mean_normalised_entropy(loads)
    layers = [stats.entropy(load) / math.log(len(load)) if len(load) > 1 else 1.0 for load in loads]
    assert mean == pytest.approx(np.mean(layers), abs=1e-12)
    assert 0 <= mean <= 1
    # A layer's share does not grow with the tokens that went through it.
    heavier = [[1000 * count for count in loads[0]], *loads[1:]]
    assert mean_normalised_entropy(heavier) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(
    "load", [[], [0, 0], [1, -1], [2, -1], [1, math.nan], [1, math.inf], [[1, 2]], 3]
)
def test_what_is_no_load_is_refused(load) -> None:
    for measure in (load_entropy, normalised_entropy, lambda load: mean_normalised_entropy([load])):
        with pytest.raises(InvalidInput, match="the load is"):
            measure(load)


def test_a_dense_network_has_none() -> None:
    with pytest.raises(InvalidInput, match="a dense network has no experts"):
        mean_normalised_entropy(())
