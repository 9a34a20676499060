"""Find the routers of a Hugging Face model, read what they choose, and set how many they choose.

A router is known by the name of its class, because every family of models has a class of its own;
what it gives is read from the public output of its forward pass. The forms are those of
transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynamoe_search.errors import InvalidInput

_Read = Callable[["ModelRouter", Any], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class ModelRouter:
    """A router of a Hugging Face model, with N routed experts of which a token uses k.

    Parameters
    ----------
    layer : int
        The index of its decoder layer, from 0: the first number in its name.
    name : str
        The dotted name of the module.
    module : Module
        What gives the logits.
    holder : Module
        What has the attribute ``top_k``: the router itself, or in DBRX the block around it.
    experts, active : int
        N, and k when it was found.
    possible : range
        The k that it can use.
    gates : {"softmax", "sigmoid"}
        What makes gates of logits.
    """

    layer: int
    name: str
    module: nn.Module
    holder: Any
    experts: int
    active: int
    possible: range
    gates: Literal["softmax", "sigmoid"]


def find_routers(model: nn.Module) -> tuple[ModelRouter, ...]:
    """The routers of the feed-forward experts of a model, in the order of its layers.

    Parameters
    ----------
    model : Module
        A model of Hugging Face transformers, or a part of it, also on the meta device. JetMoE's
        routers of attention heads are left out.

    Raises
    ------
    InvalidInput
        If no module has a class that is known as a router, or two routers have one layer, as in a
        model with experts for images and for text.
    """
    modules = dict(model.named_modules())
    found = [
        _router(name, module, modules)
        for name, module in modules.items()
        if _ending(module) and not _is_of_attention(name, modules)
    ]
    routers = tuple(sorted(found, key=lambda router: router.layer))
    if not routers:
        raise InvalidInput(
            f"{type(model).__name__} has no router that is known; looked for modules whose class"
            f" has a name that ends in {', '.join(_READERS)} (as in transformers 5)"
        )
    for first, second in pairwise(routers):
        if first.layer == second.layer:
            raise InvalidInput(
                f"layer {first.layer} of {type(model).__name__} has two routers, {first.name} and"
                f" {second.name}; give the part of the model with one of them, such as its"
                " language model"
            )
    return routers


def chosen_experts(router: ModelRouter, output: Any) -> tuple[Tensor, Tensor]:
    """What a router chose for each token.

    Parameters
    ----------
    router : ModelRouter
    output : Any
        What the forward pass of the router's module has returned.

    Returns
    -------
    indices : Tensor of int64, shape (T, k)
        The chosen experts of each token; in a row all differ.
    logits : Tensor of float, shape (T, N)
        The router's logits, without the bias that some families add for the choice.

    Raises
    ------
    InvalidInput
        If the output has another form.
    """
    try:
        indices, logits = _READERS[_ending(router.module)](router, output)
        is_known = (
            indices.ndim == 2
            and not indices.is_floating_point()
            and logits.shape == (len(indices), router.experts)
        )
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        is_known = False
    if not is_known:
        raise InvalidInput(
            f"the output of {router.name} ({type(router.module).__name__}) has a form that is not"
            " known; those of transformers 5.24 are"
        )
    return indices.long(), logits


@contextmanager
def active_experts(model: nn.Module, counts: Sequence[int]) -> Iterator[None]:
    """Let the l-th router of a model use ``counts[l]`` experts, and restore it afterwards.

    Nothing but the attribute ``top_k`` changes, so that results are those of before, bit for bit.
    Do not train with the loss that balances the load (``output_router_logits``) meanwhile: it takes
    k from the model's configuration.

    Parameters
    ----------
    model : Module
        As `find_routers` takes it.
    counts : sequence of int
        One per router of `find_routers`.

    Raises
    ------
    InvalidInput
        If the number of counts is not that of the routers, or one is not in `possible`.
    """
    routers = find_routers(model)
    if len(counts) != len(routers):
        raise InvalidInput(
            f"{len(counts)} numbers of active experts are given; the model has {len(routers)}"
            " routers"
        )
    for router, count in zip(routers, counts, strict=True):
        if count not in router.possible:
            raise InvalidInput(
                f"layer {router.layer} ({type(router.module).__name__}) cannot use {count} of its"
                f" {router.experts} experts; it can use {_span(router.possible)}"
            )
    before = [router.holder.top_k for router in routers]
    try:
        for router, count in zip(routers, counts, strict=True):
            router.holder.top_k = int(count)
        yield
    finally:
        for router, count in zip(routers, before, strict=True):
            router.holder.top_k = count


def _span(possible: range) -> str:
    first, last = possible[0], possible[-1]
    return f"from {first} to {last}" if first < last else f"only {first}"


def _logits_weights_indices(router: ModelRouter, output: Any) -> tuple[Tensor, Tensor]:
    return output[2], output[0]


def _sorted_assignments(router: ModelRouter, output: Any) -> tuple[Tensor, Tensor]:
    """JetMoE: the places of all choices, sorted by expert, and how many each expert has."""
    places, _, _, loads, logits = output
    experts = torch.arange(router.experts, device=places.device)
    by_expert = experts.repeat_interleave(torch.tensor(loads, device=places.device))
    return torch.empty_like(places).scatter(0, places, by_expert).view(len(logits), -1), logits


def _scores_logits(router: ModelRouter, output: Any) -> tuple[Tensor, Tensor]:
    _, logits = output
    return logits.topk(router.holder.top_k, dim=1).indices, logits


def _logits_alone(router: ModelRouter, output: Any) -> tuple[Tensor, Tensor]:
    """DBRX: the block around the router chooses, by a public method."""
    return router.holder.route_tokens_to_experts(output)[1], output


_READERS: dict[str, _Read] = {
    "TopKRouter": _logits_weights_indices,
    "TopkRouter": _logits_weights_indices,
    "TokenChoiceRouter": _logits_weights_indices,
    "MoEV1Gate": _logits_weights_indices,
    "JetMoeTopKGating": _sorted_assignments,
    "Llama4Router": _scores_logits,
    "DbrxRouter": _logits_alone,
}
"""How to read a router, by the end of the name of its class."""


def _ending(module: nn.Module) -> str:
    """The end of the name of a router's class, by which it is known; else nothing."""
    name = type(module).__name__
    return next((ending for ending in _READERS if name.endswith(ending)), "")


def _is_of_attention(name: str, modules: dict[str, nn.Module]) -> bool:
    return type(modules[name.rpartition(".")[0]]).__name__.endswith("MoA")


def _router(name: str, module: nn.Module, modules: dict[str, nn.Module]) -> ModelRouter:
    # DBRX keeps k in the block around the router, and N only in the shape of a matrix.
    holder: Any = module if hasattr(module, "top_k") else modules[name.rpartition(".")[0]]
    own: Any = module
    try:
        active, experts = holder.top_k, own.num_experts if holder is own else own.layer.out_features
    except AttributeError as error:
        raise InvalidInput(
            f"{name} ({type(module).__name__}) has the name of a router, but not the attributes"
            " top_k and num_experts that those of transformers 5.24 have"
        ) from error
    return ModelRouter(
        layer=int(next((part for part in name.split(".") if part.isdigit()), 0)),
        name=name,
        module=module,
        holder=holder,
        experts=experts,
        active=active,
        possible=_possible(module, experts, active),
        gates="sigmoid" if _has_sigmoid_gates(module) else "softmax",
    )


def _possible(module: nn.Module, experts: int, active: int) -> range:
    if type(module).__name__ == "PhimoeTopKRouter":  # it always chooses two, one after the other
        return range(active, active + 1)
    groups, used = getattr(module, "num_group", None), getattr(module, "topk_group", None)
    if groups and used and getattr(module, "topk_method", None) != "greedy":
        return range(1, experts // groups * used + 1)  # it chooses within groups of experts
    return range(1, experts + 1)


def _has_sigmoid_gates(module: nn.Module) -> bool:
    """Llama 4, and the routers with the bias of DeepSeek-V3."""
    return type(module).__name__ == "Llama4Router" or hasattr(module, "e_score_correction_bias")
