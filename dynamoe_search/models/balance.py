"""Balance: losses and bias steps that keep experts equally busy and logits small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Balance


def auxiliary_loss(balance: Balance, routings: Sequence[Routing]) -> Tensor | None:
    """The term added to each seed's training loss: the mean over the layers, times coefficients.

    Parameters
    ----------
    balance : Balance
    routings : sequence of Routing
        One per layer.

    Returns
    -------
    Tensor of float, shape (S,), or None if nothing is added
    """
    terms: list[Tensor] = []
    if balance.name == "switch" and balance.strength:
        terms += [balance.strength * switch_loss(routing) for routing in routings]
    if balance.z_loss:
        terms += [balance.z_loss * z_loss(routing) for routing in routings]
    return torch.stack(terms).sum(dim=0) / len(routings) if terms else None


def switch_loss(routing: Routing) -> Tensor:
    """N sum_e f_e P_e (arXiv 2101.03961, equation 4), by seed: 1 if all experts are equally busy.

    f_e is the expert's share of all pairs of token and expert, so shares sum to 1 for any K. P_e is
    the mean of its gate; only P_e has a gradient. An empty batch has a loss of 0.

    Examples
    --------
    >>> gates = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    >>> chosen = gates > 0.5
    >>> switch_loss(Routing(gates.log(), gates, chosen, gates * chosen)).item()
    1.0
    """
    tokens, experts = routing.gates.shape[-2:]
    busy = routing.chosen.sum(dim=-2)
    shares = busy / busy.sum(dim=-1, keepdim=True).clamp(min=1)
    return experts * (shares * routing.gates.sum(dim=-2) / max(1, tokens)).sum(dim=-1)


def z_loss(routing: Routing) -> Tensor:
    """The mean over tokens of (ln sum_e exp(logit_e))^2 (arXiv 2202.08906, equation 5), by seed.

    An empty batch has a loss of 0.
    """
    squares = routing.logits.logsumexp(dim=-1).square()
    return squares.sum(dim=-1) / max(1, squares.shape[-1])


def bias_step(chosen: Tensor) -> Tensor:
    """The direction of each expert's bias step: up if its load is below the mean.

    sign(mean load - load) (arXiv 2408.15664, algorithm 1).

    Parameters
    ----------
    chosen : Tensor of bool, shape (..., T, N)

    Returns
    -------
    Tensor of int64, shape (..., N)
        -1, 0 or 1.

    Examples
    --------
    >>> bias_step(torch.tensor([[True, False, False], [True, True, False]])).tolist()
    [-1, 0, 1]
    """
    load = chosen.sum(dim=-2)
    return torch.sign(load.sum(dim=-1, keepdim=True) - load * load.shape[-1])
