"""Command lines of trainers: Megatron-DeepSpeed, Megatron-LM, ltp-megatron-lm and MoLA.

Text that is read is split as a shell would, and nothing of it is run. Lists such as
``([0]*3+[1]*58)`` are computed from whole numbers alone.
"""

from __future__ import annotations

import ast
import shlex

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.formats.layers import (
    MOST_LAYERS,
    Experts,
    as_experts,
    no_dense_layer,
    refuse,
    the_same,
)
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.untrusted import shown

_INTERVAL = 2  # Megatron-DeepSpeed's own, where the arguments name none
_TOP_K = 2  # Megatron-LM's own
_LONGEST = 2**16  # characters; splitting them takes a second, and the most layers need far fewer


def write_megatron_deepspeed(model: ModelConfig, expert_parallel: int) -> str:
    """Arguments of Megatron-DeepSpeed, the one large trainer with experts per layer.

    It makes a layer of one expert dense, and has one k, of 1 or 2.
    """
    target = "Megatron-DeepSpeed"
    top_k = the_same(model, target, active=True)
    if top_k > 2:
        raise refuse(model.moe_layers[0], target, f"a token uses {top_k} experts, and k is 1 or 2")
    for place in model.moe_layers:
        if model.layers[place].experts == 1:
            raise refuse(place, target, "it has 1 expert, and a layer of 1 is made dense")
    counts = " ".join(str(layer.experts or 1) for layer in model.layers)
    return (
        f"--num-layers {model.depth} --num-experts {counts} --expert-interval 1 --topk {top_k}"
        f" --moe-expert-parallel-size {expert_parallel}\n"
    )


def read_megatron_deepspeed(text: str, where: str) -> Experts:
    """Experts per layer from arguments of Megatron-DeepSpeed."""
    given = _options(text, where)
    counts = [_number(value, where) for value in _needed(given, "--num-experts", where)]
    interval = _one(given, "--expert-interval", where, _INTERVAL)
    if interval < 1:
        raise InvalidInput(f"{where}: --expert-interval is {interval}; it must be at least 1")
    depth = _one(given, "--num-layers", where, len(counts) * interval)
    if len(counts) == 1:
        counts *= min(depth, MOST_LAYERS) // interval
    if len(counts) != depth // interval or depth > MOST_LAYERS:
        raise InvalidInput(
            f"{where}: --num-experts has {len(counts)} numbers; {depth} layers with"
            f" --expert-interval {interval} need {depth // interval}"
        )
    by_layer = [
        counts[place // interval] if (place + 1) % interval == 0 else 1 for place in range(depth)
    ]
    top_k = _one(given, "--topk", where, 1)
    return as_experts([0 if count <= 1 else count for count in by_layer], [top_k] * depth, where)


def write_megatron(model: ModelConfig, expert_parallel: int) -> str:
    """Arguments of Megatron-LM: which layers have experts; all of them have as many."""
    target = "Megatron-LM"
    experts, top_k = the_same(model, target), the_same(model, target, active=True)
    return _placed(model, experts, expert_parallel) + f" --moe-router-topk {top_k}\n"


def read_megatron(text: str, where: str) -> Experts:
    """Placement from arguments of Megatron-LM; with ltp-megatron-lm's active experts per layer."""
    given = _options(text, where)
    experts = _number(_needed(given, "--num-experts", where)[0], where)
    frequency = given.get("--moe-layer-freq", ["1"])
    pattern = _pattern(" ".join(frequency), where)
    own = given.get("--moe-router-topk-layer-wise")
    by_layer = None if own is None else _pattern(" ".join(own), where)
    if isinstance(by_layer, int):
        raise InvalidInput(f"{where}: --moe-router-topk-layer-wise is no list")
    if isinstance(pattern, int):
        depth = _one(given, "--num-layers", where, len(by_layer or ()))
        if pattern < 1 or not 1 <= depth <= MOST_LAYERS:
            raise InvalidInput(f"{where} needs --num-layers, and a --moe-layer-freq of at least 1")
        pattern = [int(place % pattern == 0) for place in range(depth)]
    if not {*pattern} <= {0, 1}:
        raise InvalidInput(f"{where}: --moe-layer-freq has numbers other than 0 and 1")
    active = by_layer or [_one(given, "--moe-router-topk", where, _TOP_K)] * len(pattern)
    return as_experts([experts * one for one in pattern], active, where)


def write_ltp_megatron(model: ModelConfig, expert_parallel: int) -> str:
    """Arguments of ltp-megatron-lm: Megatron-LM with active experts per layer."""
    experts = the_same(model, "ltp-megatron-lm")
    by_layer = ",".join(str(layer.active) for layer in model.layers)
    own = f"--moe-router-topk-layer-wise {shlex.quote(f'[{by_layer}]')}"
    return f"{_placed(model, experts, expert_parallel)} {own}\n"


def write_mola(model: ModelConfig, expert_parallel: int) -> str:
    """Arguments of MoLA: LoRA experts of every layer."""
    no_dense_layer(model, "MoLA")
    counts = ",".join(str(layer.experts) for layer in model.layers)
    active = ",".join(str(layer.active) for layer in model.layers)
    return f'--number_experts "{counts}" --top_k "{active}"\n'


def read_mola(text: str, where: str) -> Experts:
    """Experts and active experts per layer from MoLA's arguments."""
    given = _options(text, where)
    counts = _commas(_needed(given, "--number_experts", where), where)
    active = _commas(given["--top_k"], where) if "--top_k" in given else None
    return as_experts(counts, active, where)


def _placed(model: ModelConfig, experts: int, expert_parallel: int) -> str:
    pattern = ",".join(str(int(layer.experts > 0)) for layer in model.layers)
    return (
        f"--num-layers {model.depth} --num-experts {experts}"
        f" --expert-model-parallel-size {expert_parallel}"
        f" --moe-layer-freq {shlex.quote(f'[{pattern}]')}"
    )


def _options(text: str, where: str) -> dict[str, list[str]]:
    """The options of a command line, each with its values; the last one of a name counts."""
    if len(text) > _LONGEST:
        raise InvalidInput(f"{where} is longer than {_LONGEST:,} characters")
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise InvalidInput(f"{where} is no command line: {error}") from error
    found: dict[str, list[str]] = {}
    values: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            values = found[name] = [value] if equals else []
        else:
            values.append(word)
    return found


def _needed(given: dict[str, list[str]], name: str, where: str) -> list[str]:
    if not given.get(name):
        raise InvalidInput(f"{where} has no {name}")
    return given[name]


def _one(given: dict[str, list[str]], name: str, where: str, default: int) -> int:
    return _number(given[name][0], where) if given.get(name) else default


def _number(word: str, where: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 9):
        raise InvalidInput(
            f"{where}: {shown(repr(word))} is no whole number of at most nine digits"
        )
    return int(word)


def _commas(words: list[str], where: str) -> list[int]:
    return [_number(part.strip(), where) for part in "".join(words).split(",")]


def _pattern(text: str, where: str) -> int | list[int]:
    """A number, or a list made of whole numbers with ``+`` and ``*``, as Megatron-LM reads it."""
    try:
        found = _computed(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found = None
    if found is None:
        raise InvalidInput(
            f"{where}: {shown(text)} is no list such as ([0]*3+[1]*58), of at most {MOST_LAYERS:,}"
            " layers"
        )
    return found


def _computed(node: ast.expr) -> int | list[int] | None:
    """The value of an expression of whole numbers, lists, ``+`` and ``*``; None for any other."""
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value if 0 <= value <= 10**9 else None
        case ast.List(elts=elements):
            values = [_computed(one) for one in elements]
            return [v for v in values if isinstance(v, int)] if _all_whole(values) else None
        case ast.BinOp(left=left, op=ast.Add() | ast.Mult() as sign, right=right):
            first, second = _computed(left), _computed(right)
            if isinstance(sign, ast.Add) and isinstance(first, list) and isinstance(second, list):
                return first + second if len(first) + len(second) <= MOST_LAYERS else None
            if isinstance(sign, ast.Mult) and isinstance(first, list) and isinstance(second, int):
                return first * second if len(first) * second <= MOST_LAYERS else None
    return None


def _all_whole(values: list[int | list[int] | None]) -> bool:
    return len(values) <= MOST_LAYERS and all(isinstance(value, int) for value in values)
