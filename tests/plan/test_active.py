"""Candidates whose active experts differ between layers, at equal parameters and equal compute."""

import json

import pytest

from dynamoe_search.budgets import active_experts, flops_per_token, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.baselines import PAIRS, groups_of, is_pattern
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.pool import candidate_features, family_pool, family_size
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import FAMILIES, PATTERNS, PATTERNS_AND_UNIFORM
from dynamoe_search.specification import held_at, largest_active

ROUTERS = (
    {"name": "top_k", "k": 2},
    {"name": "percentile"},
    {"name": "top_p"},
    {"name": "relative"},
    {"name": "threshold"},
)


def plan_of(depth=6, budget=None, router=None, model=None, **search) -> Plan:
    study = {
        "data": {"name": "digits"},
        "model": {"depth": depth, "width": 8, "hidden": 8, **(model or {})},
        "budget": {"regime": "compute", "experts": 24, "active": 2, **(budget or {})},
        "router": router or {"name": "top_k"},
        "search": {"runs": 10, "active_family": "blend", **search},
    }
    study_file = StudyFile.model_validate_json(json.dumps(study))
    return make_plan(study_file, DataShape(inputs=64, classes=10))


def check_equal_cost(plan: Plan, pool) -> None:
    networks = [plan.network_with(candidate) for candidate in pool]
    assert len({parameter_count(network) for network in networks}) == 1
    total = plan.study.active * plan.depth
    for candidate, network in zip(pool, networks, strict=True):
        expected = [layer.expected for layer in active_experts(network.blocks)]
        assert expected == list(candidate.active)
        assert sum(expected) == total
    assert len({flops_per_token(network).expected for network in networks}) == 1


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router["name"])
def test_parameters_and_flops_are_equal_with_every_router(router) -> None:
    plan = plan_of(router=router)
    pool = family_pool(plan, 80)
    assert len(pool) == 80
    check_equal_cost(plan, pool)
    for candidate in pool:
        for experts, active, held in zip(
            candidate.schedule,
            candidate.active,
            plan.network_with(candidate).blocks.routers,
            strict=True,
        ):
            assert 1 <= active <= largest_active(plan.study.router, experts)
            assert held == held_at(plan.study.router, experts, active)


@pytest.mark.parametrize(
    ("family", "active_family"),
    [
        *(("none", name) for name in FAMILIES),
        *zip(FAMILIES, ("mixture", "free", "blend", "spline"), strict=True),
    ],
)
def test_parameters_and_flops_are_equal_in_every_family(family: str, active_family: str) -> None:
    plan = plan_of(family=family, active_family=active_family, budget={"step": 2})
    pool = family_pool(plan, 40)
    assert len(set(pool)) == len(pool) >= 18
    assert set(plan.baselines.values()) <= set(pool)
    assert len({candidate.active for candidate in pool}) > 5
    assert (len({candidate.schedule for candidate in pool}) == 1) == (family == "none")
    check_equal_cost(plan, pool)
    assert all(parse_candidate(str(candidate)) == candidate for candidate in pool)
    # Of 12 active experts in 6 layers of up to 4 there are 336 schedules; the others are too many.
    largest = 336 if (family, active_family) == ("none", "free") else 2**14
    assert family_size(plan, pool, 40) == (largest if len(pool) == 40 else len(pool))


def test_dense_blocks_that_come_first_do_not_move() -> None:
    plan = plan_of(model={"style": "modern", "dense_first": 2, "shared": 1})
    pool = family_pool(plan, 40)
    networks = [plan.network_with(candidate) for candidate in pool]
    assert len({parameter_count(network) for network in networks}) == 1
    assert len({flops_per_token(network).expected for network in networks}) == 1
    for candidate, network in zip(pool, networks, strict=True):
        expected = [layer.expected for layer in active_experts(network.blocks)]
        assert expected == [0, 0, *candidate.active]


def test_where_only_settings_move_the_schedule_stays_uniform() -> None:
    budget = {"regime": "parameters", "active": None}
    plan = plan_of(family="none", active_family="none", also={"k": [1, 3]}, budget=budget)
    pool = {str(candidate) for candidate in family_pool(plan, 40)}
    assert pool == {f"4-4-4-4-4-4 k={k}" for k in (1, 2, 3)}


def test_the_baselines_are_a_stated_small_set() -> None:
    both = plan_of()
    assert list(both.baselines) == list(PAIRS)
    alone = plan_of(family="none", active_presets=["sigma"])
    wanted = ["uniform", *(f"active_{name}" for name in PATTERNS), "active_sigma"]
    assert list(alone.baselines) == wanted
    assert {str(one.schedule) for one in alone.baselines.values()} == {"4-4-4-4-4-4"}
    assert str(alone.baselines["uniform"]) == "4-4-4-4-4-4 active=2-2-2-2-2-2"
    assert str(alone.baselines["active_descending"].active) == "3-3-2-2-1-1"
    assert str(both.baselines["both_ascending"]) == "2-3-4-4-5-6 active=1-1-2-2-3-3"
    assert not is_pattern("active_sigma")
    groups = groups_of(alone.baselines)
    assert groups[str(alone.baselines["active_descending"])] == "pattern"
    assert groups[str(alone.baselines["uniform"])] == "uniform"


@pytest.mark.parametrize("family", ["none", "blend", "mixture", "free"])
def test_named_patterns_have_a_place_in_the_space(family: str) -> None:
    plan = plan_of(family=family, active_family="free" if family == "free" else "blend")
    for name, candidate in plan.baselines.items():
        location = plan.location(name)
        assert location is not None
        assert plan.candidate(location, {}) == candidate, name
    assert plan.location("stratiformer") is None


def test_where_it_is_not_searched_nothing_is_added() -> None:
    plan = plan_of(active_family="none")
    assert list(plan.baselines) == list(PATTERNS_AND_UNIFORM)
    assert all(candidate.active is None for candidate in family_pool(plan, 30))
    assert plan.space == plan.family.search_space(plan.depth)


def test_features_have_the_logarithms_of_active_experts() -> None:
    pool = family_pool(plan_of(depth=4, budget={"experts": 16}), 40)
    features = candidate_features(pool)
    layers = [f"layer_{layer}" for layer in range(4)]
    assert list(features) == [*layers, *(f"active_{name}" for name in layers)]
    assert features[layers].var(ddof=0).sum() == pytest.approx(1)
    assert features.drop(columns=layers).var(ddof=0).sum() == pytest.approx(1)
    alone = candidate_features(family_pool(plan_of(family="none"), 40))
    assert alone.iloc[:, :6].abs().max(axis=None) < 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"regime": "parameters", "active": None}}, "needs the regime compute"),
        (
            {"budget": {"active": 2.25}},
            r"2\.25 active experts in each of 6 layers are 13\.5 in all",
        ),
        ({"active_family": "none", "family": "none"}, "nothing is searched"),
        ({"active_family": "none", "active_presets": ["sigma"]}, "need an active_family"),
        ({"family": "none", "presets": ["mola"]}, "family none keeps the schedule uniform"),
        ({"sampler": "exhaustive"}, "set the other one to none"),
        ({"active_family": "wave"}, "active_family"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**changes)


def test_more_active_experts_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"budget\.active: layers of 1 to at most 6-5-4-4-3-2"):
        plan_of(budget={"active": 5})
