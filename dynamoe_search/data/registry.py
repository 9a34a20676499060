"""The data sets by name: where their files are, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dynamoe_search.data.cifar import read_cifar10
from dynamoe_search.data.idx import read_idx
from dynamoe_search.data.images import ImageData, RawImages, embedded_digits, split_images
from dynamoe_search.data.names import (
    DIRECTORY_VARIABLE,
    EMBEDDED_IMAGES,
    EMBEDDED_TEXT,
    IMAGE_SETS,
    TOKEN_FILE_ENDING,
)
from dynamoe_search.data.text import TextData, embedded_topics, open_text
from dynamoe_search.errors import InvalidInput

_VALIDATION_SHARE = 6  # one training image in six is for validation


@dataclass(frozen=True)
class _Files:
    """The files of a data set.

    `folder` is below the data directory, and `needed` lists the expected files. `find` returns the
    existing training files and test files.
    """

    folder: str
    needed: tuple[str, ...]
    find: Callable[[Path], tuple[list[Path], list[Path]]]
    read: Callable[[list[Path]], RawImages]


def _find_idx(folder: Path) -> tuple[list[Path], list[Path]]:
    def pair(prefix: str) -> list[Path]:
        found = []
        for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
            here = [folder / f"{name}{ending}" for ending in (".gz", "")]
            found += [path for path in here if path.is_file()][:1]
        return found if len(found) == 2 else []

    return pair("train"), pair("t10k")


def _read_idx_pair(paths: list[Path]) -> RawImages:
    images, labels = paths
    return read_idx(images, dimensions=3), read_idx(labels, dimensions=1)


def _find_cifar10(folder: Path) -> tuple[list[Path], list[Path]]:
    return sorted(folder.glob("data_batch_[1-5].bin")), sorted(folder.glob("test_batch.bin"))


def _read_cifar10_batches(paths: list[Path]) -> RawImages:
    batches = [read_cifar10(path) for path in paths]
    return (
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
    )


_IDX_FILES = (
    "train-images-idx3-ubyte[.gz]",
    "train-labels-idx1-ubyte[.gz]",
    "t10k-images-idx3-ubyte[.gz]",
    "t10k-labels-idx1-ubyte[.gz]",
)
_FILES = {
    "mnist": _Files("mnist", _IDX_FILES, _find_idx, _read_idx_pair),
    "fashion-mnist": _Files("fashion-mnist", _IDX_FILES, _find_idx, _read_idx_pair),
    "cifar10": _Files(
        "cifar-10-batches-bin",
        ("data_batch_1.bin (to 5)", "test_batch.bin"),
        _find_cifar10,
        _read_cifar10_batches,
    ),
}


def load_data(
    name: str,
    directory: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    context: int = 128,
) -> ImageData | TextData:
    """A data set, or a prepared text, by name.

    Parameters
    ----------
    name : str
        One of `DATA_SETS`, or a token file with the ending ``.tokens``: an absolute path, or a name
        in the data directory.
    directory, seed, device
        As in `load_images`; the splits of a token file do not depend on the seed.
    context : int
        The tokens per window of text.

    Raises
    ------
    InvalidInput
        As `load_images`, and if a token file is missing, damaged or too short.
    """
    if name == EMBEDDED_TEXT:
        return embedded_topics(context, seed, device)
    if not name.endswith(TOKEN_FILE_ENDING):
        return load_images(name, directory, seed, device)
    path = Path(name)
    if not path.is_absolute():
        path = require_directory(directory, f"it must contain the token file {name}") / name
    if not path.is_file():
        raise InvalidInput(
            f"{path} does not exist; make it with: dynamoe-search data prepare SOURCE {path}"
        )
    return open_text(path, context, device)


def load_images(
    name: str, directory: Path | None = None, seed: int = 0, device: str = "cpu"
) -> ImageData:
    """A data set by name.

    Parameters
    ----------
    name : str
        One of `IMAGE_SETS`. ``digits`` is embedded; the others are read from files.
    directory : Path, optional
        The data directory, with one folder per data set. The default is the environment variable
        ``DYNAMOE_DATA``.
    seed : int
        Decides the validation split.
    device : str
        The torch device of the tensors.

    Raises
    ------
    InvalidInput
        If the name is unknown, or files are missing or damaged.
    """
    if name == EMBEDDED_IMAGES:
        return embedded_digits(seed, device)
    if name not in _FILES:
        raise InvalidInput(f"unknown data set {name!r}; choose from {', '.join(IMAGE_SETS)}")
    source = _FILES[name]
    needed = ", ".join(source.needed)
    directory = require_directory(
        directory, f"for {name} it must contain a folder {source.folder} with {needed}"
    )
    folder = directory / source.folder
    training, test = source.find(folder)
    if not training or not test:
        raise InvalidInput(
            f"{name} is not in {folder}: expected {needed} there; download it with:"
            f" dynamoe-search data download {name} --data-dir {directory}"
        )
    raw = source.read(training)
    return split_images(
        name, raw, source.read(test), max(1, len(raw[1]) // _VALIDATION_SHARE), seed, device
    )


def list_data(directory: Path | None = None) -> pd.DataFrame:
    """All data sets, and the place of each.

    Returns
    -------
    DataFrame
        Columns ``name``, ``there`` (bool), ``where`` and ``files`` (found, or needed).
    """
    directory = data_directory(directory)
    embedded = {"there": True, "where": "embedded", "files": "none needed"}
    rows = [{"name": EMBEDDED_IMAGES, **embedded}]
    for name, source in _FILES.items():
        folder = None if directory is None else directory / source.folder
        training, test = ([], []) if folder is None else source.find(folder)
        there = bool(training) and bool(test)
        rows.append(
            {
                "name": name,
                "there": there,
                "where": str(folder or f"no data directory: --data-dir or {DIRECTORY_VARIABLE}"),
                "files": ", ".join(path.name for path in training + test)
                if there
                else "needs " + ", ".join(source.needed),
            }
        )
    rows.append({"name": EMBEDDED_TEXT, **embedded})
    for path in sorted(directory.glob(f"*{TOKEN_FILE_ENDING}")) if directory else []:
        rows.append({"name": path.name, "there": True, "where": str(directory), "files": path.name})
    return pd.DataFrame(rows)


def data_directory(given: Path | None = None) -> Path | None:
    """The given data directory, or else the one in ``DYNAMOE_DATA``, or else None."""
    if given is not None:
        return given
    named = os.environ.get(DIRECTORY_VARIABLE)
    return Path(named) if named else None


def require_directory(given: Path | None, purpose: str) -> Path:
    """The data directory; `InvalidInput` with its purpose if none is given."""
    directory = data_directory(given)
    if directory is None:
        raise InvalidInput(
            f"name the data directory with --data-dir or {DIRECTORY_VARIABLE}; {purpose}"
        )
    return directory
