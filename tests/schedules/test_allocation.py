import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    allocate,
    allocate_batch,
    depth_coordinates,
    enumerate_schedules,
    pattern_profile,
    stretch,
)

weight = st.one_of(
    st.floats(0.001, 1000), st.integers(1, 5).map(float), st.sampled_from([1e-300, 1e300])
)
profiles = st.lists(weight, min_size=1, max_size=16)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], int, int, int | None]:
    profile = draw(profiles)
    minimum = draw(st.integers(1, 4))
    maximum = draw(st.none() | st.integers(minimum, minimum + 12))
    most = len(profile) * (maximum or minimum + 30)
    return profile, draw(st.integers(len(profile) * minimum, most)), minimum, maximum


def squared_error(counts: tuple[int, ...], profile: np.ndarray, total: int) -> float:
    target = profile / profile.sum() * total
    return float(((np.array(counts) - target) ** 2).sum())


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(("minimum", "maximum"), [(1, None), (1, 4), (2, None), (2, 5)])
def test_least_squares_against_every_schedule(
    depth: int, minimum: int, maximum: int | None
) -> None:
    generator = np.random.default_rng(depth)
    drawn = [generator.exponential(1, depth) ** 2 + 1e-6 for _ in range(15)]
    tied = [np.array(levels, float) for levels in itertools.product([1, 2, 3], repeat=depth)]
    highest = depth * (maximum or minimum + 5)
    for total in range(depth * minimum, min(highest, depth * minimum + 9) + 1):
        everything = list(enumerate_schedules(total, depth, minimum, maximum))
        for profile in drawn + tied:
            found = allocate(profile, total, minimum, maximum)
            best = min(squared_error(other.counts, profile, total) for other in everything)
            assert squared_error(found.counts, profile, total) == pytest.approx(best, abs=1e-7)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(weight, st.integers(1, 4)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.data(),
)
def test_steps_and_maxima_of_each_layer_against_every_schedule(
    layers: list[tuple[float, int]], step: int, minimum: int, data: st.DataObject
) -> None:
    least = -(-minimum // step) * step
    profile = np.array([weight for weight, _ in layers])
    maxima = [least + room for _, room in layers]
    values = [range(least, most + 1, step) for most in maxima]
    totals = {sum(counts) for counts in itertools.product(*values)}
    total = data.draw(st.sampled_from(sorted(totals)))
    found = allocate(profile, total, minimum, maxima, step)
    profile /= profile.max()
    best = min(
        squared_error(counts, profile, total)
        for counts in itertools.product(*values)
        if sum(counts) == total
    )
    assert found.total == total
    assert all(n in allowed for n, allowed in zip(found, values, strict=True))
    assert squared_error(found.counts, profile, total) == pytest.approx(best, abs=1e-6)


def test_a_step_of_two_doubles_the_schedule_of_half_the_total() -> None:
    profile = np.random.default_rng(1).exponential(1, (50, 7)) + 0.01
    half = allocate_batch(profile, 30, 2, 9)
    assert np.array_equal(allocate_batch(profile, 60, 3, 19, step=2), 2 * half)
    rows = np.full(profile.shape, 9)
    assert np.array_equal(allocate_batch(profile, 30, 2, rows), half)


@pytest.mark.slow
@settings(max_examples=300)
@given(problems())
def test_invariants(problem: tuple[list[float], int, int, int | None]) -> None:
    profile, total, minimum, maximum = problem
    counts = allocate(profile, total, minimum, maximum).counts
    assert sum(counts) == total
    assert min(counts) >= minimum
    assert maximum is None or max(counts) <= maximum
    targets = np.array(profile) / max(profile)
    targets *= total / targets.sum()
    for (t1, n1), (t2, n2) in itertools.permutations(zip(targets, counts, strict=True), 2):
        if t1 == t2:
            assert abs(n1 - n2) <= 1
        elif t1 > t2 + 2**-29:
            assert n1 >= n2
    assert allocate(profile, total, minimum, maximum).counts == counts


@given(problems())
def test_reversing_a_profile_that_leans_reverses_the_counts(
    problem: tuple[list[float], int, int, int | None],
) -> None:
    profile, total, minimum, maximum = problem
    ordered = sorted(profile)
    rising = allocate(ordered, total, minimum, maximum).counts
    falling = allocate(ordered[::-1], total, minimum, maximum).counts
    if max(profile) > 1.001 * min(profile):
        assert rising == falling[::-1]
        assert list(rising) == sorted(rising)


@given(st.lists(weight, min_size=1, max_size=8), st.booleans(), st.integers(0, 40))
def test_mirrored_profiles_give_mirrored_counts_where_parity_allows(
    half: list[float], odd: bool, above: int
) -> None:
    profile = half + half[::-1][int(odd) :]
    depth = len(profile)
    counts = allocate(profile, depth + above).counts
    asymmetric = sum(a != b for a, b in zip(counts, counts[::-1], strict=True))
    if len(set(profile)) == 1:
        assert asymmetric == (2 if depth % 2 == 0 and above % 2 else 0)
    assert asymmetric <= 2


@given(st.integers(1, 64), st.integers(0, 500))
def test_a_uniform_leftover_is_spread_evenly(depth: int, above: int) -> None:
    counts = np.array(allocate(np.ones(depth), depth + above).counts)
    first_half = counts[: depth // 2].sum()
    second_half = counts[(depth + 1) // 2 :].sum()
    assert abs(first_half - second_half) <= 1


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.integers(1, 10).flatmap(
        lambda depth: st.lists(
            st.lists(weight, min_size=depth, max_size=depth), min_size=1, max_size=30
        )
    ),
    st.integers(0, 60),
    st.none() | st.integers(3, 8),
)
def test_batch_is_the_single_form_row_by_row(
    rows: list[list[float]], above: int, maximum: int | None
) -> None:
    depth = len(rows[0])
    total = depth + above if maximum is None else min(depth + above, depth * maximum)
    batch = allocate_batch(rows, total, 1, maximum)
    for row, counts in zip(rows, batch, strict=True):
        assert allocate(row, total, 1, maximum).counts == tuple(counts)


def test_chunks_do_not_change_the_result() -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(1, 4, (30_000, 7)).astype(float)
    batch = allocate_batch(rows, 40, 2, 9)
    assert np.array_equal(batch[-100:], allocate_batch(rows[-100:], 40, 2, 9))
    assert (batch.sum(axis=1) == 40).all()


def test_rounding_noise_does_not_break_a_tie() -> None:
    noisy = np.array([0.1 + 0.2, 0.3, 0.3, 0.3])
    assert len(set(noisy)) == 2
    assert allocate(noisy, 6).counts == allocate(np.ones(4), 6).counts == (2, 1, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], 4), "layer 1"),
        (([1, float("nan")], 4), "nan"),
        (([1, float("inf")], 4), "inf"),
        (([], 4), "shape"),
        (([[1, 2]], 4), "shape"),
        (([1, 1], 1), "at least 2, got 1"),
        (([1, 1], 9, 1, 4), "at most 8, got 9"),
        (([1, 1], 4, 0), "minimum"),
        (([1, 1], 8, 3, 2), "below the minimum"),
        (([1, 1], 2**40), "it must be at most 4194304"),
        (([1, 1], 30, 1, None, 4), "multiple of 4: the nearest that fit are 28 and 32"),
        (([1, 1], 4, 1, None, 4), "at least 4 experts need a total of at least 8, got 4"),
        (([1, 1], 16, 1, 7, 4), "at most 4 experts hold a total of at most 8, got 16"),
        (([1, 1], 12, 5, 7, 4), "no multiple of the step, 4, lies between the minimum, 5"),
        (([1, 1], 4, 1, None, 0), "the step is 0"),
        (([1, 1], 9, 1, [4, 3]), "at most 4-3 cannot hold a total of 9: it fits from 2 to 7"),
        (([1, 1], 4, 2, [4, 1]), "at most 2-1 cannot hold"),
    ],
)
def test_bad_input_names_the_value(arguments: tuple, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        allocate(*arguments)


@given(
    low=st.integers(1, 6),
    reach=st.integers(0, 12),
    depth=st.integers(1, 20),
    contrast=st.floats(0.05, 0.95),
)
def test_stretching_spans_the_range_symmetrically(
    low: int, reach: int, depth: int, contrast: float
) -> None:
    high = low + reach

    def stretched(pattern: str) -> tuple[int, ...]:
        return stretch(pattern_profile(pattern, depth, contrast), low, high, contrast).counts

    down = stretched("descending")
    assert sorted(down, reverse=True) == list(down)
    assert stretched("ascending")[::-1] == down
    assert set(stretched("uniform")) == {(low + high + 1) // 2}
    if depth > 1:
        assert (down[0], down[-1]) == (high, low)
    exact = [(low + high) / 2 + reach / 2 * (1 - 2 * u) for u in depth_coordinates(depth)]
    assert all(abs(n - x) <= 0.5 + 1e-6 for n, x in zip(down, exact, strict=True))


def test_stretching_in_steps_is_stretching_of_steps() -> None:
    profile = pattern_profile("descending", 4, 0.6)
    assert stretch(profile, 3, 17, 0.6, step=4).counts == (16, 12, 8, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, float("nan")], 1, 4, 0.6), "one finite weight per layer"),
        (([[1.0]], 1, 4, 0.6), "one finite weight per layer"),
        (([1, 1], 0, 4, 0.6), "minimum is 0 and maximum is 4"),
        (([1, 1], 5, 4, 0.6), "minimum is 5 and maximum is 4"),
        (([1, 1], 1, 4, 0.0), "contrast is 0.0"),
        (([1, 1], 5, 7, 0.6, 4), "no multiple of the step"),
    ],
)
def test_bad_ranges_are_refused(arguments, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        stretch(*arguments)
