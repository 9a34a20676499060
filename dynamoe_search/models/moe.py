"""The Mixture-of-Experts layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dynamoe_search.balance import bias_step
from dynamoe_search.models.dispatch import dense_experts, sorted_experts
from dynamoe_search.routing import Routing, cut_for, readiness, route
from dynamoe_search.specification import Balance, Router, VariableRouter

Dispatch = Literal["sorted", "dense"]

# How far one batch moves the cut: fast enough to follow a router that learns, slow enough that the
# cut of an evaluation is an average over the last batches.
_CONTROLLER_RATE = 0.2


class MoELayer(nn.Module):
    """A router and N experts, each width -> hidden -> width with ReLU between and no biases.

    Parameters
    ----------
    experts, width, hidden : int
        N, d and h.
    router : Router
        The rule by which tokens choose experts.
    dispatch : {"sorted", "dense"}
        How the experts are computed; see `dynamoe_search.models.dispatch`.
    balance : Balance
        Of this, the layer itself carries out the bias; see `dynamoe_search.balance` for the losses.

    Attributes
    ----------
    assignments : Tensor of int64, shape ()
        The expert uses that this layer has computed in training mode; on the device, so that
        counting waits for nothing.
    tokens : int
        The tokens it has computed them for.
    cut : Tensor of float32, shape (2,)
        Only where the router holds a target: the controller's cuts through the readiness, first
        that of training, with its noise, then that of evaluation, without. Each batch in training
        mode moves them towards its own cuts; a batch is cut where the batches before it have put
        the cut, so that no token is chosen for by its neighbours. NaN before the first batch.
    bias : Tensor of float32, shape (N,)
        Only where the balance is "bias": what is added to the gates for the choice of experts.
    """

    def __init__(
        self,
        experts: int,
        width: int,
        hidden: int,
        router: Router,
        dispatch: Dispatch = "sorted",
        balance: Balance = Balance(),
    ) -> None:
        super().__init__()
        self.router = router
        self.dispatch = dispatch
        self.balance = balance
        self.assignments: Tensor
        self.cut: Tensor | None
        self.bias: Tensor | None
        self.register_buffer("assignments", torch.zeros((), dtype=torch.int64), persistent=False)
        self.tokens = 0
        # A layer of no more experts than the target uses them all: nothing to control.
        self.target = router.target if isinstance(router, VariableRouter) else None
        holds = self.target is not None and self.target < experts
        self.register_buffer("cut", torch.full((2,), float("nan")) if holds else None)
        biased = balance.name == "bias"
        self.register_buffer("bias", torch.zeros(experts) if biased else None)
        self.gate = nn.Parameter(torch.empty(experts, width))
        self.w_in = nn.Parameter(torch.empty(experts, width, hidden))
        self.w_out = nn.Parameter(torch.empty(experts, hidden, width))
        for parameter, inputs in ((self.gate, width), (self.w_in, width), (self.w_out, hidden)):
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5)

    @property
    def mean_active(self) -> float:
        """The measured mean K over the training so far; NaN before it."""
        return float(self.assignments) / self.tokens if self.tokens else float("nan")

    def route(self, x: Tensor) -> Routing:
        """How this layer routes the tokens x, shape (T, width); nothing is moved or counted."""
        # In float32 whatever the rest is computed in: which experts are chosen hangs on it.
        with torch.autocast(x.device.type, enabled=False):
            logits = (self.gate @ x.to(self.gate.dtype).T).T
            return route(self.router, logits, self.training, self.bias, self._cut())

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """The weighted outputs of each token's experts; shape (T, width), as x.

        Where a list is given as `report`, the layer's routing is appended to it.
        """
        routing = self.route(x)
        if report is not None:
            report.append(routing)
        if self.training:
            self._keep_count(routing)
        if self.dispatch == "dense":
            return dense_experts(x, routing.weights, self.w_in, self.w_out)
        return sorted_experts(x, routing.chosen, routing.weights, self.w_in, self.w_out)

    def _cut(self) -> Tensor | None:
        if self.cut is None:
            return None
        # Looked at only where no batch has been seen, so that no step waits for the device.
        if self.tokens == 0 and bool(self.cut.isnan().any()):
            return None
        return self.cut[0] if self.training else self.cut[1]

    @torch.no_grad()
    def _keep_count(self, routing: Routing) -> None:
        """Count a batch of training, and let it move the cut and the bias."""
        self.assignments += routing.chosen.sum()
        self.tokens += len(routing.chosen)
        if self.cut is not None:
            self.cut.copy_(self._moved(self.cut, routing))
        if self.bias is not None:
            assert self.balance.strength is not None
            self.bias += self.balance.strength * bias_step(routing.chosen)

    def _moved(self, cut: Tensor, routing: Routing) -> Tensor:
        assert isinstance(self.router, VariableRouter)
        assert routing.readiness is not None
        assert self.target is not None
        noisy = clean = cut_for(routing.readiness, self.target)
        if self.router.noise > 0:
            quiet = routing.gates if self.bias is None else routing.gates + self.bias
            clean = cut_for(readiness(self.router, quiet), self.target)
        batch = torch.stack([noisy, clean])
        return torch.where(cut.isnan(), batch, cut.lerp(batch, _CONTROLLER_RATE))
