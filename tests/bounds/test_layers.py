from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.bounds.budget import (
    ExpertBudget,
    bounds_by_experts,
    budget_extremes,
    compare_schedules,
    family_bounds,
    sample_family,
    score_schedules,
)
from dynamoe_search.bounds.layers import QUANTITIES, layer_bounds, schedule_bounds
from dynamoe_search.budgets import active_parameters, flops_per_token, held_routers, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    FAMILIES,
    PATTERNS_AND_UNIFORM,
    PRESETS,
    Blend,
    Free,
    Mixture,
    Schedule,
    Spline,
    allocate_batch,
    enumerate_schedules,
)
from dynamoe_search.specification import (
    Classifier,
    Experts,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
)

ROUTERS = [
    TopK(k=2),
    TopK(k=4),
    Percentile(),
    Percentile(tau=0.2),
    TopP(p=0.7),
    TopP(target=1.5),
    Relative(),
    Threshold(target=2.5),
]
SCHEDULE = Schedule((7, 3, 1, 1))


@pytest.mark.parametrize("router", [TopK(k=2), Percentile(), TopP(p=0.7)], ids=str)
def test_the_extremes_in_steps_are_those_of_every_schedule(router: Router) -> None:
    budget = ExpertBudget(3, 18, 32, 64, router, minimum=2, maximum=11, tokens=16, step=3)
    everything = list(enumerate_schedules(18, 3, *budget.limits))
    scores = score_schedules(budget, [schedule.counts for schedule in everything])
    extremes = budget_extremes(budget)
    assert extremes["least"].to_numpy() == pytest.approx(scores.min().to_numpy())
    assert extremes["most"].to_numpy() == pytest.approx(scores.max().to_numpy())
    found = {*extremes["least_schedule"], *extremes["most_schedule"]}
    found |= set(family_bounds(budget, "free", points=100)["schedule"])
    assert found <= set(everything)
    with pytest.raises(InvalidInput, match="3 to 9 experts, in steps of 3, that sum to 18"):
        budget.named("7-7-4")


@pytest.mark.parametrize("router", ROUTERS, ids=str)
@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("schedule", [SCHEDULE, Schedule((0, 7, 0, 1))], ids=str)
def test_sizes_are_those_of_the_accounting_less_the_trunk(
    router: Router, measured: bool, schedule: Schedule
) -> None:
    fewest = [float(router.active_bounds(n)[0]) if n else 0.0 for n in schedule]
    mean_active = fewest if measured else None
    blocks = Experts(64, schedule, router, dense_hidden=50)
    network = Classifier(inputs=50, classes=10, width=32, blocks=blocks)
    bounds = schedule_bounds(blocks, width=32, mean_active=mean_active)
    trunk = parameter_count(network).trunk
    assert bounds["parameters"] == parameter_count(network).total - trunk
    active = active_parameters(network, mean_active)
    assert bounds["active_parameters"] == pytest.approx(active.expected - trunk)
    flops, outside = flops_per_token(network, mean_active), 2 * 32 * (50 + 10)
    for name in ("minimum", "expected", "maximum"):
        assert bounds[f"flops_{name}"] == pytest.approx(getattr(flops, name) - outside)


def test_plain_blocks_have_no_part_in_the_means() -> None:
    bounds = schedule_bounds(Experts(64, Schedule((0, 8)), TopK(k=2), dense_hidden=9), width=32)
    assert bounds["active_expected"] == 2
    assert bounds["entropy_floor"] == pytest.approx(np.log(2))


def test_each_layer_may_have_its_own_router() -> None:
    routers = held_routers(TopK(), SCHEDULE, active=2)
    table = layer_bounds(Experts(64, SCHEDULE, routers), width=32)
    assert table["active_maximum"].tolist() == [3, 3, 1, 1]
    assert table["log2_configurations"].round(9).tolist() == [round(np.log2(35), 9), 0, 0, 0]


def test_a_measured_mean_raises_the_floor_of_entropy() -> None:
    blocks = Experts(64, SCHEDULE, TopP(p=0.7))
    assert schedule_bounds(blocks, width=32)["entropy_floor"] == 0
    measured = schedule_bounds(blocks, width=32, mean_active=[4.0, 2.0, 1.0, 1.0])
    assert measured["entropy_floor"] == pytest.approx((np.log(4) + np.log(2)) / 4)
    assert measured["entropy_ceiling"] == pytest.approx((np.log(7) + np.log(3)) / 4)
    with pytest.raises(InvalidInput, match="active experts of layer 1 are"):
        schedule_bounds(blocks, width=32, mean_active=[4.0, 3.5, 1.0, 1.0])


def small_budget(router: Router, **changes: object) -> ExpertBudget:
    budget = ExpertBudget(4, 14, width=8, hidden=16, router=router, tokens=5)
    return replace(budget, **changes)


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_schedules_scored_together_are_as_scored_alone(router: Router) -> None:
    budget = small_budget(router, minimum=2)
    schedules = list(enumerate_schedules(14, 4, minimum=2))
    together = score_schedules(budget, [schedule.counts for schedule in schedules])
    for row, schedule in zip(together.to_numpy(), schedules, strict=True):
        alone = schedule_bounds(Experts(16, schedule, router), width=8, tokens=5)
        assert alone.index.tolist() == together.columns.tolist() == list(QUANTITIES)
        np.testing.assert_allclose(row, alone, rtol=1e-12)


@pytest.mark.parametrize("limits", [(1, None), (2, 5)])
@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_extremes_are_those_of_all_schedules(
    router: Router, limits: tuple[int, int | None]
) -> None:
    budget = small_budget(router, minimum=limits[0], maximum=limits[1])
    schedules = list(enumerate_schedules(14, 4, *limits))
    scores = compare_schedules(budget, {str(schedule): schedule for schedule in schedules})
    extremes = budget_extremes(budget)
    for name, row in extremes.iterrows():
        assert row["least"] == pytest.approx(scores[name].min(), rel=1e-12, abs=1e-12)
        assert row["most"] == pytest.approx(scores[name].max(), rel=1e-12, abs=1e-12)
        by_schedule = scores.set_index("schedule")[name]
        assert by_schedule[row["most_schedule"]] == pytest.approx(row["most"])
        assert by_schedule[row["least_schedule"]] == pytest.approx(row["least"])
    for name in QUANTITIES:
        pd.testing.assert_frame_equal(budget_extremes(budget, [name]), extremes.loc[[name]])


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_bounds_do_not_depend_on_the_order_of_the_layers(router: Router) -> None:
    scores = score_schedules(small_budget(router), [[8, 3, 2, 1], [1, 2, 3, 8], [3, 8, 1, 2]])
    np.testing.assert_allclose(scores.iloc[1:], scores.iloc[[0, 0]], rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_uniform_has_the_most_configurations_at_equal_k(k: int) -> None:
    budget = small_budget(TopK(k=k), minimum=k)
    row = budget_extremes(budget).loc["log2_configurations"]
    assert row["most_schedule"] == budget.named("uniform")


def test_uniform_does_not_where_layers_are_smaller_than_k() -> None:
    budget = ExpertBudget(2, 8, width=8, hidden=16, router=TopK(k=4))
    row = budget_extremes(budget).loc["log2_configurations"]
    assert 2 ** row["most"] == pytest.approx(35)  # 7 over 4, against 1 of the uniform schedule
    assert sorted(row["most_schedule"]) == [1, 7]


def test_at_equal_k_schedules_differ_in_cost_only_where_layers_are_smaller() -> None:
    enough = budget_extremes(small_budget(TopK(k=2), minimum=2))
    assert enough.loc["flops_maximum", "most"] == enough.loc["flops_minimum", "least"]
    small = budget_extremes(small_budget(TopK(k=2)))
    assert small.loc["flops_maximum", "most"] > small.loc["flops_minimum", "least"]


def test_the_table_spans_what_a_layer_can_have() -> None:
    assert bounds_by_experts(small_budget(TopK(), minimum=2)).index.tolist() == list(range(2, 9))
    assert small_budget(TopK(), maximum=6).largest == 6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_schedules_lie_within_the_budgets_extremes(family: str) -> None:
    budget = small_budget(TopP(p=0.7))
    met = family_bounds(budget, family, points=200, seed=1)
    assert met["schedule"].is_unique
    assert all(schedule.total == 14 for schedule in met["schedule"])
    extremes = budget_extremes(budget)
    for name in QUANTITIES:
        assert (
            met[name]
            .between(extremes.loc[name, "least"] - 1e-6, extremes.loc[name, "most"] + 1e-6)
            .all()
        )
    assert family_bounds(budget, family, points=200, seed=1).equals(met)


@pytest.mark.parametrize("family", [Blend(), Mixture(), Spline(), Free(total=16)])
def test_points_of_a_family_are_spread(family) -> None:
    profiles = sample_family(family, depth=4, points=50)
    assert profiles.shape == (50, 4)
    assert len(np.unique(allocate_batch(profiles, 16), axis=0)) > 5
    assert np.array_equal(profiles, sample_family(family, depth=4, points=50))


def test_schedules_are_named_or_written_out() -> None:
    budget = ExpertBudget(4, 20, width=8, hidden=16, router=TopK())
    assert budget.named("descending") == budget.named("8-6-4-2") == Schedule((8, 6, 4, 2))
    for name in (*PATTERNS_AND_UNIFORM, *PRESETS):
        assert budget.named(name).total == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ExpertBudget(4, 3, 8, 8, TopK()), "at least 4"),
        (lambda: ExpertBudget(0, 3, 8, 8, TopK()), "layers is 0"),
        (lambda: ExpertBudget(4, 8, 0, 8, TopK()), "width is 0"),
        (lambda: small_budget(TopK()).named("decending"), "neither a schedule"),
        (lambda: small_budget(TopK()).named("8-6"), "has 2 layers; the budget has 4"),
        (lambda: small_budget(TopK()).named("8-6-4-2"), "8-6-4-2 is outside the budget"),
        (lambda: small_budget(TopK(), maximum=5).named("8-2-2-2"), "1 to 5"),
        (lambda: score_schedules(small_budget(TopK()), [[2, 2]]), "shape"),
        (lambda: score_schedules(small_budget(TopK()), [[3.0, 3.0, 4.0, 4.0]]), "float64"),
        (lambda: family_bounds(small_budget(TopK()), "spiral"), "unknown family"),
        (lambda: family_bounds(small_budget(TopK()), "blend", points=0), "points is 0"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
