"""The token file: text that is encoded and split once, and mapped into memory.

It has the magic bytes, the version and the header's length (4 bytes each, little-endian), the
SHA-256 of the header, the header in JSON, padded with spaces so that all this fills a multiple of
64 bytes, and the tokens of the three splits: little-endian, with 2 bytes, or 4 if the vocabulary is
above 65,536. The header has the SHA-256 of the tokens, so that every change of a bit is found when
the file is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynamoe_search.data.documents import read_documents
from dynamoe_search.data.tokenizer import (
    ByteTokenizer,
    Ids,
    Tokenizer,
    token_type,
    train_byte_pairs,
    utf8,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing

SPLITS = ("train", "validation", "test")
_MAGIC = b"\x93DYNAMOE"
_VERSION = 1
_PREFIX = struct.Struct("<8sII32s")
_ALIGNMENT = 64
_LARGEST_HEADER = 2**26
_CHUNK = 2**22

Progress = Callable[[int, int], None]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SplitCounts(_Strict):
    """The size of a split: documents, tokens, and bytes of UTF-8 text."""

    documents: int = Field(ge=1)
    tokens: int = Field(ge=1)
    bytes: int = Field(ge=1)


class TokenFileHeader(_Strict):
    """The header of a token file.

    `checksum` is the SHA-256 of the token bytes of all splits, in hexadecimal.
    """

    seed: int
    tokenizer: Annotated[Tokenizer, Field(discriminator="name")]
    train: SplitCounts
    validation: SplitCounts
    test: SplitCounts
    checksum: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def splits(self) -> tuple[SplitCounts, SplitCounts, SplitCounts]:
        """The sizes of the three splits, in the order of `SPLITS`."""
        return self.train, self.validation, self.test

    @property
    def token_type(self) -> np.dtype[Any]:
        """The type of a token in the file."""
        return token_type(self.tokenizer.vocabulary)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of tokenizer, splits and tokens, in hexadecimal."""
        identity = [self.tokenizer.fingerprint, self.checksum]
        identity += [str(counts.tokens) for counts in self.splits]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


@dataclass(frozen=True)
class TokenFile:
    """The content of a token file.

    Parameters
    ----------
    header : TokenFileHeader
    train, validation, test : ndarray of uint16 or uint32, shape (tokens,)
        Read-only, mapped from the file.
    """

    header: TokenFileHeader
    train: Ids
    validation: Ids
    test: Ids


def split_of(document: str, seed: int) -> int:
    """The index in `SPLITS` of a document: eight in ten train, one validates and one tests.

    A keyed hash of the content decides it, so equal documents are always in the same split, and
    the order of documents does not matter.

    Examples
    --------
    >>> [SPLITS[split_of(document, seed=0)] for document in ("one", "two", "one")]
    ['train', 'test', 'train']
    """
    digest = hashlib.blake2b(utf8(document), key=str(seed).encode(), digest_size=8).digest()
    return max(0, int.from_bytes(digest, "little") % 10 - 7)


def encode_splits(
    documents: Iterable[str],
    tokenizer: Tokenizer,
    seed: int,
    files: Sequence[IO[bytes]],
    on_progress: Progress | None = None,
) -> TokenFileHeader:
    """Write the tokens of each document, and its end, to the file of its split.

    Parameters
    ----------
    documents : iterable of str
        Read once, one document at a time.
    tokenizer : ByteTokenizer or BytePairTokenizer
    seed : int
        Decides the splits.
    files : sequence of three binary files
        In the order of `SPLITS`, empty.
    on_progress : callable, optional
        Called after each document with the number of documents and of bytes of text so far.

    Raises
    ------
    InvalidInput
        If a split has no text.
    """
    end = np.array([tokenizer.end_of_document], dtype=token_type(tokenizer.vocabulary))
    counts = np.zeros((len(SPLITS), 3), dtype=np.int64)  # documents, tokens and bytes of each
    for document in documents:
        split = split_of(document, seed)
        tokens = np.concatenate([tokenizer.encode(document), end])
        files[split].write(tokens.tobytes())
        counts[split] += (1, len(tokens), len(utf8(document)))
        if on_progress is not None:
            on_progress(int(counts[:, 0].sum()), int(counts[:, 2].sum()))
    for name, (_, _, size) in zip(SPLITS, counts, strict=True):
        if size == 0:
            raise InvalidInput(
                f"none of {counts[:, 0].sum()} documents gives text to the {name} split;"
                " give more documents, or another seed"
            )
    digest = hashlib.sha256()
    for file in files:
        file.seek(0)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    train, validation, test = (
        SplitCounts(documents=documents, tokens=tokens, bytes=size)
        for documents, tokens, size in counts.tolist()
    )
    return TokenFileHeader(
        seed=seed,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        test=test,
        checksum=digest.hexdigest(),
    )


def write_token_file(
    path: Path,
    documents: Iterable[str],
    tokenizer: Tokenizer,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> TokenFileHeader:
    """Encode documents into a token file; the file appears when it is complete.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    documents, tokenizer, seed, on_progress
        As in `encode_splits`.

    Returns
    -------
    TokenFileHeader

    Raises
    ------
    InvalidInput
        If a split has no text, or the file cannot be written.
    """
    try:
        with ExitStack() as stack:
            # They have no name, so even a killed process leaves nothing behind.
            files = [stack.enter_context(TemporaryFile(dir=path.parent)) for _ in SPLITS]
            header = encode_splits(documents, tokenizer, seed, files, on_progress)
            _assemble(path, header, files)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error}") from error
    return header


def open_token_file(path: Path) -> TokenFile:
    """Check a whole token file, and map it into memory.

    Raises
    ------
    InvalidInput
        If the file is missing, not a token file, of another version, or damaged.
    """
    try:
        with path.open("rb") as file:
            header = _read_header(path, file)
            start = file.tell()
            stated = start + header.token_type.itemsize * sum(
                counts.tokens for counts in header.splits
            )
            size = os.fstat(file.fileno()).st_size
            if size != stated:
                raise _damaged(path, f"has {size:,} bytes, but its header states {stated:,}")
            _check_tokens(path, file, header)
        tokens = np.asarray(np.memmap(path, header.token_type, mode="r", offset=start))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    ends = np.cumsum([counts.tokens for counts in header.splits])
    return TokenFile(header, *np.split(tokens, ends[:-1]))


def prepare_text(
    source: Path,
    target: Path,
    tokenizer_name: Literal["byte", "bpe"] = "byte",
    vocabulary: int = 4096,
    column: str = "text",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> TokenFileHeader:
    """Make a token file from a text file, a folder or a parquet file.

    Parameters
    ----------
    source : Path
        As in `read_documents`; read twice for byte pairs.
    target : Path
        The token file to write. It replaces another token file, but no other file.
    tokenizer_name : {"byte", "bpe"}
        Byte pairs are learned from the training split only.
    vocabulary : int
        The number of ids for byte pairs, as in `train_byte_pairs`; the byte tokenizer has 257.
    column : str
        The text column of parquet files.
    seed : int
        Decides the splits.
    on_progress : callable, optional
        As in `encode_splits`.

    Raises
    ------
    InvalidInput
        If the source cannot be read or is too small to split, or the target exists and is not a
        token file.
    """
    if target.exists() and not _is_token_file(target):
        raise InvalidInput(
            f"{target} exists and is not a token file, so it is not overwritten; name another file"
        )
    match tokenizer_name:
        case "byte":
            tokenizer: Tokenizer = ByteTokenizer()
        case "bpe":
            documents = read_documents(source, column)
            train = (text for text in documents if SPLITS[split_of(text, seed)] == "train")
            tokenizer = train_byte_pairs(train, vocabulary)
        case _:
            raise InvalidInput(f"unknown tokenizer {tokenizer_name!r}; choose from byte, bpe")
    return write_token_file(target, read_documents(source, column), tokenizer, seed, on_progress)


def _assemble(path: Path, header: TokenFileHeader, files: Sequence[IO[bytes]]) -> None:
    """Write the header and the tokens."""
    with replacing(path) as beside, beside.open("wb") as target:
        target.write(_packed(header))
        for file in files:
            file.seek(0)
            shutil.copyfileobj(file, target, _CHUNK)


def _packed(header: TokenFileHeader) -> bytes:
    """The bytes before the tokens."""
    content = header.model_dump_json().encode()
    content += b" " * (-(_PREFIX.size + len(content)) % _ALIGNMENT)
    digest = hashlib.sha256(content).digest()
    return _PREFIX.pack(_MAGIC, _VERSION, len(content), digest) + content


def _read_header(path: Path, file: IO[bytes]) -> TokenFileHeader:
    prefix = file.read(_PREFIX.size)
    if not prefix.startswith(_MAGIC):
        raise _damaged(path, "is not a token file")
    if len(prefix) < _PREFIX.size:
        raise _damaged(path, "ends before its header")
    _, version, length, digest = _PREFIX.unpack(prefix)
    if version != _VERSION:
        raise _damaged(path, f"has version {version} of the format, not {_VERSION}")
    if length > _LARGEST_HEADER:
        raise _damaged(path, f"states an impossible header of {length:,} bytes")
    content = file.read(length)
    if len(content) < length:
        raise _damaged(path, "ends inside its header")
    if hashlib.sha256(content).digest() != digest:
        raise _damaged(path, "has a header that does not match its checksum")
    try:
        return TokenFileHeader.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise _damaged(path, f"has a header that is not valid ({where}: {first['msg']})") from error


def _check_tokens(path: Path, file: IO[bytes], header: TokenFileHeader) -> None:
    digest = hashlib.sha256()
    largest = 0
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        largest = max(largest, int(np.frombuffer(chunk, dtype=header.token_type).max()))
    if digest.hexdigest() != header.checksum:
        raise _damaged(path, "has tokens that do not match their checksum")
    if largest >= header.tokenizer.vocabulary:
        raise _damaged(
            path, f"has the token {largest}, but a vocabulary of {header.tokenizer.vocabulary}"
        )


def _is_token_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _damaged(path: Path, problem: str) -> InvalidInput:
    return InvalidInput(f"{path} {problem}; prepare the text again")
