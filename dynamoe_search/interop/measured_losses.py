"""Losses of documents by layer and active experts, in a file that is written whole each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path, writing

Losses = dict[tuple[int, int], NDArray[np.float64]]
"""The loss of each document, shape (documents,), where one layer uses some number of experts."""

AS_IT_IS = (-1, -1)
"""The key of the model as it is; in the file, the layer and the experts are -1."""

_COLUMNS = ["layer", "active", "document", "loss"]
_LARGEST_FILE = 2**30  # bytes
# What another number of threads, or another batch, changes; another model changes far more.
_ROUNDING = 1e-3


def read_losses(path: Path, as_it_is: NDArray[np.float64]) -> Losses:
    """What a file has of the model that now has these losses; only those where there is no file.

    Parameters
    ----------
    path : Path
    as_it_is : ndarray of float64, shape (documents,)
        The losses of the model as it is, measured again: they show that the file is about it.

    Raises
    ------
    InvalidInput
        If the file is no table of such losses, or of another model or other documents.
    """
    path = user_path(path)
    if not path.exists():
        return {AS_IT_IS: as_it_is}
    table = _read(path)
    losses: Losses = {}
    for (layer, active), rows in table.groupby(["layer", "active"]):
        ordered = rows.sort_values("document")
        if ordered["document"].tolist() != list(range(len(as_it_is))):
            raise _of_another(path)
        losses[int(layer), int(active)] = ordered["loss"].to_numpy(dtype=np.float64)
    before = losses.get(AS_IT_IS)
    if before is None or not np.allclose(before, as_it_is, rtol=_ROUNDING, atol=_ROUNDING):
        raise _of_another(path)
    return losses


def write_losses(path: Path, losses: Losses) -> None:
    """Write all losses as CSV: ``layer``, ``active``, ``document`` and ``loss``.

    Raises
    ------
    InvalidInput
        Where it cannot be written.
    """
    parts = [
        pd.DataFrame({"layer": layer, "active": active, "loss": values})
        for (layer, active), values in losses.items()
    ]
    table = pd.concat(parts, keys=range(len(parts))).reset_index(names=["part", "document"])
    with writing(path) as beside:
        table[_COLUMNS].to_csv(beside, index=False)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InvalidInput(f"{path} is larger than 1 GB; it is no table of losses")
        table = pd.read_csv(
            path,
            usecols=_COLUMNS,
            dtype={"layer": "int64", "active": "int64", "document": "int64", "loss": "str"},
        )
        return table.astype({"loss": "float64"})  # to the last bit, which readers of CSV are not
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    except (ValueError, pd.errors.ParserError) as error:
        raise InvalidInput(
            f"{path} is no table of losses with the columns {', '.join(_COLUMNS)}: {error}"
        ) from error


def _of_another(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} has losses of another model or of other documents; name another file"
    )
