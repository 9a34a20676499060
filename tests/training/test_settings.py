import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.training.settings import MOST_SEEDS, TrainingSettings

PART = st.floats(0, 1, allow_subnormal=False)


@example(warmup=0.0, final=0.0, first=0.0, second=1.0)
@example(warmup=1.0, final=0.3, first=0.999, second=1.0)
@given(warmup=PART, final=PART, first=PART, second=PART)
def test_the_rate_rises_in_a_line_and_falls_by_half_a_cosine_wave(
    warmup: float, final: float, first: float, second: float
) -> None:
    settings = TrainingSettings(warmup=warmup, final_rate=final)
    rates = []
    for fraction in (first, second):
        rate = settings.rate_at(fraction)
        if fraction < warmup:
            expected = fraction / warmup
        else:
            left = (1 - fraction) / (1 - warmup) if warmup < 1 else 1.0
            # (1 + cos(pi (1 - left))) / 2, by the formula for half an angle.
            expected = final + (1 - final) * math.sin(math.pi / 2 * left) ** 2
        assert rate == pytest.approx(expected, abs=1e-9)
        assert -1e-12 <= rate <= 1 + 1e-12
        rates.append(rate)
    # It is continuous: no steeper than the line, or than the middle of the wave.
    steepest = math.pi / 2 * (1 - final) / (1 - warmup) if warmup < 1 else 0.0
    if warmup and min(first, second) < warmup:
        steepest = max(steepest, 1 / warmup)
    assert abs(rates[0] - rates[1]) <= steepest * abs(first - second) + 1e-9
    assert settings.rate_at(warmup) == pytest.approx(1)
    if warmup < 1:
        assert settings.rate_at(1.0) == final


@given(PART)
def test_the_recipe_of_the_paper_is_a_constant_rate_and_nothing_else(fraction: float) -> None:
    settings = TrainingSettings(recipe="paper")
    assert settings.rate_at(fraction) == 1
    assert (settings.clip, settings.average) == (0, 0)


@pytest.mark.parametrize(
    "setting", [{"warmup": 0.1}, {"final_rate": 0.5}, {"clip": 1.0}, {"average": 0.2}]
)
def test_the_recipe_of_the_paper_takes_no_settings_of_the_other(setting: dict) -> None:
    (name,) = setting
    with pytest.raises(InvalidInput, match=f"{name} is .*, but the recipe paper has none"):
        TrainingSettings(recipe="paper", **setting)
    assert getattr(TrainingSettings(**setting), name) == setting[name]
    # Settings of the paper can still be changed in what they have.
    assert replace(TrainingSettings(recipe="paper"), epochs=3).recipe == "paper"


def test_what_is_not_given_is_that_of_the_recipe() -> None:
    usual = TrainingSettings()
    assert (usual.epochs, usual.recipe, usual.seeds) == (30, "cosine", 4)
    assert (usual.warmup, usual.final_rate, usual.clip, usual.average) == (0.1, 0.01, 1.0, 0.0)
    assert TrainingSettings(clip=0).clip == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"seeds": MOST_SEEDS + 1}, "at most 1024 are trained at once"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"flops": 0}, "flops is 0; it must be above 0"),
        ({"epochs": 3, "flops": 1e6}, "epochs and flops are both given"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"weight_decay": -1}, "weight_decay is -1; it must be at least 0"),
        ({"weight_decay": math.inf}, "clip and weight_decay must be finite"),
        ({"clip": -1.0}, "clip is -1.0; it must be at least 0"),
        ({"clip": math.nan}, "clip is nan; it must be at least 0"),
        ({"warmup": 1.5}, "warmup is 1.5; it must be from 0 to 1"),
        ({"final_rate": -0.1}, "final_rate is -0.1; it must be from 0 to 1"),
        ({"average": 2.0}, "average is 2.0; it must be from 0 to 1"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"recipe": "step"}, "recipe is 'step'; choose from cosine, paper"),
    ],
)
def test_values_out_of_their_range_are_named(setting: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TrainingSettings(**setting)
