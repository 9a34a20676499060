"""Read routing traces of Megatron-LM, as `--moe-routing-trace-path` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path
from dynamoe_search.interop.observed import ObservedRouting
from dynamoe_search.measure.counts import RoutingCounts
from dynamoe_search.untrusted import shown

# No trace of a real model comes near these; what does is refused before it fills the memory.
_LONGEST_LINE = 2**24  # bytes: the choices of 150,000 tokens of 22 experts
_MOST_EXPERTS = 4096
_MOST_LAYERS = 4096
_MOST_PAIRS = 2**26  # of experts, over all layers


def read_routing_trace(
    paths: Path | str | Iterable[Path | str], experts: int | None = None
) -> ObservedRouting:
    """Count the choices in routing traces of Megatron-LM, line by line, in bounded memory.

    A line is one record of JSON: ``layer``, ``num_tokens``, ``topk``, and ``top_indices``, a list
    of the experts of each token. All steps, ranks and files are counted together. Records of
    another ``block`` than the decoder, such as heads that predict several tokens, and of another
    ``stage`` than ``pre_dispatch`` are left out.

    Parameters
    ----------
    paths : path, or several
        Files of JSON lines, or folders with files ``*.jsonl``. A trace is data of others: nothing
        of it is believed without a check.
    experts : int, optional
        N, which a trace does not say. Without it, the largest expert that any token used tells: an
        expert above it that is dead is not seen.

    Raises
    ------
    InvalidInput
        If a file cannot be read, or a line is no such record: the file, the line, and what is
        wrong.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "router_trace_rank0.jsonl")
    >>> line = '{"layer": 0, "num_tokens": 2, "topk": 2, "top_indices": [[0, 1], [2, 1]]}'
    >>> _ = path.write_text(line)
    >>> read_routing_trace(path, experts=4).load_table()["load"].tolist()
    [1, 2, 1, 0]
    """
    if experts is not None and not 1 <= experts <= _MOST_EXPERTS:
        raise InvalidInput(f"experts is {experts}; give a number from 1 to {_MOST_EXPERTS}")
    layers: dict[int, RoutingCounts] = {}
    for path in _files(paths):
        for where, record in _records(path):
            indices = _indices(record, where, experts)
            if not len(indices):
                continue
            layer, most = record["layer"], experts or int(indices.max()) + 1
            counts = layers.get(layer)
            most = max(most, counts.experts if counts else 0)
            added = RoutingCounts.of_indices(indices, most)
            layers[layer] = _widened(counts, most) + added if counts else added
            if sum(one.experts**2 for one in layers.values()) > _MOST_PAIRS:
                raise InvalidInput(
                    f"{where}: with this layer there are more than {_MOST_PAIRS} pairs of experts,"
                    " more than a real model has"
                )
    if not layers:
        raise InvalidInput(
            "the trace has no record of a decoder layer with tokens; give files that"
            " --moe-routing-trace-path of Megatron-LM has written"
        )
    most, nothing = max(one.experts for one in layers.values()), RoutingCounts.nothing(("all",))
    found = tuple(
        _widened(layers[layer], most) if layer in layers else nothing
        for layer in range(max(layers) + 1)
    )
    return ObservedRouting(lambda: found)


def _files(paths: Path | str | Iterable[Path | str]) -> Iterator[Path]:
    """The files that are given, and those of the folders that are given."""
    for given in [paths] if isinstance(paths, Path | str) else paths:
        path = user_path(given)
        if path.is_dir():
            found = sorted(path.glob("*.jsonl"))
            if not found:
                raise InvalidInput(f"{path} has no file *.jsonl; give the folder of a trace")
            yield from found
        else:
            yield path


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The records of decoder layers in a file, each with the file and the line for messages."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                where = f"{shown(str(path))}, line {number}"
                if len(line) > _LONGEST_LINE:
                    raise InvalidInput(f"{where} is longer than {_LONGEST_LINE >> 20} MB")
                if line.strip():
                    record = _record(line, where)
                    if _is_counted(record):
                        yield where, record
    except OSError as error:
        raise InvalidInput(f"{shown(str(path))} cannot be read: {shown(str(error))}") from error


def _record(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{where} is not valid JSON ({shown(str(error))}); if the process was stopped there,"
            " remove the line"
        ) from error
    if not isinstance(record, dict):
        raise InvalidInput(f"{where} is no JSON object")
    return record


def _is_counted(record: Mapping[str, Any]) -> bool:
    block, stage = record.get("block", "decoder"), record.get("stage", "pre_dispatch")
    return bool(block == "decoder" and stage == "pre_dispatch")


def _indices(record: Mapping[str, Any], where: str, experts: int | None) -> NDArray[np.int64]:
    """The checked choices of a record, shape (T, K)."""
    for name, most in (("layer", _MOST_LAYERS - 1), ("num_tokens", 2**31), ("topk", experts)):
        value, most = record.get(name), most or _MOST_EXPERTS
        if type(value) is not int or not 0 <= value <= most:
            raise InvalidInput(
                f"{where}: {name} is {shown(repr(value))}; it must be an integer from 0 to {most}"
            )
    expected = record["num_tokens"], record["topk"]
    if 0 in expected:
        return np.zeros((0, 1), dtype=np.int64)
    try:
        found = np.array(record.get("top_indices"))
    except ValueError:  # rows of different length
        found = np.zeros(0)
    if found.shape != expected or found.dtype != np.int64:
        raise InvalidInput(
            f"{where}: top_indices is no table of integers of num_tokens x topk ="
            f" {expected[0]} x {expected[1]}"
        )
    least, largest, last = found.min(), found.max(), (experts or _MOST_EXPERTS) - 1
    if least < 0 or largest > last:
        raise InvalidInput(
            f"{where}: top_indices has the expert {least if least < 0 else largest}; they must be"
            f" from 0 to {last}"
        )
    if not np.diff(np.sort(found, axis=1), axis=1).all():
        raise InvalidInput(f"{where}: a token has one expert twice in top_indices")
    return found


def _widened(counts: RoutingCounts, experts: int) -> RoutingCounts:
    """The same counts, with experts at the end that no token used."""
    more = experts - counts.experts
    if more == 0:
        return counts
    return replace(
        counts,
        load=np.pad(counts.load, ((0, 0), (0, more))),
        together=np.pad(counts.together, (0, more)),
        active=np.pad(counts.active, (0, more)),
    )
