import numpy as np
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    PATTERNS,
    PATTERNS_AND_UNIFORM,
    pattern_profile,
    pattern_schedule,
    pattern_shape,
)

OPPOSITES = [
    ("descending", "ascending"),
    ("pyramid", "inverted_pyramid"),
    ("wave", "inverted_wave"),
]


def test_six_patterns_and_uniform() -> None:
    assert len(PATTERNS) == 6
    assert set(PATTERNS_AND_UNIFORM) == {*PATTERNS, "uniform"}


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 64])
def test_shapes_against_their_formulas(depth: int) -> None:
    u = [0.5] if depth == 1 else [layer / (depth - 1) for layer in range(depth)]
    expected = {
        "descending": [1 - 2 * x for x in u],
        "pyramid": [1 - 2 * abs(2 * x - 1) for x in u],
        "wave": [np.sin(4 * np.pi * x) for x in u],
        "uniform": [0.0 for _ in u],
    }
    for pattern, values in expected.items():
        np.testing.assert_allclose(pattern_shape(pattern, depth), values, atol=1e-12)
    for pattern, opposite in OPPOSITES:
        np.testing.assert_array_equal(
            pattern_shape(pattern, depth), -pattern_shape(opposite, depth)
        )
    for pattern in PATTERNS_AND_UNIFORM:
        assert np.abs(pattern_shape(pattern, depth)).max() <= 1


@pytest.mark.parametrize("contrast", [0.0, 0.3, 0.6, 0.9])
def test_contrast_sets_the_ratio_of_largest_to_smallest(contrast: float) -> None:
    profile = pattern_profile("descending", 8, contrast)
    assert profile.max() / profile.min() == pytest.approx((1 + contrast) / (1 - contrast))


@pytest.mark.parametrize("depth", range(1, 65))
def test_schedules_have_the_symmetry_of_their_shapes(depth: int) -> None:
    for total in (depth, 2 * depth + 1, 4 * depth, 7 * depth + 3):
        descending = pattern_schedule("descending", depth, total).counts
        ascending = pattern_schedule("ascending", depth, total).counts
        assert list(descending) == sorted(descending, reverse=True)
        if depth > 1:
            assert ascending == descending[::-1]
        for pattern in ("pyramid", "inverted_pyramid", "uniform"):
            counts = pattern_schedule(pattern, depth, total).counts
            differences = sum(a != b for a, b in zip(counts, counts[::-1], strict=True))
            # Least squares may leave one expert over for a pair of mirrored layers, never more.
            assert differences <= 2
            if pattern == "uniform":
                assert differences == (2 if depth % 2 == 0 and total % 2 else 0)


def test_unknown_pattern_and_contrast_are_refused() -> None:
    with pytest.raises(InvalidInput, match="choose from descending"):
        pattern_shape("decending", 4)
    with pytest.raises(InvalidInput, match=r"contrast is 1\.0"):
        pattern_profile("wave", 4, contrast=1.0)
    with pytest.raises(InvalidInput, match="depth is 0"):
        pattern_profile("wave", 0)
