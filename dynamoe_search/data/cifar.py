"""The binary format of CIFAR-10: records of one label byte and 3 x 32 x 32 pixel bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput

_RECORD = 1 + 3 * 32 * 32
_CLASSES = 10
_LARGEST_FILE = 100_000 * _RECORD


def read_cifar10(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images and labels of one batch file.

    Parameters
    ----------
    path : Path
        A file such as ``data_batch_1.bin``.

    Returns
    -------
    images : ndarray of uint8, shape (records, 3, 32, 32)
    labels : ndarray of uint8, shape (records,)
        From 0 to 9.

    Raises
    ------
    InvalidInput
        If the size is not a whole number of records, or a label is above 9.
    """
    try:
        size = path.stat().st_size
        if size == 0 or size % _RECORD or size > _LARGEST_FILE:
            raise InvalidInput(
                f"{path} has {size:,} bytes, which is not a plausible number of records of"
                f" {_RECORD:,} bytes; download the file again"
            )
        records = np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(-1, _RECORD)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    labels = records[:, 0]
    if labels.max() >= _CLASSES:
        record = int(np.argmax(labels >= _CLASSES))
        raise InvalidInput(
            f"record {record} of {path} has the label {labels[record]}, but CIFAR-10 has labels 0"
            " to 9; replace the file with a batch of CIFAR-10"
        )
    return records[:, 1:].reshape(-1, 3, 32, 32), labels
