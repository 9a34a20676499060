"""The Mixture-of-Experts layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dynamoe_search.models.activation import inner_width
from dynamoe_search.models.balance import bias_step
from dynamoe_search.models.dispatch import masked_experts, prefers_masked, sorted_experts
from dynamoe_search.models.feed_forward import FeedForward
from dynamoe_search.models.initial import draw_experts, generator_for
from dynamoe_search.models.routing import Routing, route, threshold_for
from dynamoe_search.specification import Balance, Router, Style, VariableRouter

Dispatch = Literal["auto", "masked", "sorted"]

# How far one batch moves the threshold: fast enough to follow a router that learns, slow enough to
# average over some batches.
_CONTROLLER_RATE = 0.2


class MoELayer(nn.Module):
    """A router, N experts and the shared ones, each width -> hidden -> width; S times.

    Parameters
    ----------
    experts, width, hidden : int
        N, d and h.
    router : Router
        The rule by which tokens choose experts.
    dispatch : {"auto", "masked", "sorted"}
        How the experts are computed; see `dynamoe_search.models.dispatch`.
    balance : Balance
        The layer itself moves the bias; the losses are in `dynamoe_search.models.balance`.
    seeds : sequence of int
        The seeds of the S networks that the layer is part of.
    name : str
        The layer's name in them, which decides its initial weights and its noise.
    shared : int
        How many experts, next to these, every token uses.
    style : {"paper", "modern"}
        Of the experts: with ReLU, or with SwiGLU.

    Attributes
    ----------
    expert_uses : Tensor of int64, shape (S,)
        The pairs of token and expert computed in training mode. It stays on the device, so that
        counting does not synchronize.
    tokens, largest_batch : int
        The tokens that each network saw in training mode, and the most in one batch.
    thresholds : Tensor of float32, shape (S, 2)
        Only where the router has a target: the controller's thresholds for the scores. The first is
        for training: each full batch moves it towards the batch's own threshold, but uses the value
        from the batches before, so that a token's experts do not depend on its neighbors. The
        second is for evaluation and set by `calibrate`; while it is NaN, each batch uses its own.
    bias : Tensor of float32, shape (S, N)
        Only where the balance is "bias": added to the gates for the choice of experts.
    """

    def __init__(
        self,
        experts: int,
        width: int,
        hidden: int,
        router: Router,
        dispatch: Dispatch = "auto",
        balance: Balance = Balance(),
        seeds: Sequence[int] = (0,),
        name: str = "layer",
        shared: int = 0,
        style: Style = "paper",
    ) -> None:
        super().__init__()
        self.style: Style = style
        self.router = router
        self.dispatch = dispatch
        self.balance = balance
        self.expert_uses: Tensor
        self.thresholds: Tensor | None
        self.bias: Tensor | None
        uses = torch.zeros(len(seeds), dtype=torch.int64)
        self.register_buffer("expert_uses", uses, persistent=False)
        self.tokens = self.largest_batch = 0
        # Where K cannot vary, as with no more experts than the target, there is nothing to control.
        self.target = router.target if isinstance(router, VariableRouter) else None
        least, most = router.active_bounds(experts)
        controlled = self.target is not None and least < most
        thresholds = torch.full((len(seeds), 2), float("nan")) if controlled else None
        self.register_buffer("thresholds", thresholds)
        biased = balance.name == "bias"
        self.register_buffer("bias", torch.zeros(len(seeds), experts) if biased else None)
        self.gate = nn.Parameter(torch.empty(len(seeds), experts, width))
        inner = inner_width(hidden, style)
        self.w_in = nn.Parameter(torch.empty(len(seeds), experts, inner, width))
        self.w_out = nn.Parameter(torch.empty(len(seeds), experts, hidden, width))
        draw_experts(self.gate, seeds, f"{name}.gate", width)
        draw_experts(self.w_in, seeds, f"{name}.w_in", width)
        draw_experts(self.w_out, seeds, f"{name}.w_out", hidden)
        self.shared = (
            FeedForward(seeds, f"{name}.shared", width, shared * hidden, style) if shared else None
        )
        self._generators = [generator_for(seed, f"{name}.noise") for seed in seeds]

    @property
    def mean_active(self) -> tuple[float, ...]:
        """The mean K of each network measured in training so far; NaN before."""
        if not self.tokens:
            return (float("nan"),) * len(self.expert_uses)
        return tuple((self.expert_uses / self.tokens).tolist())

    def route(self, x: Tensor) -> Routing:
        """The routing of the tokens x, shape (S, T, width); changes no threshold, bias or count."""
        # Always in float32: rounding would change which experts are chosen.
        with torch.autocast(x.device.type, enabled=False):
            logits = torch.bmm(self.gate, x.to(self.gate.dtype).mT).mT
            noise = self._noise(logits) if self.training and self.router.noise > 0 else None
            return route(self.router, logits, noise, self.bias, self._threshold())

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """The weighted sum of each token's experts, and the shared ones; shape (S, T, width).

        The layer appends its routing to the list `report`, if given.
        """
        routing = self.route(x)
        if report is not None:
            report.append(routing)
        if self.training:
            self._keep_count(routing)
        matrices = self.w_in, self.w_out, self.style
        if self._is_masked(x.shape[1]):
            routed = masked_experts(x, routing.weights, *matrices)
        else:
            routed = sorted_experts(x, routing.chosen, routing.weights, *matrices)
        return routed if self.shared is None else routed + self.shared(x)

    def _is_masked(self, tokens: int) -> bool:
        if self.dispatch != "auto":
            return self.dispatch == "masked"
        seeds, experts, hidden, width = self.w_out.shape
        active = self.target or sum(self.router.active_bounds(experts)) / 2
        return prefers_masked(seeds, tokens, width, hidden, experts, active)

    def _noise(self, logits: Tensor) -> Tensor:
        """Standard normal values, those of each network from its own generator on the CPU."""
        shape = logits.shape[1:]
        drawn = torch.stack([torch.randn(shape, generator=one) for one in self._generators])
        return drawn.to(logits)

    def _threshold(self) -> Tensor | None:
        if self.thresholds is None:
            return None
        training, evaluation = self.thresholds.unbind(dim=1)
        if self.training:
            return training if self.tokens else None
        return None if bool(evaluation.isnan().any()) else evaluation

    @torch.no_grad()
    def _keep_count(self, routing: Routing) -> None:
        """Count a training batch, and move the threshold and the bias, unless it is empty."""
        batch = routing.chosen.shape[1]
        if batch == 0:
            return
        self.largest_batch = max(self.largest_batch, batch)
        # The last batch of an epoch may be too small to move the threshold.
        if self.thresholds is not None and batch == self.largest_batch:
            own = self._own_threshold(routing)
            before = self.thresholds[:, 0] if self.tokens else own
            self.thresholds[:, 0] = before.lerp(own, _CONTROLLER_RATE)
        if self.bias is not None:
            assert self.balance.strength is not None
            self.bias += self.balance.strength * bias_step(routing.chosen)
            # A shift of all biases balances nothing, but can move K.
            self.bias -= self.bias.mean(dim=1, keepdim=True)
        self.expert_uses += routing.chosen.sum(dim=(1, 2))
        self.tokens += batch

    def _own_threshold(self, routing: Routing) -> Tensor:
        assert routing.scores is not None
        assert self.target is not None
        return threshold_for(routing.scores, self.target)


@torch.no_grad()
def calibrate(model: nn.Module, inputs: Tensor) -> None:
    """Set the evaluation thresholds so that a batch of training data meets the targets.

    The training thresholds lag a little behind a router that learns; the evaluation thresholds fit
    the weights as they are.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Left in evaluation mode. Layers without a target do not change.
    inputs : Tensor
        A batch of some thousands of tokens, as the model takes it, with the seed axis; with none,
        the thresholds stay NaN.
    """
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    for layer in layers:
        if layer.thresholds is not None:
            layer.thresholds[:, 1] = float("nan")
    report: list[Routing] = []
    model.eval()(inputs, report)
    for layer, routing in zip(layers, report, strict=True):
        if layer.thresholds is not None:
            layer.thresholds[:, 1] = layer._own_threshold(routing)
