"""Documents to tokens, a batch at a time, so that several processes can do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.data.split import SPLITS, Split
from dynamoe_search.data.tokenizer import Ids, Tokenizer, token_type, utf8

# Characters. An interrupted command waits until its processes have encoded theirs.
_BATCH = 2**18


@dataclass(frozen=True)
class Encoded:
    """The tokens of a batch of documents.

    Parameters
    ----------
    tokens : list of bytes
        Of each split: those of its documents, each with its end, as a token file has them.
    counts : ndarray of int64, shape (3, 3)
        Documents, tokens and bytes of text of each split.
    """

    tokens: list[bytes]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Encoder:
    """Encodes batches of documents, each document in its split.

    Examples
    --------
    >>> from dynamoe_search.data.tokenizer import ByteTokenizer
    >>> encoded = Encoder(ByteTokenizer(), Split(seed=0))(["one", "two", "three"])
    >>> encoded.counts[:, 0].tolist(), [len(tokens) for tokens in encoded.tokens]
    ([2, 0, 1], [20, 0, 8])
    """

    tokenizer: Tokenizer
    split: Split

    def __call__(self, documents: list[str]) -> Encoded:
        """The tokens of a batch; `InvalidInput` if a text has no UTF-8 form."""
        kind = token_type(self.tokenizer.vocabulary)
        end = np.array([self.tokenizer.end_of_document], dtype=kind)
        parts: list[list[Ids]] = [[] for _ in SPLITS]
        counts = np.zeros((len(SPLITS), 3), dtype=np.int64)
        for document in documents:
            place = self.split.place(document)
            tokens = self.tokenizer.encode(document)
            parts[place] += [tokens, end]
            counts[place] += (1, len(tokens) + 1, len(utf8(document)))
        return Encoded([np.concatenate(part).tobytes() if part else b"" for part in parts], counts)


# What `map` does: the results in the order of the batches.
MapBatches = Callable[[Encoder, Iterable[list[str]]], Iterator[Encoded]]


def in_batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Documents in their order, in lists of about 260,000 characters or one longer document.

    Examples
    --------
    >>> list(in_batches(["one", "two"]))
    [['one', 'two']]
    """
    batch: list[str] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= _BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
