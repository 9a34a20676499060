"""Documents that a model was not trained on, in two parts: to measure with, and to compare with.

What is chosen because it does well on some documents does better there than elsewhere. So it is
compared on others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.data.text import TextData, TextSplit
from dynamoe_search.errors import InvalidInput

Document = NDArray[np.integer]
FEWEST_DOCUMENTS = 2
"""In each part: the noise of a mean needs two."""


@dataclass(frozen=True)
class HeldOut:
    """Documents of tokens in two parts that share none.

    Parameters
    ----------
    measuring, comparing : tuple of ndarray of int, shape (tokens,)
        The documents that choices are made with, and those that they are judged by; each has at
        least two tokens.
    context : int
        The most tokens that the model sees at once; a longer document is read in several windows.

    Raises
    ------
    InvalidInput
        If a part has fewer than two documents, a document has fewer than two tokens or is no list
        of whole numbers, or the context is below 1.
    """

    measuring: tuple[Document, ...]
    comparing: tuple[Document, ...]
    context: int

    def __post_init__(self) -> None:
        if self.context < 1:
            raise InvalidInput(f"context is {self.context}; it must be at least 1")
        for part in ("measuring", "comparing"):
            documents = getattr(self, part)
            if len(documents) < FEWEST_DOCUMENTS:
                raise InvalidInput(
                    f"the documents for {part} are {len(documents)}; there must be at least"
                    f" {FEWEST_DOCUMENTS}, so give more text"
                )
            for document in documents:
                if document.ndim != 1 or len(document) < 2 or document.dtype.kind not in "iu":
                    raise InvalidInput(
                        f"a document has the shape {document.shape} and the type"
                        f" {document.dtype}; expected a row of two whole numbers or more"
                    )

    @property
    def largest_token(self) -> int:
        """The largest token of all documents."""
        return max(int(one.max()) for one in (*self.measuring, *self.comparing))


def held_out_documents(
    data: TextData, documents: int | None = None, tokens: int | None = None
) -> HeldOut:
    """Documents of a text data set: those of its validation split measure, those of test compare.

    Parameters
    ----------
    data : TextData
        Its context is that of the result.
    documents : int, optional
        The most documents of each part, taken evenly from all.
    tokens : int, optional
        The most tokens of a document, from its beginning.

    Raises
    ------
    InvalidInput
        As `HeldOut`.

    Examples
    --------
    >>> from dynamoe_search import load_data
    >>> parts = held_out_documents(load_data("topics"), documents=5, tokens=100)
    >>> len(parts.measuring), len(parts.comparing), parts.context
    (5, 5, 128)
    """
    end = data.vocabulary - 1  # which closes each document
    measuring, comparing = (
        _shortened(_documents(split, end), documents, tokens)
        for split in (data.validation, data.test)
    )
    return HeldOut(measuring, comparing, data.context)


def split_documents(
    documents: Iterable[ArrayLike],
    context: int,
    seed: int = 0,
    tokens: int | None = None,
) -> HeldOut:
    """Half of some documents to measure with, the other half to compare with, at random.

    Parameters
    ----------
    documents : iterable of array_like of int, shape (tokens,)
        Those with fewer than two tokens, and copies, are left out.
    context : int
        As in `HeldOut`.
    seed : int
        Of the split.
    tokens : int, optional
        The most tokens of a document, from its beginning.

    Raises
    ------
    InvalidInput
        As `HeldOut`.

    Examples
    --------
    >>> parts = split_documents([[1, 2], [3, 4], [1, 2], [5, 6], [7, 8]], context=8)
    >>> len(parts.measuring), len(parts.comparing)
    (2, 2)
    """
    arrays = [np.asarray(one) for one in documents]
    different = list({one.tobytes(): one for one in arrays if one.size > 1}.values())
    order = np.random.default_rng(seed).permutation(len(different))
    shuffled = [different[place] for place in order]
    half = len(shuffled) // 2
    shortened = tuple(one[:tokens] for one in shuffled)
    return HeldOut(shortened[:half], shortened[half:], context)


def _documents(split: TextSplit, end: int) -> list[Document]:
    """The documents of a split, each with the token that ends it."""
    parts = np.split(split.tokens, np.flatnonzero(split.tokens == end) + 1)
    return [part for part in parts if len(part) > 1]


def _shortened(
    documents: Sequence[Document], most: int | None, tokens: int | None
) -> tuple[Document, ...]:
    if most is not None and most < len(documents):
        places = np.linspace(0, len(documents) - 1, most).round().astype(int)
        documents = [documents[place] for place in places]
    return tuple(one[:tokens] for one in documents)
