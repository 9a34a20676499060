from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule

counts = st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any)


@given(counts)
def test_text_form_round_trips(values: list[int]) -> None:
    schedule = Schedule(tuple(values))
    assert Schedule.parse(str(schedule)) == schedule
    assert hash(Schedule.parse(str(schedule))) == hash(schedule)
    assert (schedule.total, schedule.depth) == (sum(values), len(values))
    assert list(schedule) == values
    assert len(schedule) == len(values)
    assert [schedule[layer] for layer in schedule.layers_with_experts] == list(filter(None, values))


def test_is_frozen_and_ordered() -> None:
    schedule = Schedule((2, 3))
    with pytest.raises(AttributeError):
        schedule.counts = (1,)  # type: ignore[misc]
    assert sorted([Schedule((3, 1)), Schedule((1, 9)), Schedule((3,))]) == [
        Schedule((1, 9)),
        Schedule((3,)),
        Schedule((3, 1)),
    ]


def test_numpy_integers_and_lists_become_plain_tuples() -> None:
    schedule = Schedule(list(np.array([4, 2])))  # type: ignore[arg-type]
    assert schedule.counts == (4, 2)
    assert all(type(count) is int for count in schedule.counts)


@pytest.mark.parametrize(
    "text", ["", "8-", "-8", "8--6", "8-6a", "8 6", "8.5-2", "0-0", "8-6\n4", "+8-6", "٣-٢"]
)
def test_bad_text_is_refused_and_shown(text: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        Schedule.parse(text)
    assert repr(text) in str(failure.value) or "all 2 have 0" in str(failure.value)


@pytest.mark.parametrize("values", [(), (0,), (0, 0), (3, -1), (2.5,), (True, 2), ("3",), 7])
def test_bad_counts_are_refused(values: object) -> None:
    with pytest.raises(InvalidInput):
        Schedule(values)  # type: ignore[arg-type]


@given(counts, st.integers(-25, 25), st.integers(-25, 25))
def test_indexing_is_that_of_the_tuple(values: list[int], start: int, stop: int) -> None:
    schedule = Schedule(tuple(values))
    assert schedule[start:stop] == tuple(values[start:stop])
    assert (start in schedule) == (start in values)
    if -len(values) <= start < len(values):
        assert schedule[start] == values[start]
    else:
        with pytest.raises(IndexError):
            schedule[start]


@given(counts)
def test_in_a_notebook_it_is_text_under_bars(values: list[int]) -> None:
    html = Schedule(tuple(values))._repr_html_()
    picture = ElementTree.fromstring(html.replace("<br>", "<br/>"))
    heights = [float(bar.attrib["height"]) for bar in picture.iter("rect")]
    tops = [float(bar.attrib["y"]) for bar in picture.iter("rect")]
    assert heights == pytest.approx([40 * value / max(values) for value in values], rel=1e-4)
    assert [top + height for top, height in zip(tops, heights, strict=True)] == pytest.approx(
        [40] * len(values), abs=1e-3
    )
    text = "-".join(map(str, values))
    (code,) = picture.iter("code")
    (svg,) = picture.iter("svg")
    assert code.text == text
    assert svg.attrib["role"] == "img"
    assert text in svg.attrib["aria-label"]
    # Readable in light and dark notebooks, and self-contained.
    assert svg.attrib["fill"] == "currentColor"
    assert "href" not in html
    assert "url" not in html
