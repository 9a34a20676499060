"""Files for tests, plain and packed."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa

from dynamoe_search.data.split import SPLITS
from dynamoe_search.data.token_file import TokenFile

PACKINGS = ("", ".gz", ".zst")


def write(path: Path, content: str | bytes) -> Path:
    """Write a file; text in UTF-8."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pack(content: bytes, ending: str) -> bytes:
    """The content of a file with one of the endings of `PACKINGS`."""
    if ending == ".gz":
        return gzip.compress(content)
    if ending == ".zst":
        return pa.Codec("zstd").compress(content, asbytes=True)
    return content


def texts(file: TokenFile) -> dict[str, list[str]]:
    """The documents of each split, separated at their ends."""
    tokenizer = file.header.tokenizer
    found = {}
    for split in SPLITS:
        tokens = getattr(file, split)
        assert tokens[-1] == tokenizer.end_of_document
        ends = np.flatnonzero(tokens == tokenizer.end_of_document) + 1
        found[split] = [tokenizer.decode(part) for part in np.split(tokens, ends[:-1])]
    return found
