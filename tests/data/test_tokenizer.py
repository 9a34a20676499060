import itertools
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from dynamoe_search.data import tokenizer as module
from dynamoe_search.data.documents import embedded_documents
from dynamoe_search.data.tokenizer import (
    LARGEST_VOCABULARY,
    BytePairTokenizer,
    ByteTokenizer,
    Tokenizer,
    train_byte_pairs,
)
from dynamoe_search.errors import InvalidInput

DOCUMENTS = embedded_documents()[:10]
PAIRS = train_byte_pairs(DOCUMENTS, vocabulary=600)
BOTH = pytest.mark.parametrize("tokenizer", [ByteTokenizer(), PAIRS], ids=["byte", "bpe"])


@BOTH
@given(text=st.text())
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint16
    assert tokenizer.decode(ids) == text


@given(text=st.text())
def test_bytes_are_those_of_utf8(text: str) -> None:
    assert ByteTokenizer().encode(text).tolist() == list(text.encode())


@BOTH
@given(text=st.text() | st.sampled_from(["<|endoftext|>", "</s>", "Ġ", "\x00"]))
def test_no_text_contains_the_end_of_a_document(tokenizer: Tokenizer, text: str) -> None:
    end = tokenizer.end_of_document
    assert end == tokenizer.vocabulary - 1
    assert (tokenizer.encode(text) < end).all()
    assert tokenizer.decode(np.append(tokenizer.encode(text), [end, end])) == text


@BOTH
def test_half_a_character_is_replaced(tokenizer: Tokenizer) -> None:
    ids = ByteTokenizer().encode("aé")[:2] if tokenizer.name == "byte" else PAIRS.encode("aé")[:2]
    assert tokenizer.decode(ids) == "a\ufffd"


@given(word=st.text(alphabet="aehilnorst", min_size=1, max_size=30))
def test_byte_pairs_are_joined_as_their_definition_says(word: str) -> None:
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(PAIRS.merges)))}
    pieces = list(word)
    while known := [pair for pair in itertools.pairwise(pieces) if pair in ranks]:
        best = min(known, key=ranks.__getitem__)
        position = next(k for k, pair in enumerate(itertools.pairwise(pieces)) if pair == best)
        pieces[position : position + 2] = ["".join(best)]
    assert [PAIRS.decode(PAIRS.encode(word)[k : k + 1]) for k in range(len(pieces))] == pieces


def test_the_most_frequent_pair_is_learned_first() -> None:
    words = " ".join(DOCUMENTS).split()
    counts = Counter(pair for word in words for pair in itertools.pairwise(word))
    trained = train_byte_pairs([" ".join(words).replace(" ", "\n")], vocabulary=258)
    assert trained.merges == (counts.most_common(1)[0][0],)
    assert (PAIRS.vocabulary, len(set(PAIRS.merges))) == (600, 600 - 257)


def test_a_small_text_gives_a_small_vocabulary() -> None:
    assert train_byte_pairs(["abcd"], vocabulary=5000) == BytePairTokenizer(())
    assert train_byte_pairs([], vocabulary=257).vocabulary == 257


def test_training_gives_the_same_in_every_process() -> None:
    program = (
        "from dynamoe_search.data.documents import embedded_documents\n"
        "from dynamoe_search.data.tokenizer import train_byte_pairs\n"
        "print(train_byte_pairs(embedded_documents()[:10], 600).fingerprint)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"RAYON_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.strip() == PAIRS.fingerprint


def test_training_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRAINING_CHARACTERS", 1000)
    endless = itertools.repeat("the theme of the thesis ")
    assert ("h", "e") in train_byte_pairs(endless, vocabulary=260).merges


def test_different_tokenizers_have_different_fingerprints() -> None:
    others = [ByteTokenizer(), PAIRS, BytePairTokenizer(PAIRS.merges[:-1]), BytePairTokenizer(())]
    assert len({tokenizer.fingerprint for tokenizer in others}) == 4
    assert BytePairTokenizer(PAIRS.merges).fingerprint == PAIRS.fingerprint
    assert len(bytes.fromhex(PAIRS.fingerprint)) == 32


def test_a_piece_made_twice_has_one_id() -> None:
    tokenizer = BytePairTokenizer((("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")))
    assert tokenizer.vocabulary == 256 + 3 + 1
    assert tokenizer.decode(tokenizer.encode("abc")) == "abc"


def test_large_vocabularies_have_wider_ids() -> None:
    alphabet = sorted(ByteLevel.alphabet(), reverse=True)
    tokenizer = BytePairTokenizer(tuple(itertools.product(alphabet, repeat=2)))
    assert tokenizer.vocabulary == 256 + 256**2 + 1
    ids = tokenizer.encode("!!né")
    assert ids.dtype == np.uint32
    assert ids[0] == 256 + 256**2 - 1
    assert tokenizer.decode(ids) == "!!né"


@pytest.mark.parametrize("merges", [(("a", "bc"),), (("ab", "c"), ("a", "b")), (("", "a"),)])
def test_impossible_merges_are_refused(merges: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(InvalidInput, match="merge 0 joins"):
        BytePairTokenizer(merges)


@pytest.mark.parametrize("vocabulary", [-1, 256, LARGEST_VOCABULARY + 1, 10**18])
def test_impossible_vocabularies_are_refused(vocabulary: int) -> None:
    with pytest.raises(InvalidInput, match=r"the vocabulary is .* 257 .* to 262,144"):
        train_byte_pairs(["text"], vocabulary)


@BOTH
def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInput, match=r"character 2 .* U\+D800"):
        tokenizer.encode("ab\ud800")
