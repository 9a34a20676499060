"""IDX files, the format of MNIST and Fashion-MNIST.

A file has two zero bytes, a type byte (here always 0x08 for bytes), the number of dimensions, each
dimension as four big-endian bytes, then exactly the values; plain or gzip-compressed.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.data.unpacking import open_unpacked
from dynamoe_search.errors import InvalidInput

_BYTES = 0x08
_LARGEST_FILE = 2**28  # in values; MNIST has 47 million


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes.

    Parameters
    ----------
    path : Path
        A file, plain or packed with gzip.
    dimensions : int
        The number of dimensions that it must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8, with the shape in the header

    Raises
    ------
    InvalidInput
        For a wrong magic number, a truncated or overlong file, broken compression, or a header that
        states no values or more than 2^28.
    """
    try:
        with open_unpacked(path) as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(path, header, dimensions)
            size = prod(shape)
            # One byte more than stated, to notice a file that is too long.
            values = file.read(size + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}; download the file again") from error
    if len(values) != size:
        comparison = "more" if len(values) > size else f"{len(values):,}"
        raise InvalidInput(
            f"{path} states {' x '.join(map(str, shape))} = {size:,} values but has"
            f" {comparison}; download the file again"
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _shape(path: Path, header: bytes, dimensions: int) -> tuple[int, ...]:
    expected = bytes([0, 0, _BYTES, dimensions])
    if header[:4] != expected:
        raise InvalidInput(
            f"{path} starts with {header[:4].hex(' ') or 'nothing'}; an IDX file of bytes in"
            f" {dimensions} dimensions starts with {expected.hex(' ')}; download the file again"
        )
    if len(header) != 4 + 4 * dimensions:
        raise InvalidInput(f"{path} ends inside its header; download the file again")
    shape = tuple(np.frombuffer(header[4:], dtype=">u4").tolist())
    if not 0 < prod(shape) <= _LARGEST_FILE:
        raise InvalidInput(
            f"{path} states {' x '.join(map(str, shape))} = {prod(shape):,} values; from 1 to"
            f" {_LARGEST_FILE:,} are read; download the file again"
        )
    return shape
