"""The Mixture-of-Experts layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dynamoe_search.models.dispatch import dense_experts, sorted_experts
from dynamoe_search.routing import Routing, route
from dynamoe_search.specification import Router

Dispatch = Literal["sorted", "dense"]


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

    Attributes
    ----------
    assignments : Tensor of int64, shape ()
        The expert uses that this layer has computed in training mode; on the device, so that
        counting waits for nothing.
    tokens : int
        The tokens it has computed them for.
    """

    def __init__(
        self, experts: int, width: int, hidden: int, router: Router, dispatch: Dispatch = "sorted"
    ) -> None:
        super().__init__()
        self.router = router
        self.dispatch = dispatch
        self.assignments: Tensor
        self.register_buffer("assignments", torch.zeros((), dtype=torch.int64), persistent=False)
        self.tokens = 0
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
        """How this layer routes the tokens x, shape (T, width)."""
        return route(self.router, x @ self.gate.T, self.training)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """The weighted outputs of each token's experts; shape (T, width), as x.

        Where a list is given as `report`, the layer's routing is appended to it.
        """
        routing = self.route(x)
        if report is not None:
            report.append(routing)
        if self.training:
            self.assignments += routing.chosen.sum()
            self.tokens += len(x)
        if self.dispatch == "dense":
            return dense_experts(x, routing.weights, self.w_in, self.w_out)
        return sorted_experts(x, routing.chosen, routing.weights, self.w_in, self.w_out)
