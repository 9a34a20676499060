"""Files for tests, plain and packed."""

import gzip
import struct
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


def write_idx_images(
    folder: Path, mark: str = "-", packing: str = ".gz", test_size: int = 5, largest: int = 9
) -> None:
    """A small set in the format of MNIST: the images packed, the labels not."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for prefix, count, size in (("train", 120, 5), ("t10k", 40, test_size)):
        images = generator.integers(0, 256, (count, size, size), dtype=np.uint8)
        header = bytes([0, 0, 8, 3]) + struct.pack(">III", count, size, size)
        name = f"{prefix}-images{mark}idx3-ubyte{packing}"
        write(folder / name, pack(header + images.tobytes(), packing))
        labels = (np.arange(count) % (largest + 1)).astype(np.uint8)
        header = bytes([0, 0, 8, 1]) + struct.pack(">I", count)
        write(folder / f"{prefix}-labels{mark}idx1-ubyte", header + labels.tobytes())
