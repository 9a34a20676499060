from pathlib import Path

import numpy as np
import pytest

from dynamoe_search.data import list_data, load_images
from dynamoe_search.errors import InvalidInput
from tests.data.files import write, write_idx_images


def write_cifar10(folder: Path, ending: str = ".bin") -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        records = generator.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        write(folder / f"{name}{ending}", records.tobytes())


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST"),
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "fashion-mnist"),
        ("fashion-mnist", "FashionMNIST"),
        ("fashion-mnist", "FashionMNIST/raw"),
    ],
)
def test_idx_files_are_found(
    tmp_path: Path, name: str, folder: str, packing: str, mark: str
) -> None:
    write_idx_images(tmp_path / folder, mark, packing)
    assert (len(load_images(name, tmp_path).test)) == 40
    listed = list_data(tmp_path).set_index("name")
    assert listed.loc[listed["where"] != "embedded", "there"].sum() == 1
    assert listed.loc[name, "where"] == str(tmp_path / folder)
    assert f"train-images{mark}idx3-ubyte{packing}" in listed.loc[name, "files"]


@pytest.mark.parametrize(
    "folder",
    [
        "cifar-10-batches-bin",
        "cifar-10-batches-bin/cifar-10-batches-bin",
        "cifar-10-binary/cifar-10-batches-bin",
        "cifar10/cifar-10-batches-bin",
        "cifar10",
    ],
)
def test_cifar10_is_found(tmp_path: Path, folder: str) -> None:
    write_cifar10(tmp_path / folder)
    data = load_images("cifar10", tmp_path)
    assert (len(data.train) + len(data.validation), len(data.test), data.inputs) == (80, 40, 3072)


def test_half_a_set_is_passed_over(tmp_path: Path) -> None:
    write_idx_images(tmp_path / "mnist")
    write_idx_images(tmp_path / "MNIST" / "raw", packing="")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    assert list_data(tmp_path).set_index("name").loc["mnist", "where"].endswith("MNIST/raw")
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").unlink()
    with pytest.raises(InvalidInput, match=r"mnist is not in .* MNIST/raw; download it with: "):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize(
    "folder", ["cifar-10-batches-py", "cifar10/cifar-10-batches-py", "direct/cifar-10-batches-py"]
)
def test_pickles_get_their_own_sentence(tmp_path: Path, folder: str) -> None:
    write_cifar10(tmp_path / folder, ending="")
    directory = tmp_path / folder if folder.startswith("direct") else tmp_path
    message = (
        r"cifar-10-batches-py has CIFAR-10 as Python pickles, .* not read; .*"
        r"cifar-10-binary\.tar\.gz.*data download cifar10 --data-dir"
    )
    with pytest.raises(InvalidInput, match=message):
        load_images("cifar10", directory)
    with pytest.raises(InvalidInput, match="mnist is not in"):
        load_images("mnist", directory)
    # The binary version beside them is read.
    write_cifar10(directory / "cifar-10-batches-bin")
    assert len(load_images("cifar10", directory).test) == 40


def test_files_of_two_sets_are_refused_when_they_are_loaded(tmp_path: Path) -> None:
    write_idx_images(tmp_path / "mnist", test_size=6)
    with pytest.raises(InvalidInput, match=r"test images of mnist have 6 x 6 values.* 5 x 5"):
        load_images("mnist", tmp_path)
    write_idx_images(tmp_path / "FashionMNIST", largest=10)
    with pytest.raises(InvalidInput, match=r"image 10 of fashion-mnist .* label 10, .* 0 to 9"):
        load_images("fashion-mnist", tmp_path)
