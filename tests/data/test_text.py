import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.data import DIRECTORY_VARIABLE
from dynamoe_search.data.documents import embedded_documents
from dynamoe_search.data.prepare import prepare_text
from dynamoe_search.data.split import Split
from dynamoe_search.data.text import TextData, TextSplit, embedded_topics, open_text
from dynamoe_search.data.token_file import write_token_file
from dynamoe_search.data.tokenizer import ByteTokenizer
from dynamoe_search.errors import InvalidInput


def order_of(text: TextSplit, seed: int) -> torch.Tensor:
    return torch.randperm(len(text), generator=torch.Generator().manual_seed(seed))


def split(tokens: int, context: int) -> TextSplit:
    return TextSplit(np.arange(tokens, dtype=np.uint16), context, 1.0, "cpu")


@given(
    context=st.integers(1, 9),
    extra=st.integers(1, 60),
    size=st.integers(1, 12),
    seed=st.none() | st.integers(0, 99),
)
def test_every_token_is_predicted_once_from_the_one_before(
    context: int, extra: int, size: int, seed: int | None
) -> None:
    text = split(context + extra, context)
    batches = list(text.batches(size, None if seed is None else order_of(text, seed)))
    for inputs, targets in batches:
        assert (inputs.dtype, targets.dtype) == (torch.int64, torch.int64)
        assert torch.equal(targets, inputs + 1)
    predicted = torch.cat([targets.flatten() for _, targets in batches]).tolist()
    # One whole window more would go beyond the text.
    whole = len(text) * context
    assert whole + context + 1 > len(text.tokens) >= whole + 1
    if seed is None:
        assert predicted == list(range(1, len(text.tokens)))
        if whole + 1 < len(text.tokens):
            assert batches.pop()[0].shape == (1, len(text.tokens) - 1 - whole)
    else:
        assert sorted(predicted) == list(range(1, whole + 1))
    assert [len(inputs) for inputs, _ in batches[:-1]] == [size] * (len(batches) - 1)
    assert torch.cat([inputs for inputs, _ in batches]).shape == (len(text), context)


def test_several_orders_give_several_batches_at_once() -> None:
    text = split(1001, 10)
    orders = torch.stack([order_of(text, seed) for seed in (3, 4)])
    together = list(text.batches(32, orders))
    assert [inputs.shape for inputs, _ in together] == [(2, 32, 10)] * 3 + [(2, 4, 10)]
    windows = torch.from_numpy(text.tokens[:1000].astype(np.int64)).view(100, 10)
    for place, order in enumerate(orders):
        expected = [windows[index] for index in order.tolist()]
        inputs, targets = (
            torch.cat([parts[place] for parts in of_batches])
            for of_batches in zip(*together, strict=True)
        )
        assert torch.equal(inputs, torch.stack(expected))
        assert torch.equal(targets, inputs + 1)
        alone = torch.cat([inputs for inputs, _ in text.batches(32, order)])
        assert torch.equal(alone, inputs)


def test_batches_are_contiguous_and_leave_the_text_alone() -> None:
    text = split(100, 7)
    for inputs, targets in text.batches(4):
        assert inputs.is_contiguous()
        assert targets.is_contiguous()
        inputs.zero_()
    assert text.tokens.tolist() == list(range(100))


def test_a_batch_takes_only_its_own_memory(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    np.zeros(20_000_000, dtype=np.uint16).tofile(path)
    text = TextSplit(np.memmap(path, np.uint16, mode="r"), 128, 1.0, "cpu")
    tracemalloc.start()
    try:
        predicted = sum(inputs.numel() for inputs, _ in text.batches(64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert predicted == len(text.tokens) - 1
    # The order, with 8 bytes per window, and a batch.
    assert peak < 8 * len(text) + 1_000_000


@pytest.mark.parametrize(("tokens", "context"), [(0, 1), (1, 1), (128, 128)])
def test_too_few_tokens_are_refused(tokens: int, context: int) -> None:
    message = f"{tokens} tokens are too few for a context of {context}"
    with pytest.raises(InvalidInput, match=message):
        split(tokens, context)


def test_a_context_that_does_not_fit_is_refused_with_one_that_does() -> None:
    shortest = min(len(embedded_topics().validation.tokens), len(embedded_topics().test.tokens))
    with pytest.raises(InvalidInput, match=r"the \w+ split of topics: .* at most ([\d,]+) fits"):
        embedded_topics(context=shortest)
    assert len(embedded_topics(context=shortest - 1).test) >= 1
    with pytest.raises(InvalidInput, match="context is 0"):
        embedded_topics(context=0)


def documents_of(data: TextData) -> list[list[str]]:
    tokenizer = ByteTokenizer()
    found = []
    for part in (data.train, data.validation, data.test):
        ends = np.flatnonzero(part.tokens == tokenizer.end_of_document) + 1
        found.append([tokenizer.decode(text) for text in np.split(part.tokens, ends)[:-1]])
    return found


def test_embedded_topics_are_split_by_document() -> None:
    data = embedded_topics(seed=1)
    found = documents_of(data)
    for place, documents in enumerate(found):
        assert documents == [
            text for text in embedded_documents() if Split(seed=1).place(text) == place
        ]
    paragraphs = [{part for text in texts for part in text.split("\n\n")} for texts in found]
    assert not paragraphs[0] & (paragraphs[1] | paragraphs[2])
    assert not paragraphs[1] & paragraphs[2]
    assert (data.name, data.vocabulary, data.context) == ("topics", 257, 128)
    for part, documents in zip((data.train, data.validation, data.test), found, strict=True):
        size = len("".join(documents).encode())
        assert part.bytes_per_token == size / (size + len(documents))


def test_embedded_topics_depend_on_the_seed_only() -> None:
    first, again, other = embedded_topics(), embedded_topics(context=32), embedded_topics(seed=1)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(first.train.tokens, again.train.tokens)


def test_a_token_file_of_the_same_text_is_the_same_data(tmp_path: Path) -> None:
    path = tmp_path / "reference.tokens"
    write_token_file(path, embedded_documents(), ByteTokenizer(), Split(seed=5))
    data, embedded = open_text(path, context=50), embedded_topics(context=50, seed=5)
    assert data.name == "reference"
    assert data.fingerprint == embedded.fingerprint
    for name in ("train", "validation", "test"):
        here, there = getattr(data, name), getattr(embedded, name)
        np.testing.assert_array_equal(here.tokens, there.tokens)
        assert (here.context, here.bytes_per_token) == (50, there.bytes_per_token)
    pairs = zip(data.test.batches(8), embedded.test.batches(8), strict=True)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_a_damaged_token_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.tokens"
    path.write_text("no tokens")
    with pytest.raises(InvalidInput, match=f"{path} is not a token file"):
        open_text(path)


@pytest.mark.skipif(DIRECTORY_VARIABLE not in os.environ, reason=f"{DIRECTORY_VARIABLE} is not set")
def test_byte_pairs_need_fewer_predictions_for_real_text(tmp_path: Path) -> None:
    source = Path(os.environ[DIRECTORY_VARIABLE]) / "text" / "tinyshakespeare.txt"
    prepare_text(source, tmp_path / "bytes.tokens")
    prepare_text(source, tmp_path / "pairs.tokens", "bpe", vocabulary=1024)
    plain, pairs = (open_text(tmp_path / f"{name}.tokens") for name in ("bytes", "pairs"))
    assert (plain.vocabulary, pairs.vocabulary) == (257, 1024)
    assert plain.train.bytes_per_token == pytest.approx(1, abs=1e-3)
    assert pairs.test.bytes_per_token > 2
    inputs, targets = next(pairs.train.batches(32))
    assert inputs.shape == (32, 128)
    assert int(torch.maximum(inputs, targets).max()) < 1024
