"""Text to token ids and back: one id per byte, or per piece learned from text (byte-level BPE).

A tokenizer is plain data, so that it can be saved with its tokens. The end of a document has its
own id, the largest, that no text contains.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import tokenizers
from numpy.typing import NDArray
from pydantic import Field
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from dynamoe_search.errors import InvalidInput

LARGEST_VOCABULARY = 2**18
_LONGEST_PIECE = 64  # bytes; without a limit, long lines of ==== become pieces
# Training keeps every distinct word in memory, so the text is limited.
_TRAINING_CHARACTERS = 2**24

Ids = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class ByteTokenizer:
    """UTF-8 bytes, 0 to 255, and 256 for the end of a document.

    Examples
    --------
    >>> ByteTokenizer().encode("né").tolist()
    [110, 195, 169]
    """

    name: Literal["byte"] = "byte"
    vocabulary: ClassVar[int] = 257
    end_of_document: ClassVar[int] = 256

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's definition, in hexadecimal."""
        return _fingerprint(self)

    def encode(self, text: str) -> Ids:
        """The ids, shape (tokens,); `InvalidInput` if the text has no UTF-8 form."""
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.uint16)

    def decode(self, ids: NDArray[Any]) -> str:
        """The text without ends of documents; invalid UTF-8 becomes U+FFFD."""
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", errors="replace")


@dataclass(frozen=True)
class BytePairTokenizer:
    """Byte-level byte-pair encoding, as in GPT-2.

    Ids 0 to 255 are the bytes, in the order of their characters in byte-level BPE; then one id for
    the piece of each merge, in the order of the merges; the last is the end of a document.

    Parameters
    ----------
    merges : tuple of pairs of str
        The two pieces that each merge joins, the most frequent first, in the characters of
        byte-level BPE (a space is ``Ġ``).

    Raises
    ------
    InvalidInput
        If a merge joins a piece that is neither a byte nor from an earlier merge.

    Examples
    --------
    >>> tokenizer = BytePairTokenizer((("h", "e"), ("Ġ", "t"), ("Ġt", "he")))
    >>> tokenizer.encode("he the").tolist(), tokenizer.vocabulary, tokenizer.end_of_document
    ([256, 258], 260, 259)
    """

    merges: Annotated[tuple[tuple[str, str], ...], Field(max_length=LARGEST_VOCABULARY)]
    name: Literal["bpe"] = "bpe"

    def __post_init__(self) -> None:
        _ = self._pieces  # checks the merges

    @property
    def vocabulary(self) -> int:
        """The number of ids."""
        return len(self._pieces) + 1

    @property
    def end_of_document(self) -> int:
        """The last id."""
        return len(self._pieces)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's definition, in hexadecimal."""
        return _fingerprint(self)

    def encode(self, text: str) -> Ids:
        """The ids, shape (tokens,); `InvalidInput` if the text has no UTF-8 form."""
        utf8(text)  # gives a clear error for text without UTF-8 form
        return np.array(self._tokenizer.encode(text).ids, dtype=token_type(self.vocabulary))

    def decode(self, ids: NDArray[Any]) -> str:
        """The text without ends of documents; invalid UTF-8 becomes U+FFFD."""
        return self._tokenizer.decode(ids[ids < self.end_of_document].tolist())

    @cached_property
    def _pieces(self) -> dict[str, int]:
        pieces = {byte: index for index, byte in enumerate(sorted(ByteLevel.alphabet()))}
        for rank, (left, right) in enumerate(self.merges):
            if left not in pieces or right not in pieces:
                raise InvalidInput(
                    f"merge {rank} joins {left!r} and {right!r}, but one of them is not an earlier"
                    " piece; train the tokenizer again"
                )
            pieces.setdefault(left + right, len(pieces))
        return pieces

    @cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        return _byte_level(BPE(self._pieces, list(self.merges)))


Tokenizer = ByteTokenizer | BytePairTokenizer


def train_byte_pairs(documents: Iterable[str], vocabulary: int) -> BytePairTokenizer:
    """Learn byte pairs from text; the same text always gives the same tokenizer.

    Parameters
    ----------
    documents : iterable of str
        Only the first 17 million characters or so are read, to limit memory.
    vocabulary : int
        The number of ids, with the bytes and the end of a document: 257 to 262,144. The result has
        fewer if the text has too few pairs that occur twice.

    Raises
    ------
    InvalidInput
        If the vocabulary is out of range.

    Examples
    --------
    >>> tokenizer = train_byte_pairs(["the theme of the thesis"], vocabulary=259)
    >>> tokenizer.merges
    (('h', 'e'), ('t', 'he'))
    """
    if not ByteTokenizer.vocabulary <= vocabulary <= LARGEST_VOCABULARY:
        raise InvalidInput(
            f"the vocabulary is {vocabulary:,}; for byte pairs it must be from"
            f" {ByteTokenizer.vocabulary} (the bytes and the end of a document) to"
            f" {LARGEST_VOCABULARY:,}"
        )
    tokenizer = _byte_level(BPE())
    trainer = BpeTrainer(
        vocab_size=vocabulary - 1,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=ByteLevel.alphabet(),
        max_token_length=_LONGEST_PIECE,
    )
    tokenizer.train_from_iterator(_beginning(documents, _TRAINING_CHARACTERS), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return BytePairTokenizer(tuple((left, right) for left, right in merges))


def token_type(vocabulary: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The type of ids in memory and in files: little-endian, 16 bits if they suffice."""
    return np.dtype("<u2") if vocabulary <= 2**16 else np.dtype("<u4")


def utf8(text: str) -> bytes:
    """The UTF-8 bytes of a text; `InvalidInput` for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"character {error.start:,} of a document is the lone surrogate"
            f" U+{ord(text[error.start]):04X}, which has no UTF-8 form; remove it"
        ) from error


def _byte_level(model: BPE) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    return tokenizer


def _beginning(documents: Iterable[str], characters: int) -> Iterator[str]:
    for document in documents:
        yield document
        characters -= len(document)
        if characters <= 0:
            return


def _fingerprint(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(json.dumps(asdict(tokenizer), sort_keys=True).encode()).hexdigest()
