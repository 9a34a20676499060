"""The data sets by name: where their files are, and how they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from dynamoe_search.data.image_files import IMAGE_FILES, find_images, require_images
from dynamoe_search.data.images import ImageData, embedded_digits, split_images
from dynamoe_search.data.names import (
    DIRECTORY_VARIABLE,
    EMBEDDED_IMAGES,
    EMBEDDED_TEXT,
    IMAGE_SETS,
    TOKEN_FILE_ENDING,
)
from dynamoe_search.data.places import kind_at, shown
from dynamoe_search.data.text import TextData, embedded_topics, open_text
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word, user_path

_VALIDATION_SHARE = 6  # one training image in six is for validation


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
        purpose = f"it must contain the token file {shown(name)}"
        path = require_directory(directory, purpose) / name
    if kind_at(path) != "file":
        raise InvalidInput(
            f"there is no file {shown(path)}; make it with: dynamoe-search data prepare SOURCE"
            f" {shown(shell_word(path))}"
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
    if name not in IMAGE_FILES:
        raise InvalidInput(f"unknown data set {shown(name)!r}; choose from {', '.join(IMAGE_SETS)}")
    files = IMAGE_FILES[name]
    directory = require_directory(
        directory, f"for {name} it must contain a folder {files.folders[0]} with {files.needed}"
    )
    found = require_images(name, directory)
    training, test = files.read(found.training), files.read(found.test)
    held_out = max(1, len(training[1]) // _VALIDATION_SHARE)
    return split_images(name, files.classes, training, test, held_out, seed, device)


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
    nowhere = f"no data directory: --data-dir or {DIRECTORY_VARIABLE}"
    for name, files in IMAGE_FILES.items():
        row = {"name": name, "there": False, "where": nowhere, "files": f"needs {files.needed}"}
        if directory is not None:
            row["where"] = str(directory / files.folders[0])
            if found := find_images(files, directory):
                names = ", ".join(path.name for path in found.training + found.test)
                row |= {"there": True, "where": str(found.folder), "files": names}
        rows.append(row)
    rows.append({"name": EMBEDDED_TEXT, **embedded})
    for path in sorted(directory.glob(f"[!.]*{TOKEN_FILE_ENDING}")) if directory else []:
        rows.append({"name": path.name, "there": True, "where": str(directory), "files": path.name})
    return pd.DataFrame(rows)


def data_directory(given: Path | None = None) -> Path | None:
    """The given data directory, or else the one in ``DYNAMOE_DATA``, or else None."""
    named = given or os.environ.get(DIRECTORY_VARIABLE)
    return user_path(named) if named else None


def require_directory(given: Path | None, purpose: str) -> Path:
    """The data directory; `InvalidInput` with its purpose if none is given."""
    directory = data_directory(given)
    if directory is None:
        raise InvalidInput(
            f"name the data directory with --data-dir or {DIRECTORY_VARIABLE}; {purpose}"
        )
    return directory
