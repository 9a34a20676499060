import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import mutual_info_score

from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.utilization import (
    active_moments,
    chance_information,
    coefficient_of_variation,
    dead_experts,
    effective_experts,
    gini,
    load_entropy,
    load_shares,
    maximum_violation,
    mean_normalized_entropy,
    mutual_information,
    normalized_entropy,
)

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
    assert 0 <= normalized_entropy(load) <= 1
    shuffled = data.draw(st.permutations(load))
    assert load_entropy(shuffled) == pytest.approx(load_entropy(load), abs=1e-12)
    assert load_entropy([3 * count for count in load]) == pytest.approx(
        load_entropy(load), abs=1e-12
    )


@given(experts=st.integers(2, 300), count=st.integers(1, 10**9))
def test_the_extremes_are_met(experts: int, count: int) -> None:
    assert normalized_entropy([count] * experts) == pytest.approx(1, abs=1e-12)
    assert normalized_entropy([count] + [0] * (experts - 1)) == 0


@pytest.mark.slow
@given(loads=st.lists(LOADS, min_size=1, max_size=8))
def test_every_layer_has_equal_weight(loads: list[list[int]]) -> None:
    mean = mean_normalized_entropy(loads)
    layers = [stats.entropy(load) / math.log(len(load)) if len(load) > 1 else 1.0 for load in loads]
    assert mean == pytest.approx(np.mean(layers), abs=1e-12)
    assert 0 <= mean <= 1
    # A layer's share does not grow with the tokens that went through it.
    heavier = [[1000 * count for count in loads[0]], *loads[1:]]
    assert mean_normalized_entropy(heavier) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize(
    "load", [[], [0, 0], [1, -1], [2, -1], [1, math.nan], [1, math.inf], [[1, 2]], 3]
)
def test_what_is_no_load_is_refused(load) -> None:
    for measure in (
        load_shares,
        load_entropy,
        normalized_entropy,
        lambda load: mean_normalized_entropy([load]),
        effective_experts,
        coefficient_of_variation,
        maximum_violation,
        gini,
        dead_experts,
    ):
        with pytest.raises(InvalidInput, match="load is"):
            measure(load)


def test_a_dense_network_has_none() -> None:
    with pytest.raises(InvalidInput, match="a dense network has no experts"):
        mean_normalized_entropy(())


@pytest.mark.parametrize(
    ("load", "effective", "variation", "violation", "gini_", "dead"),
    [
        ([5], 1, 0, 0, 0, 0),
        ([4, 4, 4, 4], 4, 0, 0, 0, 0),
        ([8, 0, 0, 0], 1, math.sqrt(3), 3, 0.75, 3),
        ([6, 6, 0, 0], 2, 1, 1, 0.5, 2),
        # Shares 1/2, 1/4, 1/4: H = 1.5 ln 2; deviations 1/6, -1/12, -1/12.
        ([2, 1, 1], 2**1.5, math.sqrt(1 / 8), 0.5, 1 / 6, 0),
    ],
)
def test_worked_examples(
    load: list[int], effective: float, variation: float, violation: float, gini_: float, dead: int
) -> None:
    assert effective_experts(load) == pytest.approx(effective, abs=1e-12)
    assert coefficient_of_variation(load) == pytest.approx(variation, abs=1e-12)
    assert maximum_violation(load) == pytest.approx(violation, abs=1e-12)
    assert gini(load) == pytest.approx(gini_, abs=1e-12)
    assert dead_experts(load) == dead


@given(load=LOADS)
def test_measures_against_their_definitions(load: list[int]) -> None:
    mean = sum(load) / len(load)
    assert sum(load_shares(load)) == pytest.approx(1, abs=1e-12)
    assert effective_experts(load) == pytest.approx(math.exp(stats.entropy(load)), rel=1e-12)
    assert coefficient_of_variation(load) == pytest.approx(stats.variation(load), abs=1e-9)
    assert maximum_violation(load) == pytest.approx((max(load) - mean) / mean, abs=1e-12)
    differences = sum(abs(a - b) for a in load for b in load)
    assert gini(load) == pytest.approx(differences / (2 * len(load) ** 2 * mean), abs=1e-12)
    assert dead_experts(load) == load.count(0)


@given(load=LOADS, data=st.data())
def test_measures_keep_their_bounds_and_know_no_order(load: list[int], data: st.DataObject) -> None:
    experts = len(load)
    shuffled = data.draw(st.permutations(load))
    for measure, lowest, highest in (
        (effective_experts, 1, experts),
        (coefficient_of_variation, 0, math.sqrt(experts - 1) + 1e-9),
        (maximum_violation, 0, experts - 1 + 1e-9),
        (gini, 0, 1 - 1 / experts + 1e-9),
        (dead_experts, 0, experts - 1),
    ):
        assert lowest <= measure(load) <= highest
        assert measure(shuffled) == pytest.approx(measure(load), abs=1e-9)
    assert gini(load) < 1


TABLES = st.integers(1, 6).flatmap(
    lambda experts: st.lists(
        st.lists(st.integers(0, 10**6), min_size=experts, max_size=experts), min_size=1, max_size=6
    )
)


@given(table=TABLES.filter(lambda table: any(map(any, table))))
def test_mutual_information_against_scikit_learn(table: list[list[int]]) -> None:
    found = mutual_information(table)
    expected = mutual_info_score(None, None, contingency=np.array(table))
    assert found == pytest.approx(expected, abs=1e-9)
    assert mutual_information(np.transpose(table)) == pytest.approx(found, abs=1e-9)
    groups, experts = np.sum(table, axis=1), np.sum(table, axis=0)
    assert 0 <= found <= min(load_entropy(groups), load_entropy(experts))


def test_an_expert_a_class_tells_all_and_a_shared_one_nothing() -> None:
    assert mutual_information(7 * np.eye(5)) == pytest.approx(math.log(5))
    assert mutual_information(np.outer([1, 2, 3], [4, 5])) == pytest.approx(0, abs=1e-12)
    with pytest.raises(InvalidInput, match="it must be \\(groups, experts\\)"):
        mutual_information([1, 2])
    with pytest.raises(InvalidInput, match="load is"):
        mutual_information([[0, 0]])


def use_of_one(random: np.random.Generator, tokens: int) -> NDArray[np.bool_]:
    return random.multinomial(1, [0.5, 0.2, 0.15, 0.1, 0.05], tokens) > 0


def use_of_three(random: np.random.Generator, tokens: int) -> NDArray[np.bool_]:
    gates = random.normal([1.0, 0.5, 0, 0, 0], size=(tokens, 5))
    return gates.argsort(axis=1).argsort(axis=1) >= 2


def use_of_some(random: np.random.Generator, tokens: int) -> NDArray[np.bool_]:
    gates = random.normal([1.0, 0.5, 0, 0, -1], size=(tokens, 5))
    return gates >= gates.max(axis=1, keepdims=True) - 1


@pytest.mark.parametrize("use", [use_of_one, use_of_three, use_of_some])
def test_chance_is_the_mean_over_permutations(
    use: Callable[[np.random.Generator, int], NDArray[np.bool_]],
) -> None:
    random = np.random.default_rng(0)
    used = use(random, 1500)
    classes = random.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=len(used))
    members = np.eye(4, dtype=np.int64)
    shuffled = [
        mutual_information(members[random.permutation(classes)].T @ used) for _ in range(600)
    ]
    chance = chance_information(np.bincount(used.sum(axis=1), minlength=6), groups=4, experts=5)
    error = np.std(shuffled) / math.sqrt(len(shuffled))
    assert chance == pytest.approx(np.mean(shuffled), abs=4 * error)
    # Independent draws would have another level where a token uses several experts.
    if use is not use_of_one:
        assert abs(3 * 4 / (2 * used.sum()) - np.mean(shuffled)) > 8 * error


def test_chance_alone_tells_nothing_of_all_experts_or_one_token() -> None:
    assert chance_information([0, 0, 0, 50], groups=4, experts=3) == 0
    assert chance_information([0, 1], groups=1, experts=1) == 0


def test_moments_of_the_experts_that_tokens_use() -> None:
    active = [1, 1, 2, 4, 4, 4]
    assert active_moments(np.bincount(active)) == pytest.approx((np.mean(active), np.var(active)))
