"""Where the files of an image set can be: as we download them, and as other tools leave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from dynamoe_search.data.cifar import read_cifar10
from dynamoe_search.data.idx import read_idx
from dynamoe_search.data.images import RawImages
from dynamoe_search.data.places import kind_at
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word

_PICKLES = ("cifar-10-batches-py", "cifar10/cifar-10-batches-py", ".")


@dataclass(frozen=True)
class FoundFiles:
    """The training files and the test files of a set, and the folder that they are in."""

    folder: Path
    training: tuple[Path, ...]
    test: tuple[Path, ...]


@dataclass(frozen=True)
class ImageFiles:
    """The files of an image set.

    Parameters
    ----------
    classes : int
        Its labels are from 0 to `classes` - 1.
    folders : tuple of str
        Where the files can be, below the data directory; the first is where `download_images` puts
        them, and the first that has all files is read.
    needed : str
        What must be in one of the folders, in words.
    training, test : function of a folder
        The files that are there, or none if one that is needed is missing.
    read : function of paths
        The images and labels in them.
    """

    classes: int
    folders: tuple[str, ...]
    needed: str
    training: Callable[[Path], tuple[Path, ...]]
    test: Callable[[Path], tuple[Path, ...]]
    read: Callable[[tuple[Path, ...]], RawImages]


def find_images(files: ImageFiles, directory: Path) -> FoundFiles | None:
    """The files of a set in the first folder that has them."""
    for name in files.folders:
        folder = directory / name
        training, test = files.training(folder), files.test(folder)
        if training and test:
            return FoundFiles(folder, training, test)
    return None


def require_images(name: str, directory: Path) -> FoundFiles:
    """The files of the set of a name.

    Raises
    ------
    InvalidInput
        If they are not in the data directory.
    """
    files = IMAGE_FILES[name]
    if (found := find_images(files, directory)) is not None:
        return found
    get = (
        f"download it with: dynamoe-search data download {name} --data-dir {shell_word(directory)}"
    )
    pickles = [directory / folder / "data_batch_1" for folder in _PICKLES]
    if name == "cifar10" and (there := [path for path in pickles if kind_at(path) == "file"]):
        raise InvalidInput(
            f"{there[0].parent} has CIFAR-10 as Python pickles, which can run code and are not"
            f" read; the binary version is needed (cifar-10-binary.tar.gz): {get}"
        )
    raise InvalidInput(
        f"{name} is not in {directory}: expected {files.needed} there in a folder"
        f" {' or '.join(files.folders)}; {get}"
    )


def _idx_pair(prefix: str) -> Callable[[Path], tuple[Path, ...]]:
    def find(folder: Path) -> tuple[Path, ...]:
        found: list[Path] = []
        for kind in ("images{}idx3-ubyte", "labels{}idx1-ubyte"):
            names = [
                f"{prefix}-{kind.format(mark)}{ending}"
                for mark, ending in product(("-", "."), (".gz", ""))
            ]
            found += _existing([folder / name for name in names])[:1]
        return tuple(found) if len(found) == 2 else ()

    return find


def _read_idx_pair(paths: tuple[Path, ...]) -> RawImages:
    images, labels = paths
    return read_idx(images, dimensions=3), read_idx(labels, dimensions=1)


def _cifar10_batches(*names: str) -> Callable[[Path], tuple[Path, ...]]:
    return lambda folder: _existing([folder / f"{name}.bin" for name in names])


def _read_cifar10_batches(paths: tuple[Path, ...]) -> RawImages:
    images, labels = zip(*map(read_cifar10, paths), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _existing(paths: list[Path]) -> tuple[Path, ...]:
    return tuple(path for path in paths if kind_at(path) == "file")


def _idx_files(*folders: str) -> ImageFiles:
    return ImageFiles(
        classes=10,
        folders=folders,
        needed="train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and"
        " t10k-labels-idx1-ubyte (plain or .gz)",
        training=_idx_pair("train"),
        test=_idx_pair("t10k"),
        read=_read_idx_pair,
    )


# torchvision has MNIST/raw and FashionMNIST/raw; unpacking by hand often nests a folder.
IMAGE_FILES: dict[str, ImageFiles] = {
    "mnist": _idx_files("mnist", "mnist/raw", "MNIST", "MNIST/raw"),
    "fashion-mnist": _idx_files(
        "fashion-mnist", "fashion-mnist/raw", "FashionMNIST", "FashionMNIST/raw"
    ),
    "cifar10": ImageFiles(
        classes=10,
        folders=(
            "cifar-10-batches-bin",
            "cifar-10-batches-bin/cifar-10-batches-bin",
            "cifar-10-binary/cifar-10-batches-bin",
            "cifar10/cifar-10-batches-bin",
            "cifar10",
        ),
        needed="data_batch_1.bin (to 5) and test_batch.bin",
        training=_cifar10_batches(*(f"data_batch_{number}" for number in range(1, 6))),
        test=_cifar10_batches("test_batch"),
        read=_read_cifar10_batches,
    ),
}
