"""Candidates as text."""

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import DenseBaseline, parse_candidate

WITH_ACTIVE = ("8-4 active=3-1", "0-4 active=2-2 p=0.7")


@pytest.mark.parametrize(
    "text", ["dense 96x2-95", "dense 7", "8-6-4-2", "8-4 hidden=21 p=0.7", *WITH_ACTIVE]
)
def test_candidates_come_back_from_their_text(text: str) -> None:
    assert str(parse_candidate(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("dense", "dense x", "8-4 k", "8-4 k=two", "", "8-", "8-4 =2=3"),
        *("8-4 active=2", "8-4 active=2-0", "8-4 active=2-2-2", "8-4 p=1 active=2-2"),
        *("dense 8x99999999999", "dense 8x600-8x600", "8" * 5000, "dense " + "8" * 5000),
    ],
)
def test_other_text_is_no_candidate(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"candidate|schedule"):
        parse_candidate(text)


def test_dense_baselines_are_written_shortly() -> None:
    assert str(DenseBaseline((5,) * 24)) == "dense 5x24"
