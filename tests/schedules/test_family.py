import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    FAMILIES,
    PATTERNS_AND_UNIFORM,
    Blend,
    Family,
    Free,
    Mixture,
    Simplex,
    Spline,
    Whole,
    allocate,
    make_family,
    pattern_profile,
    pattern_schedule,
)


def random_parameters(family: Family, depth: int, generator: np.random.Generator) -> dict:
    parameters: dict[str, float] = {}
    for dimension in family.search_space(depth):
        if isinstance(dimension, Simplex):
            shares = generator.dirichlet(np.ones(len(dimension.names)))
            parameters.update(zip(dimension.names, shares, strict=True))
        elif isinstance(dimension, Whole):
            parameters[dimension.name] = int(generator.integers(dimension.low, dimension.high + 1))
        else:
            parameters[dimension.name] = generator.uniform(dimension.low, dimension.high)
    return parameters


@pytest.mark.parametrize("depth", range(1, 65))
def test_exact_locations_give_the_patterns_own_schedule(depth: int) -> None:
    for total in (depth, depth + 1, 3 * depth, 4 * depth + 3, 12 * depth + 5):
        for name in FAMILIES:
            family = make_family(name, total)
            for pattern in PATTERNS_AND_UNIFORM:
                location = family.locate(pattern, depth)
                found = allocate(family.profile(location.parameters, depth), total)
                if location.exact:
                    assert found == pattern_schedule(pattern, depth, total), (name, pattern)
                if name in ("blend", "mixture"):
                    assert location.exact
                    assert location.residual < 1e-12


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_every_point_of_the_search_space_is_a_positive_profile(name: str, depth: int) -> None:
    family = make_family(name, total=4 * depth)
    generator = np.random.default_rng(0)
    for _ in range(200):
        profile = family.profile(random_parameters(family, depth, generator), depth)
        assert profile.shape == (depth,)
        assert (profile > 0).all()
        assert allocate(profile, 4 * depth).total == 4 * depth


@pytest.mark.parametrize("name", FAMILIES)
def test_locations_lie_inside_the_search_space(name: str) -> None:
    for depth in (1, 2, 3, 8, 33):
        family = make_family(name, total=5 * depth)
        for pattern in PATTERNS_AND_UNIFORM:
            parameters = family.locate(pattern, depth).parameters
            for dimension in family.search_space(depth):
                if isinstance(dimension, Simplex):
                    assert sum(parameters[name] for name in dimension.names) == 1
                else:
                    assert dimension.low <= parameters[dimension.name] <= dimension.high


@given(
    st.sampled_from(PATTERNS_AND_UNIFORM),
    st.sampled_from(PATTERNS_AND_UNIFORM),
    st.floats(0, 1),
    st.integers(1, 20),
)
def test_blend_is_straight_between_two_patterns(
    first: str, second: str, share: float, depth: int
) -> None:
    blend = Blend()
    start, end = blend.locate(first).parameters, blend.locate(second).parameters
    between = {key: (1 - share) * start[key] + share * end[key] for key in start}
    expected = (1 - share) * pattern_profile(first, depth) + share * pattern_profile(second, depth)
    np.testing.assert_allclose(blend.profile(between, depth), expected, atol=1e-12)


def test_mixture_takes_only_its_own_contrast_as_exact() -> None:
    assert not Mixture(0.5).locate("wave", 8, contrast=0.6).exact
    assert Mixture(0.5).locate("wave", 8, contrast=0.6).residual > 0.01
    assert Mixture(0.5).locate("uniform", 8, contrast=0.6).exact


def test_spline_keeps_monotone_control_values_monotone() -> None:
    spline = Spline(knots=4)
    values = {"value_0": -0.9, "value_1": -0.8, "value_2": 0.7, "value_3": 0.7}
    profile = spline.profile(values, 50)
    assert (np.diff(profile) >= -1e-12).all()
    assert profile.max() == pytest.approx(1.7)


def test_spline_reports_what_it_cannot_reach() -> None:
    location = Spline(knots=5).locate("pyramid", depth=9)
    assert not location.exact
    assert 0 < location.residual < 0.2
    for pattern in ("descending", "ascending", "uniform"):
        assert Spline(knots=5).locate(pattern, depth=9).residual < 1e-12


def test_free_reaches_any_schedule() -> None:
    free = Free(total=9)
    parameters = {"layer_0": 1, "layer_1": 7, "layer_2": 1}
    assert allocate(free.profile(parameters, 3), 9).counts == (1, 7, 1)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (Blend(), {"tilt": 1.5}, "tilt is 1.5"),
        (Blend(), {"peak": float("nan")}, "peak is nan"),
        (Blend(), {"slope": 1.0}, "unknown: slope"),
        (Mixture(), {"wave": -0.1}, "at least 0"),
        (Free(8), {"layer_0": 9}, "layer_0 is 9"),
    ],
)
def test_bad_parameters_are_named(family: Family, changes: dict, message: str) -> None:
    parameters = family.locate("uniform", 4).parameters | changes
    with pytest.raises(InvalidInput, match=message):
        family.profile(parameters, 4)


def test_missing_parameters_and_unknown_families_are_named() -> None:
    with pytest.raises(InvalidInput, match="missing: tilt"):
        Blend().profile({}, 4)
    with pytest.raises(InvalidInput, match="choose from blend, mixture, spline, free"):
        make_family("blends", 8)
    with pytest.raises(InvalidInput, match="unknown pattern"):
        Blend().locate("zigzag")
    with pytest.raises(InvalidInput, match="not all 0"):
        Mixture().profile(dict.fromkeys(PATTERNS_AND_UNIFORM, 0.0), 4)
