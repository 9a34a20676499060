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
from typing import IO, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynamoe_search.data.encoder import Encoder, MapBatches, in_batches
from dynamoe_search.data.places import kind_at, shown
from dynamoe_search.data.split import LARGEST_SEED, SPLITS, Split
from dynamoe_search.data.tokenizer import Ids, Tokenizer, token_type
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing

_MAGIC = b"\x93DYNAMOE"
_VERSION = 1
_PREFIX = struct.Struct("<8sII32s")
_ALIGNMENT = 64
_LARGEST_HEADER = 2**24  # bytes; byte pairs for 2^18 ids take about 5 million
_CHUNK = 2**22

Progress = Callable[[int, int], None]
_Size = Annotated[int, Field(ge=1, le=2**63 - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SplitCounts(_Strict):
    """The size of a split: documents, tokens, and bytes of UTF-8 text."""

    documents: _Size
    tokens: _Size
    bytes: _Size


class TokenFileHeader(_Strict):
    """The header of a token file.

    `checksum` is the SHA-256 of the token bytes of all splits, in hexadecimal.
    """

    seed: int = Field(ge=0, le=LARGEST_SEED)
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


def encode_splits(
    documents: Iterable[str],
    tokenizer: Tokenizer,
    split: Split,
    files: Sequence[IO[bytes]],
    on_progress: Progress | None = None,
    mapping: MapBatches = map,
) -> TokenFileHeader:
    """Write the tokens of each document, and its end, to the file of its split.

    Parameters
    ----------
    documents : iterable of str
        Read once, and only as far as they are encoded.
    tokenizer : ByteTokenizer or BytePairTokenizer
    split : Split
    files : sequence of three binary files
        In the order of `SPLITS`, empty.
    on_progress : callable, optional
        Called again and again with the number of documents and of bytes of text so far.
    mapping : callable
        Applies an `Encoder` to batches of documents, as `map` does; the result is the same whatever
        number of processes it uses.

    Raises
    ------
    InvalidInput
        If a split has no text.
    """
    counts = np.zeros((len(SPLITS), 3), dtype=np.int64)  # documents, tokens and bytes of each
    for encoded in mapping(Encoder(tokenizer, split), in_batches(documents)):
        for file, tokens in zip(files, encoded.tokens, strict=True):
            file.write(tokens)
        counts += encoded.counts
        if on_progress is not None:
            on_progress(int(counts[:, 0].sum()), int(counts[:, 2].sum()))
    for name, (_, _, size) in zip(SPLITS, counts, strict=True):
        if size == 0:
            raise InvalidInput(
                f"none of {counts[:, 0].sum()} documents gives text to the {name} split; if the"
                " text has changed while it was read, prepare it again"
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
        seed=split.seed,
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
    split: Split,
    on_progress: Progress | None = None,
    mapping: MapBatches = map,
) -> TokenFileHeader:
    """Encode documents into a token file; the file appears when it is complete.

    Parameters
    ----------
    path : Path
        Replaced if it exists; its folder is made where it does not.
    documents, tokenizer, split, on_progress, mapping
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
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # They have no name, so even a killed process leaves nothing behind.
            files = [stack.enter_context(TemporaryFile(dir=path.parent)) for _ in SPLITS]
            header = encode_splits(documents, tokenizer, split, files, on_progress, mapping)
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


def is_token_file(path: Path) -> bool:
    """Whether a path is a file that begins as token files do."""
    if kind_at(path) != "file":
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


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
    if len(content) > _LARGEST_HEADER:
        raise InvalidInput(
            f"the byte pairs take {len(content):,} bytes, but a token file has at most"
            f" {_LARGEST_HEADER:,} for them; choose a smaller vocabulary"
        )
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
        first = error.errors(include_input=False)[0]
        where = shown(".".join(map(str, first["loc"]))) or "JSON"
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


def _damaged(path: Path, problem: str) -> InvalidInput:
    return InvalidInput(f"{path} {problem}; prepare the text again")
