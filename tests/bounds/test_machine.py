import math

import pytest

from dynamoe_search.bounds.budget import ExpertBudget, compare_schedules
from dynamoe_search.bounds.machine import (
    Machine,
    decoding_seconds,
    roofline,
    training_seconds,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.specification import TopK

SLOW_MEMORY = Machine(peak_flops=1e12, bandwidth=1e6)
SLOW_ARITHMETIC = Machine(peak_flops=1e6, bandwidth=1e12)


def test_the_slower_of_arithmetic_and_memory_decides() -> None:
    assert SLOW_MEMORY.least_seconds(flops=1e6, traffic=1e6) == 1
    assert SLOW_ARITHMETIC.least_seconds(flops=1e6, traffic=1e6) == 1


def test_a_training_step_moves_six_words_a_parameter_and_computes_three_passes() -> None:
    assert training_seconds(1000, 50, 7, SLOW_MEMORY) == pytest.approx(6 * 4 * 1000 / 1e6)
    assert training_seconds(1000, 50, 7, SLOW_ARITHMETIC) == pytest.approx(3 * 7 * 50 / 1e6)


def test_decoding_reads_each_weight_that_is_used_once() -> None:
    assert decoding_seconds(1000, 50, 7, SLOW_MEMORY) == pytest.approx(4 * 1000 / 1e6)
    assert decoding_seconds(1000, 50, 7, SLOW_ARITHMETIC) == pytest.approx(7 * 50 / 1e6)


def times(tokens: int, machine: Machine):
    budget = ExpertBudget(4, 16, width=32, hidden=64, router=TopK(k=2), tokens=tokens)
    names = ("uniform", "descending")
    scores = compare_schedules(budget, {name: budget.named(name) for name in names})
    return roofline(scores, tokens, machine).set_axis(list(names))


def test_one_token_of_a_batch_is_decoding() -> None:
    alone = times(1, SLOW_MEMORY)
    assert alone["batch_seconds"].tolist() == pytest.approx(alone["decoding_seconds"].tolist())
    # 16 routing vectors of 32, and 2 experts of 2 * 32 * 64 in each of 4 layers
    assert alone["decoding_seconds"].tolist() == pytest.approx([4 * (512 + 8 * 4096) / 1e6] * 2)


def test_schedules_differ_in_the_weights_that_batches_touch_only() -> None:
    many = times(6, SLOW_MEMORY)
    assert many.loc["uniform", "batch_seconds"] > many.loc["descending", "batch_seconds"]
    same = many[["training_seconds", "decoding_seconds"]]
    assert same.loc["uniform"].tolist() == pytest.approx(same.loc["descending"].tolist())
    computed = times(6, SLOW_ARITHMETIC)
    assert computed["batch_seconds"].nunique() == 1


@pytest.mark.parametrize("figures", [(0, 1e9), (1e9, -1), (math.nan, 1e9), (1e9, math.inf)])
def test_impossible_machines_are_refused(figures: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="must be above 0"):
        Machine(*figures)
