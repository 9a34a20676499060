"""Checkpoints: a trained network and its specification in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dynamoe_search.budgets import parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing, user_path
from dynamoe_search.models import Model, build_model
from dynamoe_search.specification import Specification
from dynamoe_search.untrusted import parse_json, shown

_KEY = "dynamoe_search"
_FORMAT = 3
_DEEPEST, _LONGEST_CONTEXT = 1024, 2**17
_SPECIFICATION: TypeAdapter[Specification] = TypeAdapter(Specification)


def save_model(model: Model, path: Path, about: dict[str, Any] | None = None) -> None:
    """Write a network in float32 to a safetensors file, with its specification in the header.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Of a single seed; `dynamoe_search.models.single_network` takes one of several.
    path : Path
        Replaced in one step, so the file is always whole.
    about : dict, optional
        Other facts to keep, as JSON: the study, schedule, seed, and the data's fingerprint.

    Raises
    ------
    InvalidInput
        If the file cannot be written.
    """
    header = {
        "format": _FORMAT,
        "specification": _SPECIFICATION.dump_python(model.specification, mode="json"),
        "about": about or {},
    }
    tensors = {name: value[0].float().contiguous() for name, value in _of_one(model).items()}
    try:
        with replacing(path) as beside:
            save_file(tensors, beside, metadata={_KEY: json.dumps(header)})
    except (OSError, SafetensorError) as error:
        raise InvalidInput(f"{path} cannot be written: {error}") from error


def read_about(path: Path) -> dict[str, Any]:
    """The `about` that was given to `save_model`; the weights are not read.

    Raises
    ------
    InvalidInput
        As `load_model`.
    """
    return dict(_read_header(path)["about"])


def load_model(path: Path | str, device: str = "cpu") -> Model:
    """Rebuild the network of a checkpoint, in evaluation mode.

    Parameters
    ----------
    path : Path or str
        A file from `save_model`.
    device : str
        The torch device for the network.

    Raises
    ------
    InvalidInput
        If the file is missing, damaged or not from `save_model`, has another format number, or its
        weights do not fit the network that its header describes.

    Examples
    --------
    >>> import tempfile
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> model = build_model(Classifier(64, 10, 8, Experts(8, Schedule((3, 1)))))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, Path(folder) / "model.safetensors", {"seed": 7})
    ...     str(load_model(Path(folder) / "model.safetensors").specification.blocks.schedule)
    '3-1'
    """
    path = user_path(path)
    described = _read_header(path).get("specification")
    try:
        specification = _SPECIFICATION.validate_python(described)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"{path} does not describe a network that can be built:"
            f" {shown(where)}: {shown(first['msg'])}"
        ) from error
    # Check the sizes in the header before memory is allocated for them.
    depth, context = specification.blocks.depth, getattr(specification, "context", 0)
    if depth > _DEEPEST or context > _LONGEST_CONTEXT:
        raise InvalidInput(
            f"{path} describes {depth} layers and a context of {context}; the limits are {_DEEPEST}"
            f" and {_LONGEST_CONTEXT}"
        )
    if 4 * parameter_count(specification).total > path.stat().st_size:
        raise InvalidInput(
            f"{path} has {path.stat().st_size:,} bytes, too few for the network that its header"
            " describes; the file is damaged"
        )
    model = build_model(specification)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    own = {name: value[0] for name, value in _of_one(model).items()}
    _check_same(path, own, tensors)
    model.load_state_dict({name: tensor[None] for name, tensor in tensors.items()})
    return model.to(device).eval()


def _read_header(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InvalidInput(f"{path} is not a readable safetensors file: {error}") from error
    if _KEY not in metadata:
        raise InvalidInput(f"{path} was not written by dynamoe_search: its header has no {_KEY}")
    header: dict[str, Any] = parse_json(metadata[_KEY], f"the header of {path}")
    if not isinstance(header, dict) or not isinstance(header.get("about"), dict):
        raise InvalidInput(f"{path} has a damaged header: about is missing")
    found = header.get("format")
    if found != _FORMAT:
        raise InvalidInput(
            f"{path} has checkpoint format {shown(str(found))}, but this version reads only format"
            f" {_FORMAT}; train the network again with this version"
        )
    return header


def _of_one(model: Model) -> dict[str, torch.Tensor]:
    """The tensors of a single network, with their seed axis."""
    if len(model.seeds) != 1:
        raise ValueError(f"the model has {len(model.seeds)} networks; save one: single_network()")
    return model.state_dict()


def _check_same(
    path: Path, expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]
) -> None:
    for name in sorted(expected.keys() | found.keys()):
        of_network, of_file = (
            f"{tensors[name].dtype} {tuple(tensors[name].shape)}" if name in tensors else "nothing"
            for tensors in (expected, found)
        )
        if of_network != of_file:
            raise InvalidInput(
                f"{path} does not match the network that it describes: {name} is {of_file} in the"
                f" file, {of_network} in the network"
            )
