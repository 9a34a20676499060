"""Files that are unpacked while they are read: gzip and zstandard.

The first bytes decide, not the name: no text in UTF-8 and no IDX file begins with them, and a
browser may have unpacked a file without changing its name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

PACKED_ENDINGS = (".gz", ".zst", ".zstd")
_CODECS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x50\x2a\x4d\x18": "zstd",  # a frame to skip, with which pzstd begins
}
_BUFFER = 2**16


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file to read its bytes; the content of a packed file, in bounded memory.

    Raises
    ------
    OSError
        On opening or reading, also if what is packed is damaged or ends early.
    """
    with path.open("rb") as file:
        start = file.peek(4)
        codec = next((name for magic, name in _CODECS.items() if start.startswith(magic)), None)
        if codec is None:
            yield file
            return
        with io.BufferedReader(pa.CompressedInputStream(file, codec), _BUFFER) as unpacked:
            yield unpacked
