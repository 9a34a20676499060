"""Routing: from a router's logits to the experts each token uses, and with what weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynamoe_search.specification import (
    FixedRouter,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
    VariableRouter,
)

# Above every readiness that a gate can have, so that a token's largest gate is always used.
_ALWAYS = 2.0
_TINY = 1e-9


@dataclass(frozen=True)
class Routing:
    """How one layer routed one batch of T tokens among N experts.

    Parameters
    ----------
    logits : Tensor of float, shape (T, N)
        The router's, before the temperature.
    gates : Tensor of float, shape (T, N)
        Their softmax, before any noise: rows sum to 1.
    chosen : Tensor of bool, shape (T, N)
        Which experts each token uses; at least one a row.
    weights : Tensor of float, shape (T, N)
        What each chosen expert's output is multiplied by; 0 where not chosen.
    readiness : Tensor of float, shape (T, N), optional
        How readily each token uses each expert, for routers of variable K; see `readiness`.
    """

    logits: Tensor
    gates: Tensor
    chosen: Tensor
    weights: Tensor
    readiness: Tensor | None = None

    @property
    def active(self) -> Tensor:
        """K, the experts that each token uses; int64, shape (T,)."""
        return self.chosen.sum(dim=1)


def route(
    router: Router,
    logits: Tensor,
    training: bool,
    bias: Tensor | None = None,
    cut: Tensor | None = None,
) -> Routing:
    """Choose experts for every token.

    Parameters
    ----------
    router : Router
        The rule; its docstring says what it does.
    logits : Tensor of float, shape (T, N)
    training : bool
        Whether noise is added to the gates, as the router asks.
    bias : Tensor of float, shape (N,), optional
        Added to the gates for the choice only, to keep the experts equally busy.
    cut : Tensor of float, shape (), optional
        Where a controller has put the cut through the readiness. Without it the router's own
        constant decides; for a router that holds a target, the cut that holds it in this batch.

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
    >>> route(TopK(k=2), logits, training=False).chosen.tolist()
    [[True, False, True]]
    """
    # Down the columns of the transposed, where the softmax of few experts is five times as fast.
    scaled = logits.T if router.temperature == 1 else logits.T / router.temperature
    gates = torch.softmax(scaled, dim=0).T
    noisy = gates
    if training and router.noise > 0:
        noisy = gates + router.noise * torch.randn_like(gates)
    selection = noisy.detach()
    if bias is not None:
        selection = selection + bias
    if isinstance(router, VariableRouter):
        ready = readiness(router, selection)
        chosen = _beyond_cut(router, ready, cut)
        return Routing(logits, gates, chosen, gates * chosen, ready)
    return _fixed(router, logits, gates, noisy, selection)


def _fixed(
    router: FixedRouter, logits: Tensor, gates: Tensor, noisy: Tensor, selection: Tensor
) -> Routing:
    match router:
        case Percentile():
            chosen = _above_percentile(router, selection)
            # Literally the source: the second softmax is of the noisy gates themselves.
            weights = torch.softmax(noisy.masked_fill(~chosen, float("-inf")), dim=1)
        case TopK():
            chosen = _largest(selection, min(router.k, logits.shape[1]))
            weights = gates * chosen
            if router.k > 1:
                weights = weights / weights.sum(dim=1, keepdim=True)
    return Routing(logits, gates, chosen, weights)


def _above_percentile(router: Percentile, gates: Tensor) -> Tensor:
    whole, fraction = router.rank(gates.shape[1])
    ordered, order = gates.sort(dim=1)
    threshold = ordered[:, whole]
    if fraction > 0:
        threshold = torch.lerp(threshold, ordered[:, whole + 1], fraction)
    chosen = gates > threshold[:, None]
    # At least one: where nothing is strictly above, the largest.
    return chosen.scatter(1, order[:, -1:], True)


def _largest(gates: Tensor, k: int) -> Tensor:
    chosen = torch.zeros_like(gates, dtype=torch.bool)
    return chosen.scatter(1, gates.topk(k, dim=1).indices, True)


def readiness(router: VariableRouter, gates: Tensor) -> Tensor:
    """How readily each token uses each expert: those beyond one cut are used.

    This is what the routers of variable K have in common, so that one controller serves all.

    Parameters
    ----------
    router : VariableRouter
        `TopP`: minus the sum of the token's larger gates, used above -p. `Relative`: the gate over
        the token's largest, used from tau on. `Threshold`: the gate itself.
    gates : Tensor of float, shape (T, N)

    Returns
    -------
    Tensor of float, shape (T, N)
        At most 1; but 2 for each token's largest gate, which is always used.
    """
    match router:
        case TopP():
            ordered, order = gates.sort(dim=1, descending=True)
            before = ordered.cumsum(dim=1) - ordered
            ready = gates.scatter(1, order, -before)
            return ready.scatter(1, order[:, :1], _ALWAYS)
        case Relative():
            largest, index = gates.max(dim=1, keepdim=True)
            # Noise can take every gate below 0.
            return (gates / largest.clamp(min=_TINY)).scatter(1, index, _ALWAYS)
        case Threshold():
            return gates.scatter(1, gates.argmax(dim=1, keepdim=True), _ALWAYS)


def cut_for(ready: Tensor, target: float) -> Tensor:
    """The cut at which the tokens of a batch use `target` experts on average.

    Parameters
    ----------
    ready : Tensor of float, shape (T, N)
        As `readiness` gives it.
    target : float
        The mean K to hold.

    Returns
    -------
    Tensor of float, shape ()
        The readiness of the assignment of rank target * T. Where many tie there, as they do in a
        language model without attention, in which a token is always routed alike, no cut meets the
        target exactly.

    Examples
    --------
    >>> cut_for(torch.tensor([[2.0, 0.3, 0.1], [2.0, 0.4, 0.2]]), target=1.5).item()
    0.4000000059604645
    """
    assignments = ready.numel()
    rank = min(assignments, max(1, round(target * len(ready))))
    cut = ready.flatten().kthvalue(assignments - rank + 1).values
    # Assignments that tie at the cut are used together, or none of them: whichever is nearer.
    above, from_it = (ready > cut).sum(), (ready >= cut).sum()
    beyond = torch.nextafter(cut, torch.full_like(cut, torch.inf))
    return torch.where(rank - above < from_it - rank, beyond, cut)


def _beyond_cut(router: VariableRouter, ready: Tensor, cut: Tensor | None) -> Tensor:
    if cut is None and router.target is not None:
        cut = cut_for(ready, router.target)
    if cut is not None:
        # Whatever the cut, and even where a diverging network has made it NaN.
        return (ready >= cut) | (ready >= _ALWAYS)
    if isinstance(router, TopP):
        # An expert is needed while those before it have not reached p.
        return ready > -router.p
    assert isinstance(router, Relative)  # a threshold router always has a target
    return ready >= router.tau
