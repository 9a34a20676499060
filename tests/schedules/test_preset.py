import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM, Schedule, allocate, pattern_profile
from dynamoe_search.schedules.preset import (
    PRESETS,
    active_preset_profile,
    alpha_lora_profile,
    describe_preset,
    preset_profile,
    preset_schedule,
)

scores = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20)


def alpha_lora_schedule(
    values: ArrayLike,
    total: int,
    minimum: int = 1,
    maximum: int | None = None,
    exponent: float = 2.5,
) -> Schedule:
    return allocate(alpha_lora_profile(values, exponent), total, minimum, maximum)


@pytest.mark.parametrize(
    ("preset", "depth", "total", "expected"),
    [
        ("pr_moe", 4, 12, "2-2-4-4"),
        # PR-MoE-32/64 as published: 10 layers of 32 experts, then 2 of 64.
        ("pr_moe", 12, 448, "-".join(["32"] * 10 + ["64"] * 2)),
        ("mola", 8, 40, "2-2-4-4-6-6-8-8"),
        # MoLA as published, at the 32 layers of its networks.
        ("mola", 32, 160, "-".join(["2"] * 8 + ["4"] * 8 + ["6"] * 8 + ["8"] * 8)),
        ("mola", 2, 10, "3-7"),
        # 0.5, 1.375, 2.25, 3.125, 4 of 11.25, times 90.
        ("openelm", 5, 90, "4-11-18-25-32"),
        ("openelm", 2, 9, "1-8"),
        ("crown", 5, 14, "2-3-4-3-2"),  # 0.5, 0.75, 1, 0.75, 0.5, four times
        ("crown", 4, 10, "2-3-3-2"),  # 3, 5, 5, 3 of 16: 1.9, 3.1, 3.1, 1.9
        ("inverted_crown", 5, 26, "6-5-4-5-6"),  # 1.5, 1.25, 1, 1.25, 1.5, four times
        # t = 1, 2/3, 1/3, 0, 1: 42.7, 12.2, 3.5, 1, 42.7 of 102.1.
        ("variable_width", 5, 102, "43-12-3-1-43"),
    ],
)
def test_rules_worked_by_hand(preset: str, depth: int, total: int, expected: str) -> None:
    assert str(preset_schedule(preset, depth, total)) == expected


@given(
    st.sampled_from(PRESETS),
    st.integers(1, 64),
    st.integers(1, 4),
    st.integers(0, 1000),
    st.none() | st.integers(4, 30),
)
def test_every_preset_spends_the_total(
    preset: str, depth: int, minimum: int, above: int, maximum: int | None
) -> None:
    total = minimum * depth + above
    if maximum is not None:
        total = min(total, maximum * depth)
    schedule = preset_schedule(preset, depth, total, minimum, maximum)
    assert (schedule.total, schedule.depth) == (total, depth)
    assert min(schedule) >= minimum
    assert maximum is None or max(schedule) <= maximum


@pytest.mark.slow
@pytest.mark.parametrize("depth", range(1, 65))
@pytest.mark.parametrize("preset", PRESETS)
def test_profiles_are_positive_and_lean_as_their_papers_do(preset: str, depth: int) -> None:
    profile = preset_profile(preset, depth)
    assert profile.shape == (depth,)
    assert (profile > 0).all()
    if preset in ("pr_moe", "mola", "openelm"):
        assert (np.diff(profile) >= 0).all()
    if preset in ("crown", "inverted_crown"):
        np.testing.assert_allclose(profile, profile[::-1], rtol=1e-12)
    if depth > 2:
        assert profile.max() > profile.min()


@given(st.integers(1, 64))
def test_crowns_are_opposites_and_gentle_pyramids(depth: int) -> None:
    crown = preset_profile("crown", depth)
    inverted = preset_profile("inverted_crown", depth)
    np.testing.assert_allclose(crown + inverted, 2)
    pyramid = pattern_profile("pyramid", depth, contrast=1 / 3)
    np.testing.assert_allclose(crown / crown.sum(), pyramid / pyramid.sum())
    pyramid = pattern_profile("inverted_pyramid", depth, contrast=1 / 5)
    np.testing.assert_allclose(inverted / inverted.sum(), pyramid / pyramid.sum())


@given(st.integers(1, 64))
def test_mola_in_between_keeps_the_mean_and_the_symmetry_of_its_steps(depth: int) -> None:
    profile = preset_profile("mola", depth)
    assert profile.mean() == pytest.approx(5)
    np.testing.assert_allclose(profile + profile[::-1], 10)
    if depth % 4 == 0:
        assert set(profile) == {2, 4, 6, 8}


# The layers and the mean width, over that of the equally large plain network, of table 2 of
# arXiv 2606.18246. The paper also counts embeddings and rounds widths, hence the 3 %.
@pytest.mark.parametrize(
    ("depth", "mean_width"),
    [(16, 576 / 640), (24, 855 / 960), (32, 1145 / 1280), (40, 1426 / 1600)],
)
def test_variable_width_has_the_published_widths(depth: int, mean_width: float) -> None:
    parameters = preset_profile("variable_width", depth)
    widths = np.sqrt(parameters / parameters.mean())
    assert widths.mean() == pytest.approx(mean_width, rel=0.03)
    assert widths.min() == pytest.approx(0.3, abs=0.03)
    assert widths[0] == pytest.approx(widths[-1])
    assert np.argmin(widths) + 1 == pytest.approx(0.75 * depth, abs=1)


def test_variable_width_solves_the_equation_of_equal_parameters() -> None:
    ratio = preset_profile("variable_width", 5).max() / preset_profile("variable_width", 5).min()
    assert (ratio - 1) / np.log(ratio) == pytest.approx(1 / 0.3**2, rel=1e-5)


def test_presets_differ_from_one_another_and_from_the_patterns() -> None:
    profiles = [preset_profile(preset, 8) for preset in PRESETS]
    profiles += [pattern_profile(pattern, 8) for pattern in PATTERNS_AND_UNIFORM]
    assert len({tuple((profile / profile.sum()).round(6)) for profile in profiles}) == len(profiles)
    assert not set(PRESETS) & set(PATTERNS_AND_UNIFORM)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_has_a_rule_and_a_source(preset: str) -> None:
    shipped = {"dots3": "vLLM's model dots3_note", "stratiformer": "notion.so"}
    source = shipped.get(preset, r"arXiv \d{4}\.\d{5}")
    assert re.fullmatch(rf"\w.+; \w.+ {source}.*", describe_preset(preset))


def test_the_vision_tower_of_dots3_comes_back_at_its_depth() -> None:
    counts = [*[0] * 25, *range(4, 65, 4), 64]
    assert preset_profile("dots3", 42).round(6).tolist() == counts
    # Where a layer has at least one expert, the dense ones have exactly one.
    assert preset_schedule("dots3", 42, sum(counts) + 25).counts[:25] == (1,) * 25
    assert preset_profile("dots3", 8).argmax() == 7


def test_experts_late_but_not_last() -> None:
    assert preset_schedule("stratiformer", 8, 8 + 12).counts == (1, 1, 1, 1, 5, 5, 5, 1)
    assert preset_schedule("stratiformer", 2, 8).counts == (4, 4)


def test_more_active_experts_in_the_first_layers() -> None:
    profile = active_preset_profile("sigma", 57)
    assert profile[0] / profile[-1] == 4
    assert np.ptp(profile[14:]) == 0
    assert (np.diff(profile[:15]) < 0).all()
    assert describe_preset("sigma").count("arXiv 2512.16248") == 1


@pytest.mark.parametrize("exponent", [1, 2])
@given(values=st.lists(st.integers(1, 50), min_size=1, max_size=12), above=st.integers(0, 60))
def test_alpha_lora_against_exact_fractions(exponent: int, values: list[int], above: int) -> None:
    powers = [Fraction(value) ** exponent for value in values]
    shares = [power / sum(powers) for power in powers]
    profile = alpha_lora_profile(values, exponent)
    np.testing.assert_allclose(profile / profile.sum(), [float(share) for share in shares])

    total = len(values) + above
    counts = alpha_lora_schedule(values, total, exponent=exponent).counts
    assert sum(counts) == total
    targets = [share * total for share in shares]
    if min(targets) >= 1:  # the minimum raises no layer, so each count is next to its t
        assert all(abs(n - t) < 1 for n, t in zip(counts, targets, strict=True))


def test_alpha_lora_worked_by_hand() -> None:
    # 1, 2^2.5 = 5.657, 4^2.5 = 32 of 38.657: 1.03, 5.85, 33.11 of 40.
    assert str(alpha_lora_schedule([1, 2, 4], 40)) == "1-6-33"
    assert str(alpha_lora_schedule([1, 2, 4], 40, minimum=4, maximum=28)) == "4-8-28"
    assert str(alpha_lora_schedule([3.7], 5)) == "5"
    assert str(alpha_lora_schedule([1, 9, 5], 9, exponent=0)) == "3-3-3"


@given(scores, st.sampled_from([1e-300, 1e-3, 0.7, 3.0, 1e300]), st.floats(0, 5))
def test_alpha_lora_depends_on_ratios_only(
    values: list[float], scale: float, exponent: float
) -> None:
    scaled = np.array(values) * scale
    np.testing.assert_allclose(
        alpha_lora_profile(scaled, exponent), alpha_lora_profile(values, exponent), rtol=1e-9
    )
    total = 4 * len(values)
    # A power of two scales without rounding, so the schedules must be the same.
    assert alpha_lora_schedule(np.array(values) * 2**40, total) == alpha_lora_schedule(
        values, total
    )


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20, unique=True), st.integers(0, 100))
def test_alpha_lora_gives_the_less_trained_layer_no_fewer(values: list[int], above: int) -> None:
    counts = alpha_lora_schedule(values, len(values) + above).counts
    in_order = [counts[layer] for layer in np.argsort(values)]
    assert in_order == sorted(in_order)


@pytest.mark.filterwarnings("error")
def test_alpha_lora_at_the_ends_of_the_floats() -> None:
    assert str(alpha_lora_schedule([1e308, 1e308], 6)) == "3-3"
    assert str(alpha_lora_schedule([5e-324, 5e-324], 6)) == "3-3"
    assert str(alpha_lora_schedule([5e-324, 1e308, 1e-200], 8)) == "1-6-1"
    assert (alpha_lora_profile([1e-300, 1e300], exponent=1e9) > 0).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([2.0, 0.0], r"layer 1 has the score 0\.0"),
        ([2.0, 3.0, -1.5], r"layer 2 has the score -1\.5"),
        ([float("nan"), 1.0], "layer 0 has the score nan"),
        ([1.0, float("inf")], "layer 1 has the score inf"),
        ([], r"shape \(0,\)"),
        ([[1.0, 2.0]], r"shape \(1, 2\)"),
        (2.0, r"shape \(\)"),
    ],
)
def test_bad_scores_are_named(values: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        alpha_lora_schedule(values, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("exponent", [-1.0, float("nan"), float("inf")])
def test_bad_exponents_are_named(exponent: float) -> None:
    with pytest.raises(InvalidInput, match=f"exponent is {exponent}"):
        alpha_lora_profile([1.0, 2.0], exponent)


@pytest.mark.parametrize("of", [describe_preset, lambda name: preset_profile(name, 4)])
def test_unknown_presets_are_refused(of: object) -> None:
    with pytest.raises(InvalidInput, match="unknown preset 'molla'; choose from pr_moe, mola, "):
        of("molla")  # type: ignore[operator]


@pytest.mark.parametrize("preset", PRESETS)
def test_bad_depths_and_totals_are_refused(preset: str) -> None:
    with pytest.raises(InvalidInput, match="depth is 0"):
        preset_profile(preset, 0)
    with pytest.raises(InvalidInput, match="at least 4, got 3"):
        preset_schedule(preset, 4, 3)
