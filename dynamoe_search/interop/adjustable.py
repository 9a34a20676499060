"""A trained model whose active experts can be set in each layer: of Hugging Face, or our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.reading import read_config
from dynamoe_search.interop.routers import active_experts, find_routers
from dynamoe_search.models.language import DecoderModel
from dynamoe_search.models.moe import MoELayer
from dynamoe_search.specification import MATRICES, TopK


@dataclass(frozen=True)
class AdjustableLayer:
    """A layer of routed experts.

    Parameters
    ----------
    layer : int
        Its place among the decoder layers, from 0.
    active : int
        The experts that a token uses as the model is.
    possible : range
        The numbers that it can use instead.
    """

    layer: int
    active: int
    possible: range


@dataclass(frozen=True, eq=False)
class AdjustableModel:
    """A model, and how to set its active experts.

    Parameters
    ----------
    layers : tuple of AdjustableLayer
        Those with experts.
    using : callable
        ``using(counts)`` is a context in which the layers use these numbers of experts.
    logits : callable
        ``logits(tokens)`` are those of the next tokens, shape (B, T, vocabulary), for int64 tokens
        of shape (B, T).
    vocabulary : int
    device : torch.device
        Where tokens go in.
    """

    layers: tuple[AdjustableLayer, ...]
    using: Callable[[Sequence[int]], AbstractContextManager[None]]
    logits: Callable[[Tensor], Tensor]
    vocabulary: int
    device: torch.device

    @property
    def active(self) -> tuple[int, ...]:
        """The active experts of each layer as the model is."""
        return tuple(layer.active for layer in self.layers)


def adjustable(model: nn.Module) -> AdjustableModel:
    """A model as one whose active experts can be set.

    Parameters
    ----------
    model : Module
        A causal language model of Hugging Face transformers with experts, or a `DecoderModel` of
        one network, whose router is `TopK`.

    Raises
    ------
    InvalidInput
        If it has no layer whose active experts can be set.
    """
    return _of_our_own(model) if isinstance(model, DecoderModel) else _of_hugging_face(model)


def expert_flops(model: nn.Module) -> tuple[int, ...]:
    """The FLOPs of a token in one expert, forward, for each layer with experts.

    Those of a model of Hugging Face are counted from its own configuration.

    Raises
    ------
    InvalidInput
        If the configuration is of a family that is not known.
    """
    if isinstance(model, DecoderModel):
        return tuple(
            2 * MATRICES[block.style] * block.w_out[0, 0].numel() for _, block in _blocks(model)
        )
    of_model: Any = model
    layers = read_config(of_model.config.to_dict()).layers
    return tuple(2 * layers[router.layer].expert_products for router in find_routers(model))


def _of_hugging_face(model: Any) -> AdjustableModel:
    layers = tuple(
        AdjustableLayer(router.layer, router.active, router.possible)
        for router in find_routers(model)
    )
    embedding = model.get_input_embeddings().weight

    def logits(tokens: Tensor) -> Tensor:
        found: Tensor = model(input_ids=tokens, use_cache=False).logits
        return found

    def using(counts: Sequence[int]) -> AbstractContextManager[None]:
        return active_experts(model, counts)

    return AdjustableModel(layers, using, logits, len(embedding), embedding.device)


def _of_our_own(model: DecoderModel) -> AdjustableModel:
    blocks, layers, routers = _blocks(model), [], []
    for place, block in blocks:
        networks, experts, _ = block.gate.shape
        if not isinstance(block.router, TopK) or networks > 1:
            raise InvalidInput(
                f"layer {place} has {networks} networks and the router {block.router.name!r};"
                " active experts can be set in one network, with top_k"
            )
        active = min(block.router.k, experts)
        layers.append(AdjustableLayer(place, active, range(1, experts + 1)))
        routers.append(block.router)
    if not layers:
        raise InvalidInput("the model has no layer of experts")

    @contextmanager
    def using(counts: Sequence[int]) -> Iterator[None]:
        try:
            for (_, block), router, count in zip(blocks, routers, counts, strict=True):
                block.router = replace(router, k=int(count))
            yield
        finally:
            for (_, block), router in zip(blocks, routers, strict=True):
                block.router = router

    weight = model.embedding.weight
    return AdjustableModel(tuple(layers), using, model, weight.shape[1], weight.device)


def _blocks(model: DecoderModel) -> list[tuple[int, MoELayer]]:
    """The layers of experts, with their places."""
    places = enumerate(model.blocks)
    return [(place, block) for place, block in places if isinstance(block, MoELayer)]
