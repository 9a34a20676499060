import json

import numpy as np
import pytest

from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.pool import candidate_features, family_pool, family_size
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import allocate, count_schedules


def plan_of(depth=4, experts=12, **search) -> Plan:
    study = {
        "data": {"name": "digits"},
        "model": {"depth": depth, "width": 16, "hidden": 16},
        "budget": {"experts": experts},
        "router": {"name": "top_k", "k": 1},
        "search": {"runs": 10, **search},
    }
    study_file = StudyFile.model_validate_json(json.dumps(study))
    return make_plan(study_file, DataShape(inputs=64, classes=10))


def test_a_small_free_family_is_there_as_a_whole():
    plan = plan_of(family="free")
    pool = family_pool(plan, 300)
    assert len(set(pool)) == len(pool) == count_schedules(12, 4) == family_size(plan, pool, 300)


@pytest.mark.parametrize("family", ["blend", "mixture", "spline", "free"])
def test_a_pool_has_the_baselines_and_distinct_candidates_of_the_budget(family):
    plan = plan_of(depth=8, experts=32, family=family)
    pool = family_pool(plan, 50)
    assert pool == family_pool(plan, 50)
    assert len(set(pool)) == len(pool) == 50
    assert set(plan.baselines.values()) <= set(pool)
    assert {candidate.schedule.total for candidate in pool} == {32}
    assert family_size(plan, pool, 50) == 2**14


def test_a_family_that_has_few_schedules_ends():
    plan = plan_of(depth=2, experts=6)
    pool = family_pool(plan, 50)
    assert len(pool) == family_size(plan, pool, 50) <= count_schedules(6, 2)


def test_settings_are_sampled_from_all_that_is_searched():
    pool = family_pool(plan_of(also={"k": [1, 3]}), 60)
    assert {dict(candidate.settings)["k"] for candidate in pool} == {1, 2, 3}
    features = candidate_features(pool)
    assert list(features) == ["layer_0", "layer_1", "layer_2", "layer_3", "k"]
    assert features.var(ddof=0).to_numpy()[:4].sum() == pytest.approx(1)
    assert features["k"].var(ddof=0) == pytest.approx(1)


def test_features_are_the_logarithms_of_counts_up_to_shift_and_scale():
    pool = family_pool(plan_of(), 20)
    logs = np.log([candidate.schedule.counts for candidate in pool])
    found = candidate_features(pool).to_numpy()
    slope = np.ptp(found, axis=0) / np.ptp(logs, axis=0)
    assert slope == pytest.approx(slope[0])
    assert found - slope[0] * logs == pytest.approx(found[[0]] - slope[0] * logs[[0]] + 0 * found)


@pytest.mark.parametrize("also", [{}, {"hidden": [5, 16]}, {"k": [1, 2]}])
def test_many_candidates_are_those_of_one_point_each(also):
    plan = plan_of(depth=8, experts=32, also=also)
    rng = np.random.default_rng(0)
    names = [dimension.name for dimension in plan.family.search_space(8)]
    points = []
    for _ in range(30):
        parameters = {name: float(rng.uniform(0.5, 0.9)) for name in names}
        settings = {name: int(rng.choice(values)) for name, values in also.items()}
        points.append((parameters, settings))
    found = plan.candidates(points)
    one_each = [plan.candidate(*point) for point in points]
    assert found == one_each
    for (parameters, _), candidate in zip(points, found, strict=True):
        total = candidate.schedule.total
        assert candidate.schedule == allocate(plan.family.profile(parameters, 8), total)
