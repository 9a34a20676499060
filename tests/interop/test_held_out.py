"""Documents to measure with, and others to compare with."""

import numpy as np
import pytest

from dynamoe_search.data.text import TextData, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.held_out import HeldOut, held_out_documents, split_documents

END = 9


def text_data(validation: list[list[int]], test: list[list[int]]) -> TextData:
    def split(documents: list[list[int]]) -> TextSplit:
        tokens = [token for one in documents for token in (*one, END)]
        return TextSplit(np.array(tokens, dtype=np.uint16), 2, 1.0, "cpu")

    return TextData("t", END + 1, 2, split([[1, 2, 3]]), split(validation), split(test), "")


def test_documents_are_those_of_validation_and_test_with_their_ends() -> None:
    found = held_out_documents(text_data([[1, 2], [3], [], [4, 5]], [[6, 7, 8], [1, 1]]))
    assert [one.tolist() for one in found.measuring] == [[1, 2, END], [3, END], [4, 5, END]]
    assert [one.tolist() for one in found.comparing] == [[6, 7, 8, END], [1, 1, END]]
    assert found.context == 2


def test_fewer_documents_are_taken_evenly_and_cut_at_their_end() -> None:
    many = [[k, k, k] for k in range(9)]
    found = held_out_documents(text_data(many, many), documents=3, tokens=2)
    assert [one.tolist() for one in found.measuring] == [[0, 0], [4, 4], [8, 8]]


def test_halves_share_no_document_and_have_all_of_them() -> None:
    documents = [[k, k + 1] for k in range(11)] * 2 + [[5]]
    parts = split_documents(documents, context=4, seed=3)
    found = [[tuple(one) for one in part] for part in (parts.measuring, parts.comparing)]
    assert not set(found[0]) & set(found[1])
    assert sorted(found[0] + found[1]) == [(k, k + 1) for k in range(11)]
    other = split_documents(documents, context=4, seed=4)
    assert [tuple(one) for one in other.measuring] != found[0]


@pytest.mark.parametrize(
    ("documents", "context", "message"),
    [
        ([[1, 2]] * 9, 4, "documents for measuring are 0"),
        ([[1, 2], [2, 3], [3, 4]], 4, "documents for measuring are 1"),
        ([[[1, 2]], [[2, 3]], [[3, 4]], [[4, 5]]], 4, "has the shape"),
        ([[1.0, 2], [2, 3.0], [3.0, 4], [4.0, 5]], 4, "the type float64"),
        ([[1, 2], [2, 3], [3, 4], [4, 5]], 0, "context is 0"),
    ],
)
def test_bad_input_is_refused(documents: list, context: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        split_documents(documents, context)


def test_a_document_of_one_token_is_refused() -> None:
    two = (np.array([1, 2]), np.array([1]))
    with pytest.raises(InvalidInput, match="two whole numbers"):
        HeldOut(two, two, 4)
