"""Files for tests, plain and packed."""

import gzip
from pathlib import Path

import pyarrow as pa

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
