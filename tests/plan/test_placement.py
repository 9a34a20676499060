"""Candidates in which some layers are dense, at equal parameters and equal compute."""

import json

import pytest

from dynamoe_search.budgets import flops_per_token, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.allotment import experts_spent
from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.pool import candidate_features, family_pool
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.report.plan import plan_sentences
from dynamoe_search.schedules import FAMILIES, Schedule


def plan_of(
    k: int = 2,
    budget: dict | None = None,
    depth: int = 4,
    model: dict | None = None,
    **search,
) -> Plan:
    study = {
        "data": {"name": "digits"},
        "model": {"depth": depth, "width": 8, "hidden": 8, **(model or {})},
        "budget": {"experts": 16, "minimum": 0, **(budget or {})},
        "router": {"name": "top_k", "k": k},
        "search": {"runs": 10, **search},
    }
    study_file = StudyFile.model_validate_json(json.dumps(study))
    return make_plan(study_file, DataShape(inputs=64, classes=10))


@pytest.mark.parametrize("regime", ["parameters", "compute"])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_flops_are_equal_wherever_layers_are_dense(family: str, regime: str) -> None:
    plan = plan_of(family=family, budget={"regime": regime})
    pool = family_pool(plan, 150)
    assert any(0 in candidate.schedule for candidate in pool)
    networks = [plan.network_with(candidate) for candidate in pool]
    assert {parameter_count(network).total for network in networks} == {plan.solution.parameters}
    assert len({flops_per_token(network).expected for network in networks}) == 1
    # A layer of no more than K experts uses all of them, and is dense.
    assert {count for one in pool for count in one.schedule}.isdisjoint({1, 2})
    assert {experts_spent(one.schedule, plan.study) for one in pool} == {16}


def test_an_odd_k_leaves_half_a_hidden_unit_per_dense_layer_over() -> None:
    plan = plan_of(k=3, depth=4, budget={"experts": 24})
    assert plan.network.blocks.dense_hidden == (25,) * 4  # of 3 (8 + 1/2)
    for candidate in family_pool(plan, 60):
        dense = candidate.schedule.counts.count(0)
        count = parameter_count(plan.network_with(candidate)).total
        assert count == plan.solution.parameters - 8 * dense
    assert "of width 25, as large as 3 experts" in " ".join(plan_sentences(plan))
    assert "less 8 parameters" in " ".join(plan_sentences(plan))


@pytest.mark.parametrize("k", [2, 3])
def test_modern_layers_with_shared_experts(k: int) -> None:
    model = {"style": "modern", "shared": 1, "dense_first": 1}
    plan = plan_of(k=k, budget={"experts": 24}, model=model)
    # As wide as K experts with their rows of the router, K (8 + 1/3), and one shared expert.
    assert plan.network.blocks.dense_hidden == (8 * (k + 1), *[(25 * k) // 3 + 8] * 4)
    pool = family_pool(plan, 60)
    assert any(0 in candidate.schedule for candidate in pool)
    left_over = 8 * (k % 3)  # of each dense layer
    for candidate in pool:
        network = plan.network_with(candidate)
        less = left_over * candidate.schedule.counts.count(0)
        assert parameter_count(network).total == plan.solution.parameters - less
        flops = flops_per_token(network).expected
        assert flops == flops_per_token(plan.network).expected - 2 * less


def test_early_and_late_are_baselines() -> None:
    plan = plan_of()
    assert str(plan.baselines["late"]) == "0-0-6-6"
    assert str(plan.baselines["early"]) == "6-6-0-0"
    assert str(plan.baselines["uniform"]) == "4-4-4-4"
    assert "of width 17, as large as 2 experts" in " ".join(plan_sentences(plan))
    assert "late" not in plan_of(budget={"minimum": 1}).baselines


def test_presets_with_dense_layers_have_them() -> None:
    plan = plan_of(presets=["dots3", "stratiformer"], depth=6, budget={"experts": 42})
    assert str(plan.baselines["stratiformer"].schedule) == "0-0-0-17-17-0"
    assert plan.baselines["dots3"].schedule.counts[:3] == (0, 0, 0)


def test_the_budget_in_parameters_buys_as_many() -> None:
    parameters = plan_of().solution.parameters
    plan = plan_of(budget={"experts": None, "parameters": parameters + 5})
    assert (plan.solution.experts, plan.solution.residual) == (16, 5)


def test_every_placement_is_enumerated() -> None:
    pool = family_pool(plan_of(family="free", budget={"experts": 12}), 500)
    counts = {candidate.schedule.counts for candidate in pool}
    expected = {
        tuple(n if n > 2 else 0 for n in (a, b, c, 12 - a - b - c))
        for a in range(2, 13)
        for b in range(2, 13)
        for c in range(2, 13)
        if 12 - a - b - c >= 2
    }
    assert counts == expected


def test_a_dense_layer_is_like_one_of_k_experts() -> None:
    pool = family_pool(plan_of(), 50)
    features = candidate_features(pool, dense=2)
    places = [str(one) for one in pool if one.schedule[0] == 0]
    assert features.loc[places, "layer_0"].nunique() == 1
    assert features["layer_0"].min() == features.loc[places[0], "layer_0"]


def test_active_schedules_leave_dense_layers_at_the_mean() -> None:
    plan = plan_of(budget={"regime": "compute"}, active_family="blend")
    pool = family_pool(plan, 200)
    some = [one for one in pool if 0 in one.schedule and len(set(one.active)) > 1]
    assert some
    for candidate in some:
        assert sum(candidate.active) == 8
        assert {k for n, k in zip(candidate.schedule, candidate.active, strict=True) if not n} == {
            2
        }
    networks = [plan.network_with(candidate) for candidate in pool]
    assert len({parameter_count(network).total for network in networks}) == 1
    assert len({flops_per_token(network).expected for network in networks}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"experts": 8}}, "with 8 experts every layer would be dense"),
        ({"budget": {"experts": 7}}, "4 layers of at least 2 experts need a total of at least 8"),
        ({"budget": {"step": 4}}, "takes the place of 2 experts, which is no multiple"),
        ({"also": {"k": [1, 2]}}, "search.also changes it"),
        ({"budget": {"regime": "compute", "active": 2.5}}, "a whole number of active experts K"),
        (
            {"budget": {"regime": "paper", "experts": None, "maximum": 8}},
            "minimum 0 needs a total, and the regime paper has none",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        plan_of(**changes)
    assert isinstance(refused.value, InvalidInput) or "valid" in str(refused.value)


def test_a_maximum_holds_for_layers_with_experts() -> None:
    plan = plan_of(budget={"maximum": 5})
    assert str(plan.baselines["late"]) == "3-3-5-5"
    assert all(max(candidate.schedule) <= 5 for candidate in family_pool(plan, 50))
    assert plan.network_with(plan.baselines["late"]).blocks.schedule == Schedule((3, 3, 5, 5))
