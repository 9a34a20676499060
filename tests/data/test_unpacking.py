from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynamoe_search.data.unpacking import open_unpacked
from tests.data.files import PACKINGS, pack, write

CONTENT = np.random.default_rng(0).bytes(300_000)
PACKED = pytest.mark.parametrize("packing", [packing for packing in PACKINGS if packing])


def read(path: Path) -> bytes:
    with open_unpacked(path) as file:
        return file.read()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one", "large"])
def test_the_content_comes_back(tmp_path: Path, content: bytes, packing: str) -> None:
    assert read(write(tmp_path / "file", pack(content, packing))) == content


@PACKED
def test_parts_that_are_packed_one_after_another_are_joined(tmp_path: Path, packing: str) -> None:
    parts = [pack(CONTENT[start:][:100_000], packing) for start in (0, 100_000, 200_000)]
    assert read(write(tmp_path / "file", b"".join(parts))) == CONTENT


def test_a_frame_to_skip_is_skipped(tmp_path: Path) -> None:
    frame = b"\x50\x2a\x4d\x18" + b"\x04\0\0\0" + b"size"
    assert read(write(tmp_path / "file", frame + pack(CONTENT, ".zst"))) == CONTENT


@pytest.mark.parametrize(
    ("packing", "damage"),
    [
        (".gz", lambda packed: packed[:-1]),
        (".zst", lambda packed: packed[:-1]),
        (".gz", lambda packed: packed[:-5] + b"\0" + packed[-4:]),  # the checksum
        (".zst", lambda packed: packed[:4] + b"\xff" + packed[5:]),  # the header of the frame
        (".gz", lambda packed: packed + b"something else"),
        (".zst", lambda packed: packed + b"something else"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, packing: str, damage: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "file", damage(pack(b"some words " * 10_000, packing)))
    with pytest.raises(OSError, match=r"compress|inflate"):
        read(path)
