import itertools

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import count_schedules, enumerate_schedules


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("minimum", [1, 2])
@pytest.mark.parametrize("maximum", [None, 2, 3, 5])
def test_against_filtering_every_tuple(depth: int, minimum: int, maximum: int | None) -> None:
    for total in range(1, 13):
        values = range(minimum, (maximum or total) + 1)
        expected = [t for t in itertools.product(values, repeat=depth) if sum(t) == total]
        assert count_schedules(total, depth, minimum, maximum) == len(expected)
        if expected:
            found = [s.counts for s in enumerate_schedules(total, depth, minimum, maximum)]
            assert found == expected
        else:
            with pytest.raises(InvalidInput):
                enumerate_schedules(total, depth, minimum, maximum)


@pytest.mark.parametrize("maximum", [None, 7])
def test_steps_against_filtering_the_others(maximum: int | None) -> None:
    for total in range(2, 19):
        values = range(2, (maximum or total) + 1)
        tuples = itertools.product([n for n in values if n % 3 == 0], repeat=3)
        expected = [counts for counts in tuples if sum(counts) == total]
        assert count_schedules(total, 3, 2, maximum, step=3) == len(expected)
        if expected:
            found = [s.counts for s in enumerate_schedules(total, 3, 2, maximum, step=3)]
            assert found == expected


def test_large_counts_are_exact() -> None:
    # Stars and bars for 512 experts over 64 layers: C(511, 63).
    assert count_schedules(512, 64) == count_schedules(512, 64, 1, 512)
    assert count_schedules(512, 64) > 10**80
