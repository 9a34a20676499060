"""Plain layers with a leading seed axis: S networks that are trained at once, each its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynamoe_search.models.initial import draw_uniform
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Style

_EPSILON = 1e-5  # added to the mean square, as in OLMoE and Mixtral


class Linear(nn.Module):
    """x W^T + b of S networks, at the usual initial weights of torch's own layer.

    Parameters
    ----------
    seeds : sequence of int
        The seeds of the S networks.
    name : str
        Decides the initial weights, with the seed.
    inputs, outputs : int
    bias : bool
    """

    def __init__(
        self, seeds: Sequence[int], name: str, inputs: int, outputs: int, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(seeds), outputs, inputs))
        self.bias = nn.Parameter(torch.empty(len(seeds), outputs)) if bias else None
        draw_uniform(self.weight, seeds, f"{name}.weight", inputs)
        if self.bias is not None:
            draw_uniform(self.bias, seeds, f"{name}.bias", inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (S, T, outputs), for x of shape (S, T, inputs)."""
        if self.bias is None:
            return torch.bmm(x, self.weight.mT)
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class LayerNorm(nn.Module):
    """Normalization of each token over the width, with scale and shift, of S networks."""

    def __init__(self, seeds: Sequence[int], width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(len(seeds), width))
        self.bias = nn.Parameter(torch.zeros(len(seeds), width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (S, T, width), as x."""
        normal = nn.functional.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias[:, None], normal, self.weight[:, None])


class RMSNorm(nn.Module):
    """Each token over its root mean square (arXiv 1910.07467), with scale, of S networks."""

    def __init__(self, seeds: Sequence[int], width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(len(seeds), width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (S, T, width), as x."""
        normal = nn.functional.rms_norm(x, x.shape[-1:], eps=_EPSILON)
        return normal * self.weight[:, None]


def make_norm(style: Style, seeds: Sequence[int], width: int) -> LayerNorm | RMSNorm:
    """The normalization of a style."""
    return RMSNorm(seeds, width) if style == "modern" else LayerNorm(seeds, width)


def without_seeds(model: nn.Module, x: Tensor, report: list[Routing] | None) -> Tensor:
    """The output of a single network for inputs that have no seed axis."""
    networks = len(next(model.parameters()))
    if networks != 1:
        raise ValueError(
            f"the model has {networks} networks: give inputs with a seed axis, or take one"
            " network: single_network()"
        )
    routings: list[Routing] = []
    logits: Tensor = model(x[None], None if report is None else routings)
    if report is not None:
        report += [routing.of_seed(0) for routing in routings]
    return logits.squeeze(0)
