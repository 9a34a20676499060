from collections import Counter
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.data.documents import embedded_documents
from dynamoe_search.data.split import LARGEST_SEED, SPLITS, Split, choose_split
from dynamoe_search.errors import InvalidInput

TEXTS = st.text(min_size=1, max_size=5)
SEEDS = st.integers(0, 5) | st.integers(0, LARGEST_SEED)


def test_parts_have_their_shares_and_depend_on_the_seed() -> None:
    documents = [str(number) for number in range(10_000)]
    splits = [choose_split(documents, seed) for seed in (0, 1)]
    first, other = (np.array([split.place(document) for document in documents]) for split in splits)
    shares = np.bincount(first) / len(documents)
    # Four standard deviations of a share of ten thousand.
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.016)
    # Independent seeds agree on 0.8^2 + 2 * 0.1^2 of all.
    assert np.mean(first == other) == pytest.approx(0.66, abs=0.02)


@given(
    documents=st.lists(TEXTS, min_size=3, max_size=40).filter(lambda texts: len(set(texts)) >= 3),
    seed=SEEDS,
    order=st.randoms(use_true_random=False),
)
def test_three_different_documents_fill_all_parts(
    documents: list[str], seed: int, order: Random
) -> None:
    split = choose_split(documents, seed)
    places = {document: split.place(document) for document in documents}
    assert set(places.values()) == {0, 1, 2}
    # Order, repetition and empty documents do not matter.
    again = [*documents, "", *documents]
    order.shuffle(again)
    assert choose_split(again, seed) == split


@given(documents=st.lists(TEXTS, min_size=3, max_size=40, unique=True), seed=SEEDS)
def test_no_document_moves_without_need(documents: list[str], seed: int) -> None:
    """Only as many documents change their part as there are parts without one."""
    usual, split = Split(seed), choose_split(documents, seed)
    counts = Counter(usual.place(document) for document in documents)
    moved = sum(split.place(document) != usual.place(document) for document in documents)
    if len(counts) == len(SPLITS):
        assert split == usual
    # One for each empty part; a part between the source and the empty one passes one on.
    assert moved <= 2 * (len(SPLITS) - len(counts))


@pytest.mark.parametrize("count", [3, 4, 15, 40])
def test_every_seed_serves_a_small_corpus(count: int) -> None:
    documents = embedded_documents()[:count]
    for seed in range(300):
        split = choose_split(documents, seed)
        assert {split.place(document) for document in documents} == {0, 1, 2}


def test_a_large_corpus_is_read_only_at_its_beginning() -> None:
    read = 0

    def documents() -> Iterator[str]:
        nonlocal read
        for number in range(10**9):
            read += 1
            yield str(number)

    assert choose_split(documents(), seed=0) == Split(seed=0)
    assert read < 300  # 0.9 ** 300 is 2e-14


@pytest.mark.parametrize("documents", [[], ["one"] * 9, ["one", "two", "", "one"]])
def test_fewer_than_three_documents_are_refused(documents: list[str]) -> None:
    message = rf"need three .*, but the text has {len(set(documents) - {''})}; .* 4,096 characters"
    with pytest.raises(InvalidInput, match=message):
        choose_split(documents, seed=0)


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1, 10**5000], ids=["-1", "next", "long"])
def test_a_seed_of_any_length_gets_an_answer(seed: int) -> None:
    with pytest.raises(InvalidInput, match=r"must be from 0 to 9,223,372,036,854,775,807"):
        choose_split(["one", "two", "three"], seed)
