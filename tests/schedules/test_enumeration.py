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


def test_large_counts_are_exact() -> None:
    # Stars and bars for 512 experts over 64 layers: C(511, 63).
    assert count_schedules(512, 64) == count_schedules(512, 64, 1, 512)
    assert count_schedules(512, 64) > 10**80
