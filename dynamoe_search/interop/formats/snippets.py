"""Python for trainers that are set up in Python: DeepSpeed, OLMo-core and torchtitan.

Code that is read is parsed, and never run: only literal numbers in it count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.formats.layers import MOST_LAYERS, Experts, as_experts, refuse
from dynamoe_search.interop.model_config import ModelConfig

Pair = tuple[object, object]  # experts and active experts


def write_deepspeed(model: ModelConfig, expert_parallel: int) -> str:
    """A list with DeepSpeed's ``MoE`` of each layer; its documentation names k of 1 and 2 only."""
    lines = [
        "from deepspeed.moe.layer import MoE",
        "",
        "# None: the layer is dense. make_expert is yours: the module of one expert, by its width.",
        "moe_layers = [",
    ]
    for place, layer in enumerate(model.layers):
        if layer.active > 2:
            raise refuse(
                place, "DeepSpeed", f"a token uses {layer.active} experts, and k is 1 or 2"
            )
        made = (
            f"MoE(hidden_size={model.width}, expert=make_expert({layer.expert_hidden}),"
            f" num_experts={layer.experts}, ep_size={expert_parallel}, k={layer.active})"
        )
        lines.append(f"    {made if layer.experts else None},")
    return "\n".join([*lines, "]", ""])


def read_deepspeed(text: str, where: str) -> Experts:
    """Experts per layer from a list of DeepSpeed's ``MoE``, with None for a dense layer."""
    for node in ast.walk(_parsed(text, where)):
        if isinstance(node, ast.List):
            pairs = [_numbers(one, "k", default=1) for one in node.elts]
            if any(pairs):
                return _as_experts(dict(enumerate(pairs)), where)
    raise InvalidInput(f"{where} has no list of MoE(num_experts=..., k=...)")


def write_olmo_core(model: ModelConfig, expert_parallel: int) -> str:
    """OLMo-core's ``block_overrides``; ``config`` is the user's, whose block has experts."""
    lines = [
        "from dataclasses import replace",
        "",
        "from olmo_core.nn.feed_forward import FeedForwardConfig",
        "from olmo_core.nn.transformer import TransformerBlockType",
        "",
        "# config is your TransformerConfig; its block has experts.",
        "moe = config.block.feed_forward_moe",
        "config.block_overrides = {",
    ]
    for place, layer in enumerate(model.layers):
        if layer.experts:
            router = f"router=replace(moe.router, top_k={layer.active})"
            sizes = f"num_experts={layer.experts}, hidden_size={layer.expert_hidden}"
            changed = f"feed_forward_moe=replace(moe, {sizes}, {router})"
        else:
            changed = (
                "name=TransformerBlockType.default, feed_forward_moe=None,"
                f" feed_forward=FeedForwardConfig(hidden_size={layer.dense_hidden}, bias=False)"
            )
        lines.append(f"    {place}: replace(config.block, {changed}),")
    return "\n".join([*lines, "}", ""])


def read_olmo_core(text: str, where: str) -> Experts:
    """Experts per layer from OLMo-core's ``block_overrides``, which must name every layer."""
    for node in ast.walk(_parsed(text, where)):
        if isinstance(node, ast.Dict):
            pairs = {
                key.value: _numbers(value, "top_k", default=1)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if any(pairs.values()):
                return _as_experts(pairs, where)
    raise InvalidInput(f"{where} has no block_overrides with feed_forward_moe")


def write_torchtitan(model: ModelConfig, expert_parallel: int) -> str:
    """One statement for each layer of a torchtitan ``Decoder.Config``."""
    lines = [
        "# config is your Decoder.Config. moe_config is yours: it makes the MoE.Config of your",
        "# model with these numbers. A layer whose moe is None has its feed_forward.",
    ]
    for place, layer in enumerate(model.layers):
        made = (
            f"moe_config(num_experts={layer.experts}, top_k={layer.active},"
            f" hidden_dim={layer.expert_hidden})"
        )
        lines.append(f"config.layers[{place}].moe = {made if layer.experts else None}")
    return "\n".join([*lines, ""])


def read_torchtitan(text: str, where: str) -> Experts:
    """Experts per layer from statements such as ``config.layers[0].moe = ...``."""
    pairs: dict[object, Pair | None] = {}
    for node in ast.walk(_parsed(text, where)):
        match node:
            case ast.Assign(
                targets=[
                    ast.Attribute(
                        value=ast.Subscript(
                            value=ast.Attribute(attr="layers"), slice=ast.Constant(value=place)
                        ),
                        attr="moe",
                    )
                ],
                value=value,
            ):
                pairs[place] = _numbers(value, "top_k", default=1)
    if not any(pairs.values()):
        raise InvalidInput(
            f"{where} has no config.layers[...].moe = ...(num_experts=..., top_k=...)"
        )
    return _as_experts(pairs, where)


def _parsed(text: str, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{where} is no Python: {error}") from error


def _numbers(node: ast.expr, top_k: str, default: int) -> Pair | None:
    """The keywords ``num_experts`` and k in an expression; None without a number of experts."""
    found = {one.arg: one.value for one in _keywords(node)}
    experts, active = found.get("num_experts"), found.get(top_k, ast.Constant(default))
    if experts is None:
        return None
    return _literal(experts), _literal(active)


def _keywords(node: ast.expr) -> Iterator[ast.keyword]:
    return (one for one in ast.walk(node) if isinstance(one, ast.keyword))


def _literal(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else ast.unparse(node)


def _as_experts(pairs: Mapping[object, Pair | None], where: str) -> Experts:
    depth = len(pairs)
    if depth > MOST_LAYERS or {*pairs} != {*range(depth)}:
        raise InvalidInput(f"{where} must say something of every layer, from 0 to the last")
    in_order = [pairs[place] or (0, 0) for place in range(depth)]
    return as_experts([one[0] for one in in_order], [one[1] for one in in_order], where)
