"""All candidates of a study, which the sampler `exhaustive` trains, against brute force."""

from itertools import product

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.baselines import count_candidates, every_candidate
from dynamoe_search.plan.pool import family_pool, family_size
from dynamoe_search.specification import largest_active
from tests.plan.test_active import check_equal_cost, plan_of

ACTIVE = {"family": "none", "sampler": "exhaustive"}


@pytest.mark.parametrize("experts", [12, 14])  # of 14, the layers of uniform have 4, 4, 3, 3
@pytest.mark.parametrize("router", ["top_k", "percentile"])
@pytest.mark.parametrize("active", [1, 1.5, 2])
def test_every_active_schedule_of_uniform_is_there_once(experts, router, active) -> None:
    plan = plan_of(4, {"experts": experts, "active": active}, {"name": router}, **ACTIVE)
    uniform = plan.baselines["uniform"].schedule
    most = [largest_active(plan.study.router, count) for count in uniform]
    expected = [
        counts
        for counts in product(*(range(1, limit + 1) for limit in most))
        if sum(counts) == 4 * active
    ]
    every = list(every_candidate(plan.study, experts))
    assert [one.active.counts for one in every] == expected
    assert {one.schedule for one in every} == {uniform}
    assert count_candidates(plan.study, experts) == len(expected)
    assert set(plan.baselines.values()) <= set(every)
    check_equal_cost(plan, every)


def test_a_budget_without_active_schedules_has_none() -> None:
    study = plan_of(2, {"experts": 4, "active": 1}, **ACTIVE).study
    crowded = study.model_copy(update={"budget": study.budget.model_copy(update={"active": 3})})
    assert count_candidates(crowded, 6) == 1
    with pytest.raises(InvalidInput):
        count_candidates(crowded, 4)


def test_a_small_free_family_of_active_schedules_is_there_as_a_whole() -> None:
    plan = plan_of(4, {"experts": 16}, family="none", active_family="free")
    pool = family_pool(plan, 100)
    assert set(pool) == set(every_candidate(plan.study, 16))
    assert len(pool) == family_size(plan, pool, 100) == 31  # 35, without 4 of one K above N
    assert len(family_pool(plan, 20)) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "blend"}, "give family or active_family, and set the other one to none"),
        ({"budget": {"minimum": 0}}, "where every layer has experts"),
        ({"depth": 12, "budget": {"experts": 120}}, "1,351,142 schedules; at most 10,000"),
    ],
)
def test_what_cannot_be_trained_whole_is_refused(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(**(ACTIVE | changes))
