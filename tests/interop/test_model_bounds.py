"""The extremes of a model's own budget, against the dynamic programs of `bounds`."""

from itertools import product

import numpy as np
import pytest

import dynamoe_search as ds
from dynamoe_search.bounds.budget import ExpertBudget, budget_extremes, score_schedules
from dynamoe_search.bounds.routing import balanced_distinct_experts, log2_configurations
from dynamoe_search.bounds.separable import best_schedule
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_bounds import QUANTITIES, model_bounds
from tests.interop.configs import FULL_SIZE, SMALL


def mixtral(counts: list[int], active: list[int]) -> ds.ModelConfig:
    layers = {
        str(place): {"num_local_experts": n, "num_experts_per_tok": k}
        for place, (n, k) in enumerate(zip(counts, active, strict=True))
    }
    depth = {"num_hidden_layers": len(counts)}
    return ds.read_config({**SMALL["mixtral"], **depth, "per_layer_config": layers})


@pytest.mark.parametrize(("counts", "step"), [([6, 3, 9], 1), ([4, 4, 8], 2), ([2, 2, 2], 1)])
def test_equal_layers(counts: list[int], step: int) -> None:
    """As `budget_extremes` finds them."""
    found = model_bounds(mixtral(counts, [2, 2, 2]), tokens=5, step=step)
    budget = ExpertBudget(3, sum(counts), 32, 24, ds.TopK(k=2), minimum=2, tokens=5, step=step)
    extremes = budget_extremes(budget, QUANTITIES)
    own = score_schedules(budget, [counts]).iloc[0]
    assert list(found.index) == list(QUANTITIES)
    for name in QUANTITIES:
        row = found.loc[name]
        assert row["value"] == pytest.approx(own[name])
        assert row["least"] == pytest.approx(extremes.loc[name, "least"])
        assert row["most"] == pytest.approx(extremes.loc[name, "most"])
        best = score_schedules(budget, [row["most_schedule"].counts])
        assert best[name].item() == pytest.approx(extremes.loc[name, "most"])


@pytest.mark.parametrize(
    ("counts", "active"), [([8, 8, 8], [1, 2, 4]), ([3, 12, 9], [3, 1, 5]), ([20, 2], [1, 2])]
)
def test_layers_that_differ_in_k(counts: list[int], active: list[int]) -> None:
    found, total = model_bounds(mixtral(counts, active), tokens=7), sum(counts)
    values = {
        "log2_configurations": lambda n, k: log2_configurations(ds.TopK(k=k), n),
        "entropy_ceiling": lambda n, k: np.log(n) / len(counts),
        "distinct_experts": lambda n, k: balanced_distinct_experts(n, k, 7),
    }
    for name, value in values.items():
        utility = [
            [value(n, k) if n >= k else -np.inf for n in range(1, total + 1)] for k in active
        ]
        assert found.loc[name, "most"] == pytest.approx(best_schedule(utility, total).value)
        every = [
            sum(map(value, choice, active))
            for choice in product(*(range(k, total + 1) for k in active))
            if sum(choice) == total
        ]
        assert found.loc[name, "most"] == pytest.approx(max(every))
        assert found.loc[name, "least"] == pytest.approx(min(every))


def test_uniform_is_best_and_a_pyramid_is_not() -> None:
    uniform = model_bounds(ds.read_config(FULL_SIZE["deepseek-v3"]["config"]))
    assert (uniform["share"] == 1).all()
    dots = ds.read_config(FULL_SIZE["dots3-note-vision"]["config"])
    pyramid = model_bounds(dots, tokens=32, step=4)
    assert (pyramid["share"] < 1).all()
    for schedule in pyramid["most_schedule"]:
        assert schedule.total == 608
        assert all(count % 4 == 0 for count in schedule)


def test_no_schedule_has_such_a_step() -> None:
    with pytest.raises(InvalidInput, match="no schedule of 15 experts in 3 layers"):
        model_bounds(ds.read_config(SMALL["mixtral"]), step=2)
    with pytest.raises(InvalidInput, match="experts in at least one layer"):
        model_bounds(ds.read_config(SMALL["jamba, dense"]))
