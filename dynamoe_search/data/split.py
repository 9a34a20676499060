"""Which documents train, validate and test: decided by a keyed hash of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from dynamoe_search.data.plain_text import SHORTEST
from dynamoe_search.data.tokenizer import utf8
from dynamoe_search.errors import InvalidInput

SPLITS = ("train", "validation", "test")
LARGEST_SEED = 2**63 - 1

_Key = tuple[int, int]  # the last decimal digit of a document's hash, and the hash


@dataclass(frozen=True)
class Split:
    """A rule that gives each document its place in `SPLITS`.

    Equal documents have the same place, and their order does not matter.

    Parameters
    ----------
    seed : int
        From 0 to `LARGEST_SEED`; the key of the hash.
    validation, test : pair of int
        The least key of the documents that validate, and of those that test. By default one in ten
        validates and one in ten tests.

    Raises
    ------
    InvalidInput
        If the seed is out of range.

    Examples
    --------
    >>> split = Split(seed=0)
    >>> [SPLITS[split.place(document)] for document in ("one", "two", "one")]
    ['train', 'test', 'train']
    """

    seed: int
    validation: _Key = (8, 0)
    test: _Key = (9, 0)

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InvalidInput(f"the seed of a split of text must be from 0 to {LARGEST_SEED:,}")

    def place(self, document: str) -> int:
        """The index in `SPLITS` of a document."""
        key = self.key(document)
        return (key >= self.validation) + (key >= self.test)

    def key(self, document: str) -> _Key:
        """What orders the documents; different documents have different keys."""
        content = utf8(document)
        digest = hashlib.blake2b(content, key=str(self.seed).encode(), digest_size=8).digest()
        value = int.from_bytes(digest, "little")
        return value % 10, value


def choose_split(documents: Iterable[str], seed: int) -> Split:
    """The usual split, or the nearest in which each part has a document.

    Reads only until each part of the usual split has one. If the documents end before, the least
    keys move as little as needed.

    Parameters
    ----------
    documents : iterable of str
        Empty ones do not count.
    seed : int
        As in `Split`.

    Raises
    ------
    InvalidInput
        If fewer than three documents are different.

    Examples
    --------
    >>> documents = ["one", "three", "five"]
    >>> split = choose_split(documents, seed=0)
    >>> sorted(split.place(document) for document in documents)
    [0, 1, 2]
    """
    usual = Split(seed)
    keys: set[_Key] = set()
    filled: set[int] = set()
    for document in filter(None, documents):
        keys.add(usual.key(document))
        filled.add(usual.place(document))
        if len(filled) == len(SPLITS):
            return usual
    if len(keys) < len(SPLITS):
        raise InvalidInput(
            "training, validation and test need three different documents, but the text has"
            f" {len(keys)}; give more text (plain text is split at blank lines into documents of"
            f" {SHORTEST:,} characters or more, and each file is at least one)"
        )
    ordered = sorted(keys)
    test = max(min(usual.test, ordered[-1]), ordered[2])
    before = max(key for key in ordered if key < test)
    return Split(seed, validation=max(min(usual.validation, before), ordered[1]), test=test)
