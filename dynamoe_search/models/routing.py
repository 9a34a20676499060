"""Routing: from a router's logits to the experts that each token uses, and their weights.

The gates alone decide how many experts a token uses, always within the router's `active_bounds`.
Noise and bias only decide which: those with the largest gates after both are added.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynamoe_search.specification import (
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
    VariableRouter,
)

# The score of each token's largest gate: above all others, so that it reaches every threshold.
_ALWAYS = 2.0


@dataclass(frozen=True)
class Routing:
    """How one layer routed one batch of T tokens among N experts, in the networks of S seeds.

    Of a single network there may be no seed axis; below, "..." is (S,) or ().

    Parameters
    ----------
    logits : Tensor of float, shape (..., T, N)
        The router's output, before the temperature.
    gates : Tensor of float, shape (..., T, N)
        The softmax of the logits, or their sigmoids over their sum, without noise: rows sum to 1.
    chosen : Tensor of bool, shape (..., T, N)
        Which experts each token uses; at least one per row.
    weights : Tensor of float, shape (..., T, N)
        The factor of each chosen expert's output; 0 where not chosen.
    scores : Tensor of float, shape (..., T, N), optional
        Only where K varies; see `score_experts`.
    """

    logits: Tensor
    gates: Tensor
    chosen: Tensor
    weights: Tensor
    scores: Tensor | None = None

    @property
    def active(self) -> Tensor:
        """K, the number of experts that each token uses; int64, shape (..., T)."""
        return self.chosen.sum(dim=-1)

    def of_seed(self, place: int) -> Routing:
        """The routing in the network of one seed, without a seed axis."""
        return Routing(
            self.logits[place],
            self.gates[place],
            self.chosen[place],
            self.weights[place],
            None if self.scores is None else self.scores[place],
        )


def route(
    router: Router,
    logits: Tensor,
    noise: Tensor | None = None,
    bias: Tensor | None = None,
    threshold: Tensor | None = None,
) -> Routing:
    """Choose experts for every token.

    Parameters
    ----------
    router : Router
        The rule; its class describes it.
    logits : Tensor of float, shape (..., T, N)
    noise : Tensor of float, shape (..., T, N), optional
        In training: standard normal values; the router's noise times them is added to the gates.
    bias : Tensor of float, shape (..., N), optional
        Added to the gates (or sigmoids) for the choice only, to keep the experts equally busy.
    threshold : Tensor of float, shape (...), optional
        The controller's threshold for the scores. Without it the router's own constant decides, or,
        for a router with a target, the threshold that meets the target in this batch. K stays
        within the router's `active_bounds` at any threshold.

    Examples
    --------
    >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
    >>> route(TopK(k=2), logits).chosen.tolist()
    [[True, False, True]]
    """
    scaled = logits if router.temperature == 1 else logits / router.temperature
    sigmoid = isinstance(router, TopK) and router.gates == "sigmoid"
    if sigmoid:
        scaled = nn.functional.logsigmoid(scaled)  # so that its softmax is sigmoids over their sum
    gates = _softmax(scaled)
    values = scaled.exp() if sigmoid else gates
    noisy = values
    if noise is not None:
        noisy = values + router.noise * noise
    selection = noisy.detach() if bias is None else noisy.detach() + bias[..., None, :]
    scores = None
    least, most = router.active_bounds(logits.shape[-1])
    if least == most:
        chosen = _largest(selection, most)
    else:
        assert isinstance(router, VariableRouter)
        scores = score_experts(router, gates.detach())
        chosen = _reaches(router, scores, threshold)
        if noise is not None or bias is not None:
            chosen = _largest_of_each(selection, chosen.sum(dim=-1, keepdim=True))
    match router:
        case Percentile():
            # As in the source, the second softmax takes the noisy gates themselves.
            weights = _softmax(noisy.masked_fill(~chosen, -torch.inf))
        case TopK() if router.k > 1 and router.renormalize:
            # The chosen gates over their sum; this also holds where all of them round to 0.
            weights = _softmax(scaled.masked_fill(~chosen, -torch.inf))
        case _:
            weights = values * chosen
    return Routing(logits, gates, chosen, weights, scores)


def _softmax(rows: Tensor) -> Tensor:
    """The softmax of each row; for few experts it is five times as fast down columns."""
    return torch.softmax(rows.mT, dim=-2).mT


def _largest(values: Tensor, active: int) -> Tensor:
    """Which values are among the K largest of their row."""
    chosen = torch.zeros_like(values, dtype=torch.bool)
    return chosen.scatter(-1, values.topk(active, dim=-1).indices, True)


def _largest_of_each(values: Tensor, active: Tensor) -> Tensor:
    """Which values are among the K largest of their row, for K of shape (..., T, 1)."""
    order = values.argsort(dim=-1, descending=True)
    used = torch.arange(values.shape[-1], device=values.device) < active
    return used.scatter(-1, order, used)


def score_experts(router: VariableRouter, gates: Tensor) -> Tensor:
    """The score of each expert for each token: the token uses the experts above a threshold.

    All routers of variable K have such a score, so one controller serves them all.

    Parameters
    ----------
    router : VariableRouter
        `TopP`: minus the sum of the token's larger gates (threshold -p). `Relative`: the gate
        divided by the token's largest (threshold tau). `Threshold`: the gate itself.
    gates : Tensor of float, shape (..., T, N)
        Above 0, each row summing to 1.

    Returns
    -------
    Tensor of float, shape (..., T, N)
        At most 1, but 2 for each token's largest gate, which is always used, and minus infinity for
        the gates after the most that `TopP` can use, which rounded sums could let through.

    Examples
    --------
    >>> score_experts(TopP(p=0.75), torch.tensor([[0.25, 0.5, 0.125, 0.125]])).tolist()
    [[-0.5, 2.0, -0.75, -inf]]
    """
    match router:
        case TopP():
            ordered, order = gates.sort(dim=-1, descending=True)
            scores = ordered - ordered.cumsum(dim=-1)
            _, most = router.active_bounds(gates.shape[-1])
            scores[..., most:] = -torch.inf
            return gates.scatter(-1, order, scores).scatter(-1, order[..., :1], _ALWAYS)
        case Relative():
            largest, index = gates.max(dim=-1, keepdim=True)
            return (gates / largest).scatter(-1, index, _ALWAYS)
        case Threshold():
            return gates.scatter(-1, gates.argmax(dim=-1, keepdim=True), _ALWAYS)


def threshold_for(scores: Tensor, target: float) -> Tensor:
    """The threshold at which the tokens of a batch use `target` experts on average.

    Parameters
    ----------
    scores : Tensor of float, shape (..., T, N)
        From `score_experts`.
    target : float
        The mean K to hold.

    Returns
    -------
    Tensor of float, shape (...)
        The score of rank target * T. Where many scores tie there, no threshold meets the target
        exactly; in a language model without attention, equal tokens always have equal scores. NaN
        where there are no tokens.

    Examples
    --------
    >>> threshold_for(torch.tensor([[2.0, 0.3, 0.1], [2.0, 0.4, 0.2]]), target=1.5).item()
    0.4000000059604645
    """
    tokens, experts = scores.shape[-2:]
    if tokens == 0:
        return scores.new_full(scores.shape[:-2], torch.nan)
    rank = min(tokens * experts, max(1, round(target * tokens)))
    flat = scores.flatten(-2)
    threshold = flat.kthvalue(tokens * experts - rank + 1, dim=-1).values
    # Scores that tie at the threshold are all used or all left out, whichever is nearer.
    fewer = (flat > threshold[..., None]).sum(dim=-1)
    more = (flat >= threshold[..., None]).sum(dim=-1)
    above = torch.nextafter(threshold, torch.full_like(threshold, torch.inf))
    return torch.where(rank - fewer < more - rank, above, threshold)


def _reaches(router: VariableRouter, scores: Tensor, threshold: Tensor | None) -> Tensor:
    if threshold is None and router.target is not None:
        threshold = threshold_for(scores, router.target)
    if threshold is not None:
        # The second term keeps one expert where a diverging network makes the threshold NaN.
        return (scores >= threshold[..., None, None]) | (scores >= _ALWAYS)
    if isinstance(router, TopP):
        # An expert is used while those before it have not reached p.
        return scores > -router.p
    assert isinstance(router, Relative)  # a threshold router always has a target
    return scores >= router.tau
