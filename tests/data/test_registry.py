import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from dynamoe_search.data import DATA_SETS, DIRECTORY_VARIABLE, list_data, load_images
from dynamoe_search.errors import InvalidInput


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a small MNIST in it, and nothing else."""
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)
    folder = tmp_path / "mnist"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 120), ("t10k", 40)):
        images = generator.integers(0, 256, (count, 5, 5), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = bytes([0, 0, 8, 3]) + struct.pack(">III", count, 5, 5)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(header + images.tobytes())
        )
        header = bytes([0, 0, 8, 1]) + struct.pack(">I", count)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return tmp_path


def test_reads_compressed_and_plain_files(directory: Path) -> None:
    data = load_images("mnist", directory)
    assert (len(data.train), len(data.validation), len(data.test)) == (100, 20, 40)
    assert (data.inputs, data.classes) == (25, 10)


def test_the_environment_names_the_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(directory))
    assert len(load_images("mnist").test) == 40


def test_the_list_has_what_exists_and_its_place(directory: Path) -> None:
    listed = list_data(directory).set_index("name")
    assert listed.index.tolist() == list(DATA_SETS)
    assert listed["there"].to_dict() == {
        "digits": True,
        "mnist": True,
        "fashion-mnist": False,
        "cifar10": False,
        "topics": True,
    }
    assert str(directory / "cifar-10-batches-bin") == listed.loc["cifar10", "where"]
    assert "test_batch.bin" in listed.loc["cifar10", "files"]


def test_missing_things_are_named(directory: Path) -> None:
    with pytest.raises(InvalidInput, match="choose from digits, mnist"):
        load_images("minst", directory)
    with pytest.raises(InvalidInput, match="--data-dir or DYNAMOE_DATA"):
        load_images("mnist")
    with pytest.raises(InvalidInput, match=r"test_batch\.bin there"):
        load_images("cifar10", directory)
    (directory / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InvalidInput, match="mnist is not in"):
        load_images("mnist", directory)


@pytest.mark.skipif(DIRECTORY_VARIABLE not in os.environ, reason=f"{DIRECTORY_VARIABLE} is not set")
@pytest.mark.parametrize(
    ("name", "test", "inputs"),
    [("mnist", 10_000, 784), ("fashion-mnist", 10_000, 784), ("cifar10", 10_000, 3072)],
)
def test_the_real_files(name: str, test: int, inputs: int) -> None:
    data = load_images(name)
    assert (len(data.test), data.inputs, data.classes) == (test, inputs, 10)
