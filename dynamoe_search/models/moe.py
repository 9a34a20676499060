"""The Mixture-of-Experts layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dynamoe_search.models.balance import bias_step
from dynamoe_search.models.dispatch import dense_experts, sorted_experts
from dynamoe_search.models.routing import Routing, cut_for, route
from dynamoe_search.specification import Balance, Router, VariableRouter

Dispatch = Literal["sorted", "dense"]

# How far one batch moves the cut: fast enough to follow a router that learns, slow enough to
# average over some batches.
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
        Of this, the layer itself carries out the bias; see `dynamoe_search.models.balance` for the losses.

    Attributes
    ----------
    assignments : Tensor of int64, shape ()
        The expert uses that this layer has computed in training mode; on the device, so that
        counting waits for nothing.
    tokens, largest_batch : int
        The tokens it has computed them for, and the most of one batch.
    cut : Tensor of float32, shape (2,)
        Only where the router holds a target: the controller's cuts through the readiness. The first
        is that of training: each full batch moves it towards its own, and is itself cut where the
        batches before it have put it, so that no token is chosen for by its neighbors. The second
        is that of evaluation, frozen where `settle_cuts` has put it. NaN before that: a batch is
        then cut where it meets the target itself.
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
        self.tokens = self.largest_batch = 0
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
        if self.training:
            return self.cut[0] if self.tokens else None
        return None if bool(self.cut[1].isnan()) else self.cut[1]

    @torch.no_grad()
    def _keep_count(self, routing: Routing) -> None:
        """Count a batch of training, and let it move the cut and the bias."""
        batch = len(routing.chosen)
        self.largest_batch = max(self.largest_batch, batch)
        # What is left at the end of an epoch may be few tokens, which know little.
        if self.cut is not None and batch == self.largest_batch:
            own = self._own_cut(routing)
            self.cut[0] = self.cut[0].lerp(own, _CONTROLLER_RATE) if self.tokens else own
        if self.bias is not None:
            assert self.balance.strength is not None
            self.bias += self.balance.strength * bias_step(routing.chosen)
            # A common shift balances nothing, and would move K where gates are summed or divided.
            self.bias -= self.bias.mean()
        self.assignments += routing.chosen.sum()
        self.tokens += batch

    def _own_cut(self, routing: Routing) -> Tensor:
        assert routing.readiness is not None
        assert self.target is not None
        return cut_for(routing.readiness, self.target)


@torch.no_grad()
def settle_cuts(model: nn.Module, inputs: Tensor) -> None:
    """Freeze the cuts of evaluation where a batch of training data meets the targets.

    The cuts of training lag a little behind a router that learns, and know its noise; those of
    evaluation belong to the weights as they are.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Left in evaluation mode. Layers without a target to hold are left alone.
    inputs : Tensor
        A batch for it, of some thousands of tokens.
    """
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    for layer in layers:
        if layer.cut is not None:
            layer.cut[1] = float("nan")
    report: list[Routing] = []
    model.eval()(inputs, report)
    for layer, routing in zip(layers, report, strict=True):
        if layer.cut is not None:
            layer.cut[1] = layer._own_cut(routing)
