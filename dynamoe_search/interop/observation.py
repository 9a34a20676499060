"""Observe the routers of a Hugging Face model, in bounded memory, and change nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.observed import ObservedRouting
from dynamoe_search.interop.routers import ModelRouter, chosen_experts, find_routers
from dynamoe_search.measure.counts import RoutingCounts
from dynamoe_search.measure.routing_counts import REST, flat_counts


@contextmanager
def observe(model: nn.Module, token_ids: Sequence[int] = ()) -> Iterator[ObservedRouting]:
    """Count how a Hugging Face model routes the tokens that it is given meanwhile.

    Forward hooks on the routers add up counts on their devices; the model computes what it would
    without them, in evaluation, in generation and in training. Memory does not grow with the number
    of tokens. Counted is what runs inside the forward pass of `model` itself, so that gradient
    checkpointing, which runs layers again in the backward pass, counts no token twice.

    Parameters
    ----------
    model : Module
        A model of transformers with routers that `find_routers` finds. Observe the module that you
        call: a part of it that you call directly is not counted.
    token_ids : sequence of int
        Count the tokens with each of these ids separately, and all others together; then the
        tables say what experts tell about tokens. Needs ``input_ids`` at each call.

    Yields
    ------
    ObservedRouting
        With tables, plots and metrics of all that was counted so far; also afterwards.

    Raises
    ------
    InvalidInput
        If the model has no known router, or an id is given twice. At a call: if an
        ``attention_mask`` of shape (batch, length), which says what is padding and not counted, or
        the ``input_ids`` do not fit the tokens of a router. Of the counts: if no token was routed.
    """
    recorder = RoutingRecorder(model, find_routers(model), tuple(token_ids))
    with recorder:
        yield ObservedRouting(recorder.counts)


class RoutingRecorder:
    """Hooks, and sums of counts: one vector for each router, on its device."""

    def __init__(
        self, model: nn.Module, routers: Sequence[ModelRouter], token_ids: tuple[int, ...] = ()
    ) -> None:
        if len(set(token_ids)) < len(token_ids):
            raise InvalidInput(f"token_ids are {token_ids}; give different ids")
        self.model, self.routers, self.token_ids = model, routers, token_ids
        self.groups = (*map(str, token_ids), REST) if token_ids else ("all",)
        self.sums: dict[ModelRouter, Tensor] = {}
        self.arguments = tuple(inspect.signature(model.forward).parameters)
        self.given: dict[str, Any] | None = None  # what the model is called with, while it runs

    def __enter__(self) -> None:
        self.handles = [
            self.model.register_forward_pre_hook(self._begin, with_kwargs=True),
            self.model.register_forward_hook(self._end, always_call=True),
            *(one.module.register_forward_hook(partial(self._add, one)) for one in self.routers),
        ]

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()
        self.given = None

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.given = {**dict(zip(self.arguments, args, strict=False)), **kwargs}

    def _end(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.given = None

    @torch.no_grad()
    def _add(self, router: ModelRouter, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        """Add what a router has chosen."""
        if self.given is None:
            return
        indices, logits = chosen_experts(router, out)
        chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, indices, True)
        gates = _gates(router, logits.double())
        members = self._members(router, len(chosen)).to(chosen.device)
        kept = self._kept(router, len(chosen))
        if kept is not None:
            kept = kept.to(chosen.device)
            chosen, gates, members = chosen[kept], gates[kept], members[kept]
        added = flat_counts(chosen, gates, members)
        # Not in place: a tensor that was made in inference mode cannot be changed outside of it.
        self.sums[router] = self.sums[router] + added if router in self.sums else added

    def _kept(self, router: ModelRouter, tokens: int) -> Tensor | None:
        """Which tokens are not padding: the last columns of the mask, as a cache has the first."""
        mask = self._given_tensor("attention_mask")
        if mask is None or mask.ndim != 2:
            return None
        length = tokens // len(mask)
        if length * len(mask) != tokens or length > mask.shape[1]:
            raise self._misfit(router, "attention_mask", mask, tokens)
        return mask[:, mask.shape[1] - length :].flatten().bool()

    def _members(self, router: ModelRouter, tokens: int) -> Tensor:
        """The group of each token, one-hot; shape (T, G)."""
        if not self.token_ids:
            return torch.ones(tokens, 1, dtype=torch.float64)
        ids = self._given_tensor("input_ids")
        if ids is None or ids.numel() != tokens:
            raise self._misfit(router, "input_ids", ids, tokens)
        found = ids.flatten()[:, None] == torch.tensor(self.token_ids, device=ids.device)
        return torch.cat([found, ~found.any(dim=1, keepdim=True)], dim=1).double()

    def _given_tensor(self, name: str) -> Tensor | None:
        value = (self.given or {}).get(name)
        return value if isinstance(value, Tensor) else None

    def _misfit(
        self, router: ModelRouter, name: str, value: Tensor | None, tokens: int
    ) -> InvalidInput:
        given = "missing" if value is None else f"of shape {tuple(value.shape)}"
        return InvalidInput(
            f"{name} is {given}, but {router.name} routes {tokens} tokens; observe a model whose"
            f" router sees the tokens of its {name}"
        )

    def counts(self) -> tuple[RoutingCounts, ...]:
        """The counts of each layer up to the last router; N = 0 where nothing was routed."""
        layers = {
            router.layer: RoutingCounts.from_flat(flat.cpu().numpy(), self.groups, router.experts)
            for router, flat in self.sums.items()
        }
        used = {layer: one for layer, one in layers.items() if one.tokens.any()}
        if not used:
            raise InvalidInput(
                f"no token was routed in a forward pass of {type(self.model).__name__}; call it"
                " inside ds.observe, or observe the part of it that you call"
            )
        nothing = RoutingCounts.nothing(self.groups)
        return tuple(used.get(layer, nothing) for layer in range(max(used) + 1))


def _gates(router: ModelRouter, logits: Tensor) -> Tensor:
    """The gates of all experts, which sum to 1 for each token."""
    if router.gates == "softmax":
        return logits.softmax(dim=1)
    return nn.functional.logsigmoid(logits).softmax(dim=1)
