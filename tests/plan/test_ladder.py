"""The sizes of a ladder, and its candidates at each."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.budgets import parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.ladder import (
    GROWTH,
    candidate_of,
    contenders_of,
    labels_to_compare,
    scale_of_study,
)
from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.study_file import StudyFile

IMAGES = DataShape(inputs=64, classes=10)
TEXT = DataShape(vocabulary=256, context=16)


def study(**sections: Any) -> StudyFile:
    content = {
        "model": {"depth": 4, "width": 8, "hidden": 16},
        "budget": {"experts": 16},
        "router": {"name": "top_k", "k": 1},
        "training": {"epochs": 2},
        "search": {"runs": 10},
    }
    return StudyFile.model_validate_json(json.dumps({**content, **sections}))


def plan_at(file: StudyFile, scale: int, shape: DataShape = IMAGES) -> Plan:
    return make_plan(scale_of_study(file, scale, GROWTH, shape)[1], shape)


def test_scales_grow_by_their_rules() -> None:
    own = study()
    plans = [plan_at(own, scale) for scale in (1, 2, 3)]
    models = [(p.study.model.depth, p.study.model.width, p.study.model.hidden) for p in plans]
    assert models == [(4, 8, 16), (6, 11, 23), (8, 16, 32)]
    assert [p.solution.experts for p in plans if p.solution] == [16, 24, 32]
    more = [p.solution.parameters / plans[0].solution.parameters for p in plans]  # type: ignore[union-attr]
    assert [p.study.training.epochs for p in plans] == [round(2 * one) for one in more]
    by_flops = plan_at(study(training={"flops": 1e9}), 3)
    assert by_flops.study.training.flops == pytest.approx(1e9 * more[2] ** 2)


def test_heads_divide_the_width_and_a_named_scale_is_spelled_out() -> None:
    own = study(
        data={"name": "topics"},
        model={"scale": "tiny", "context": 16},
        budget={"parameters": 90_000},
    )
    _, file = scale_of_study(own, 2, GROWTH, TEXT)
    assert (file.model.width, file.model.heads, file.model.scale) == (44, 2, None)
    assert file.budget.parameters is None
    assert make_plan(file, TEXT).network.width == 44


def test_scale_one_is_the_study_itself() -> None:
    own = study(search={"runs": 10, "family": "spline", "presets": ["mola"]})
    plan, first = make_plan(own, IMAGES), plan_at(own, 1)
    assert first.network == plan.network
    assert first.baselines == plan.baselines
    assert str(candidate_of("7-5-3-1", plan, first)) == "7-5-3-1"


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    scale=st.integers(1, 3),
    step=st.sampled_from([1, 2]),
)
def test_a_stretched_candidate_has_exactly_the_parameters(
    counts: list[int], scale: int, step: int
) -> None:
    counts = [step * count for count in counts]
    own = study(budget={"experts": sum(counts), "step": step})
    plan, at = make_plan(own, IMAGES), plan_at(own, scale)
    found = candidate_of("-".join(map(str, counts)), plan, at)
    assert at.solution is not None
    assert found.schedule.total == at.solution.experts
    assert all(count % step == 0 for count in found.schedule)
    assert parameter_count(at.network_with(found)).total == at.solution.parameters


def test_active_schedules_are_stretched_at_their_mean() -> None:
    own = study(
        budget={"experts": 16, "regime": "compute"},
        router={"name": "top_k", "k": 2},
        search={"runs": 5, "active_family": "blend"},
    )
    plan, at = make_plan(own, IMAGES), plan_at(own, 2)
    found = candidate_of("6-5-3-2 active=3-2-2-1", plan, at)
    assert found.active is not None
    assert found.active.total == 2 * 6
    assert list(found.active) == sorted(found.active, reverse=True)


def test_dense_layers_keep_their_place() -> None:
    own = study(budget={"experts": 16, "minimum": 0}, router={"name": "top_k", "k": 2})
    plan, at = make_plan(own, IMAGES), plan_at(own, 3)
    found = candidate_of("0-0-6-6", plan, at)
    assert found.schedule.counts[:2] == (0, 0)
    assert at.solution is not None
    assert parameter_count(at.network_with(found)).total == at.solution.parameters


def test_what_is_compared() -> None:
    plan = make_plan(study(), IMAGES)
    uniform, descending = "4-4-4-4", str(plan.baselines["descending"])
    labels = labels_to_compare(plan, ["7-4-4-1", descending, uniform, "5-5-5-1"], 2, ["wave"])
    assert labels == ("7-4-4-1", "descending", "uniform", "wave")
    assert len(labels_to_compare(plan, [], 0, None)) == 7
    same = contenders_of(("7-4-4-1", "uniform", "4-4-4-4"), plan, plan)
    assert [one.baselines for one in same] == [("7-4-4-1",), ("uniform", "4-4-4-4")]
    assert [one.group for one in same] == ["searched", "uniform"]
    with pytest.raises(InvalidInput, match="no baseline 'spiral'; it has descending"):
        labels_to_compare(plan, [], 3, ["spiral"])
    with pytest.raises(InvalidInput, match="nothing to compare with uniform"):
        labels_to_compare(plan, [uniform], 3, [])
    with pytest.raises(InvalidInput, match="no candidate of 4 layers"):
        candidate_of("4-4", plan, plan)


@pytest.mark.parametrize(
    ("sections", "growth", "message"),
    [
        ({"budget": {"regime": "paper", "minimum": 1, "maximum": 8}}, 2.0, "regime paper holds no"),
        ({"search": {"runs": 9, "also": {"hidden": (16,)}}}, 2.0, "search.also.hidden"),
        ({}, 1.0, "growth is 1; give a factor"),
        ({}, 9.0, "growth is 9"),
    ],
)
def test_what_has_no_ladder_is_refused(
    sections: dict[str, Any], growth: float, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        scale_of_study(study(**sections), 2, growth, IMAGES)
