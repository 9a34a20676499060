"""Schedules on real models: who gets what, and that the parameters stay equal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.spread import spread_schedule
from dynamoe_search.schedules import Schedule, allocate
from tests.interop.models import EXPERT, WIDTH, model_of


def spread(model: object, schedule: str, active: str | None = None, **how: int) -> tuple[str, str]:
    found = spread_schedule(
        model,  # type: ignore[arg-type]
        Schedule.parse(schedule),
        None if active is None else Schedule.parse(active),
        **how,
    )
    return str(found.schedule), str(found.active_schedule)


def test_a_schedule_of_the_models_own_size_is_taken_as_it_is() -> None:
    model = model_of([8, 8, 8, 8], [2, 2, 2, 2])
    assert spread(model, "14-10-6-2") == ("14-10-6-2", "2-2-2-2")
    assert spread(model, "14-10-6-2", "1-2-3-1") == ("14-10-6-2", "1-2-3-1")
    assert spread(model, "8-8-8-8", "1-1-1-1") == ("8-8-8-8", "1-1-1-1")


def test_any_other_is_a_profile() -> None:
    model = model_of([8] * 4, [2] * 4)
    # 4-2 at 4 depths is 4, 10/3, 8/3, 2: of 32, that is 10.67, 8.89, 7.11, 5.33.
    assert spread(model, "4-2") == ("11-9-7-5", "2-2-2-2")
    assert spread(model, "4-2", "1-3") == ("11-9-7-5", "1-2-2-3")
    assert spread(model, "4-2", expert_parallel=4) == ("12-8-8-4", "2-2-2-2")
    assert spread(model, "1-1", expert_parallel=5)[0] == "10-5-5-10"  # 30 of 32 experts


def test_layers_that_are_dense_in_the_model_stay_dense() -> None:
    model = model_of([0, 8, 0, 8, 8], [0, 2, 0, 2, 2])
    assert spread(model, "3-2-1") == ("0-12-0-8-4", "0-2-0-2-2")
    assert spread(model, "0-12-0-8-4", "0-1-0-2-3") == ("0-12-0-8-4", "0-1-0-2-3")


def test_a_layer_without_experts_takes_the_place_of_as_many_as_a_token_used() -> None:
    model = model_of([8, 8, 8, 8], [2, 2, 2, 2], shared=1)
    found = spread_schedule(model, Schedule((0, 1)))
    assert str(found.schedule) == "0-0-14-14"  # 32 experts, less 2 for each of 2 dense layers
    assert found.layers[0].dense_parameters == 2 * EXPERT + EXPERT  # with the shared expert
    assert found.layers[0].dense_hidden == 3 * found.layers[2].expert_hidden
    # What is missing is the router of 4 experts.
    assert model.total_parameters - found.total_parameters == 4 * WIDTH


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_total_parameters_stay_equal(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 7))
    dense = data.draw(st.lists(st.booleans(), min_size=depth, max_size=depth))
    degree = data.draw(st.sampled_from([1, 2, 4]))
    dense[-1] = False
    model = model_of([0 if d else 8 for d in dense], [0 if d else 1 for d in dense], shared=1)
    counts = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    try:
        found = spread_schedule(model, Schedule(tuple(counts)), expert_parallel=degree)
    except InvalidInput as error:  # it is of the model's own size, and not of the degree
        assert "the expert-parallel degree" in str(error)  # noqa: PT017 - only then
        return
    assert found.total_parameters == model.total_parameters
    assert [n == 0 for n in found.schedule] == dense
    assert all(n % degree == 0 for n in found.schedule)
    if len(counts) == len(model.moe_layers) and degree == 1:
        expected = allocate(counts, model.expert_total)
        assert [n for n in found.schedule if n] == list(expected)


@pytest.mark.parametrize(
    ("schedule", "active", "how", "message"),
    [
        ("14-10-6-2", None, {"expert_parallel": 4}, "layer 0 gets 14 experts: the expert-parallel"),
        ("29-1-1-1", None, {}, "layer 1 gets 1 expert: that is fewer than the 2 that a token use"),
        ("9-1", None, {"minimum": 9}, "need a total of at least 36"),
        ("9-1", "1-1-1", {}, "the active schedule has 3 layers, and the schedule 2"),
        ("8-8-8-8", "0-2-2-2", {}, "layer 0 gets 8 experts: its active schedule has 0"),
        ("8-8-8-8", "9-2-2-2", {}, "layer 0 gets 8 experts: that is fewer than the 9"),
    ],
)
def test_what_a_model_cannot_have_is_refused(
    schedule: str, active: str | None, how: dict[str, int], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        spread(model_of([8] * 4, [2] * 4), schedule, active, **how)


def test_routers_that_choose_groups_first_get_multiples_of_them() -> None:
    model = model_of([8] * 4, [3] * 4, n_group=4, topk_group=2)
    assert spread(model, "3-3-2-2")[0] == "8-8-8-8"
    assert spread(model, "16-8-4-4", "2-2-1-1")[0] == "16-8-4-4"
    with pytest.raises(InvalidInput, match="layer 2 gets 4 experts: a token uses 3, out of 2 of 4"):
        spread(model, "16-8-4-4")
    with pytest.raises(InvalidInput, match="layer 0 gets 18 experts: its router has 4 groups"):
        spread(model, "18-8-4-2", "2-2-1-1")


def test_a_model_without_experts_is_refused() -> None:
    model = model_of([1, 0], [1, 0])
    dense = type(model)(**{**vars(model), "layers": model.layers[1:]})
    with pytest.raises(InvalidInput, match="the config of mixtral has no layer with experts"):
        spread(dense, "2-1")
