import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dynamoe_search.data import read_cifar10, read_idx
from dynamoe_search.errors import InvalidInput

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 3, 4) + IMAGES.tobytes()


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_round_trip(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(GOOD) if name.endswith(".gz") else GOOD)
    np.testing.assert_array_equal(read_idx(path, dimensions=3), IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], "starts with 00 00 0d 03"),
        (b"\x00\x00\x08\x01" + GOOD[4:], "starts with 00 00 08 01"),
        (GOOD[:10], "inside its header"),
        (GOOD[:-1], "= 24 values but has 23"),
        (GOOD + b"\x00", "has more"),
        (GOOD[:4] + struct.pack(">III", 2**31, 2**31, 4), "values; from 1 to 268,435,456 are read"),
        (GOOD[:4] + struct.pack(">III", 0, 3, 4), "= 0 values; from 1 to"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_idx_is_refused(
    tmp_path: Path, content: bytes, message: str, compressed: bool
) -> None:
    path = tmp_path / ("images.gz" if compressed else "images")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(InvalidInput, match=message) as failure:
        read_idx(path, dimensions=3)
    assert str(path) in str(failure.value)


def test_a_small_file_that_states_much_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(
        gzip.compress(GOOD[:4] + struct.pack(">III", 60, 5000, 5000) + bytes(2**24), 1)
    )
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=r"60 x 5000 x 5000 = 1,500,000,000 values"):
            read_idx(path, dimensions=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_file_that_was_unpacked_under_its_old_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(GOOD)
    np.testing.assert_array_equal(read_idx(path, dimensions=3), IMAGES)


@pytest.mark.parametrize("damage", ["cut", "flip", "missing"])
def test_broken_compression_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "images.gz"
    random = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8)
    content = bytes([0, 0, 8, 1]) + struct.pack(">I", 3000) + random.tobytes()
    packed = bytearray(gzip.compress(content))
    if damage == "cut":
        packed = packed[:-2000]
    if damage == "flip":
        packed[20:60] = bytes(40)
    if damage != "missing":
        path.write_bytes(packed)
    with pytest.raises(InvalidInput, match=str(path)):
        read_idx(path, dimensions=1)


def cifar_bytes(labels: list[int]) -> bytes:
    generator = np.random.default_rng(0)
    return b"".join(
        bytes([label]) + generator.integers(0, 256, 3072, dtype=np.uint8).tobytes()
        for label in labels
    )


def test_cifar_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    content = cifar_bytes([3, 9, 0])
    path.write_bytes(content)
    images, labels = read_cifar10(path)
    assert labels.tolist() == [3, 9, 0]
    assert images.shape == (3, 3, 32, 32)
    assert images[1].tobytes() == content[3073 + 1 : 2 * 3073]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (cifar_bytes([1])[:-1], "3,072 bytes"),
        (cifar_bytes([1, 10]), "record 1 of .* label 10"),
    ],
)
def test_damaged_cifar_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_cifar10(path)


def test_missing_cifar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_cifar10(tmp_path / "test_batch.bin")
