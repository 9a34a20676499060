"""Routing: from a router's logits to the experts each token uses, and with what weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynamoe_search.specification import Percentile, Router, TopK, TopP


@dataclass(frozen=True)
class Routing:
    """How one layer routed one batch of T tokens among N experts.

    Parameters
    ----------
    gates : Tensor of float, shape (T, N)
        The softmax of the router's logits, before any noise: rows sum to 1.
    chosen : Tensor of bool, shape (T, N)
        Which experts each token uses; at least one a row.
    weights : Tensor of float, shape (T, N)
        What each chosen expert's output is multiplied by; 0 where not chosen.
    """

    gates: Tensor
    chosen: Tensor
    weights: Tensor

    @property
    def active(self) -> Tensor:
        """K, the experts that each token uses; int64, shape (T,)."""
        return self.chosen.sum(dim=1)


def route(router: Router, logits: Tensor, training: bool) -> Routing:
    """Choose experts for every token.

    Parameters
    ----------
    router : Percentile, TopK or TopP
        The rule; its docstring says what it does.
    logits : Tensor of float, shape (T, N)
    training : bool
        Whether noise is added to the gates, as the router asks.

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
    >>> route(TopK(k=2), logits, training=False).chosen.tolist()
    [[True, False, True]]
    """
    gates = torch.softmax(logits / router.temperature, dim=1)
    noisy = gates
    if training and router.noise > 0:
        noisy = gates + router.noise * torch.randn_like(gates)
    match router:
        case Percentile():
            chosen = _above_percentile(router, noisy.detach())
            # Literally the source: the second softmax is of the noisy gates themselves.
            weights = torch.softmax(noisy.masked_fill(~chosen, float("-inf")), dim=1)
        case TopK():
            chosen = _largest(noisy.detach(), min(router.k, logits.shape[1]))
            weights = gates.masked_fill(~chosen, 0.0)
            if router.k > 1:
                weights = weights / weights.sum(dim=1, keepdim=True)
        case TopP():
            chosen = _reaching(noisy.detach(), router.p)
            weights = gates.masked_fill(~chosen, 0.0)
    return Routing(gates, chosen, weights)


def _above_percentile(router: Percentile, gates: Tensor) -> Tensor:
    whole, fraction = router.rank(gates.shape[1])
    ordered, order = gates.sort(dim=1)
    threshold = ordered[:, whole]
    if fraction > 0:
        threshold = torch.lerp(threshold, ordered[:, whole + 1], fraction)
    chosen = gates > threshold[:, None]
    # At least one: where nothing is strictly above, the largest.
    chosen.scatter_(1, order[:, -1:], True)
    return chosen


def _largest(gates: Tensor, k: int) -> Tensor:
    chosen = torch.zeros_like(gates, dtype=torch.bool)
    return chosen.scatter_(1, gates.topk(k, dim=1).indices, True)


def _reaching(gates: Tensor, p: float) -> Tensor:
    ordered, order = gates.sort(dim=1, descending=True)
    # An expert is needed while those before it have not reached p; the first always is.
    needed = ordered.cumsum(dim=1) - ordered < p
    needed[:, 0] = True
    return torch.zeros_like(needed).scatter_(1, order, needed)
