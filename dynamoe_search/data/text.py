"""Text as windows of tokens, split into training, validation and test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from dynamoe_search.data.documents import embedded_documents
from dynamoe_search.data.split import SPLITS, choose_split
from dynamoe_search.data.token_file import TokenFileHeader, encode_splits, open_token_file
from dynamoe_search.data.tokenizer import ByteTokenizer, Ids
from dynamoe_search.errors import InvalidInput


@dataclass(frozen=True)
class TextSplit:
    """Tokens in windows that do not overlap.

    Parameters
    ----------
    tokens : ndarray of uint16 or uint32, shape (tokens,)
        At least `context` + 1; can be mapped from a file.
    context : int
        The predictions per window, at least 1.
    bytes_per_token : float
        Bytes of UTF-8 text per token; loss in nats / (ln 2 * bytes_per_token) is bits per byte.
    device : str
        The torch device of the batches.

    Raises
    ------
    InvalidInput
        If there are too few tokens for one window.
    """

    tokens: Ids
    context: int
    bytes_per_token: float
    device: str

    def __post_init__(self) -> None:
        if self.context < 1:
            raise InvalidInput(f"context is {self.context}; it must be at least 1")
        if len(self.tokens) <= self.context:
            raise InvalidInput(
                f"{len(self.tokens):,} tokens are too few for a context of {self.context:,}; a"
                f" context of at most {len(self.tokens) - 1:,} fits"
            )

    def __len__(self) -> int:
        """The number of whole windows, which are what is trained on."""
        return (len(self.tokens) - 1) // self.context

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the windows, in a given order; or over all tokens, in the stored order.

        Without an order every token but the first is predicted once: what is left after the last
        whole window comes in a shorter one, as a last batch of its own.

        Parameters
        ----------
        size : int
            The most windows of a batch.
        order : Tensor of int64, shape (..., n), optional
            Which windows come first. Several orders, such as one per seed, give several batches at
            once.

        Yields
        ------
        inputs, targets : Tensor of int64, shape (..., B, context)
            Each target is the token after its input. The shorter window has the shape (1, rest).
        """
        # The last target of a window is also the first input of the next.
        windows = sliding_window_view(self.tokens, self.context + 1)[:: self.context]
        places = np.arange(len(self)) if order is None else order.numpy()
        for start in range(0, len(self), size):
            batch = windows[places[..., start : start + size]]
            yield self._inputs_and_targets(batch)
        rest = self.tokens[len(self) * self.context :]
        if order is None and len(rest) > 1:
            yield self._inputs_and_targets(rest[None])

    def _inputs_and_targets(self, windows: Ids) -> tuple[Tensor, Tensor]:
        inputs, targets = (
            torch.from_numpy(part.astype(np.int64)).to(self.device)
            for part in (windows[..., :-1], windows[..., 1:])
        )
        return inputs, targets


@dataclass(frozen=True)
class TextData:
    """A text data set.

    Parameters
    ----------
    name : str
    vocabulary : int
        The number of tokens.
    context : int
        The predictions per window.
    train, validation, test : TextSplit
    fingerprint : str
        SHA-256 of tokenizer, splits and tokens, in hexadecimal.
    """

    name: str
    vocabulary: int
    context: int
    train: TextSplit
    validation: TextSplit
    test: TextSplit
    fingerprint: str


def embedded_topics(context: int = 128, seed: int = 0, device: str = "cpu") -> TextData:
    """The English language reference in every CPython, one token per byte.

    Split by topic, about eight in ten for training. Text, splits and fingerprint differ a little
    between Python versions.

    Examples
    --------
    >>> data = embedded_topics(context=64)
    >>> inputs, targets = next(data.train.batches(8))
    >>> inputs.shape, data.vocabulary
    (torch.Size([8, 64]), 257)
    """
    files = [BytesIO() for _ in SPLITS]
    documents = embedded_documents()
    header = encode_splits(documents, ByteTokenizer(), choose_split(documents, seed), files)
    tokens = [np.frombuffer(file.getvalue(), dtype=header.token_type) for file in files]
    return _text_data("topics", header, tokens, context, device)


def open_text(path: Path, context: int = 128, device: str = "cpu") -> TextData:
    """The text of a token file; its name is the file's name without the ending.

    Raises
    ------
    InvalidInput
        If the file is damaged or not a token file, or a split is too short for one window.
    """
    file = open_token_file(path)
    tokens = (file.train, file.validation, file.test)
    return _text_data(path.stem, file.header, tokens, context, device)


def _text_data(
    name: str, header: TokenFileHeader, tokens: Sequence[Ids], context: int, device: str
) -> TextData:
    def split(place: int) -> TextSplit:
        counts = header.splits[place]
        try:
            return TextSplit(tokens[place], context, counts.bytes / counts.tokens, device)
        except InvalidInput as error:
            raise InvalidInput(f"the {SPLITS[place]} split of {name}: {error}") from error

    vocabulary = header.tokenizer.vocabulary
    return TextData(
        name, vocabulary, context, split(0), split(1), split(2), fingerprint=header.fingerprint
    )
