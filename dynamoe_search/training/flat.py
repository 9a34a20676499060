"""All weights of a model as one tensor, so that a step of the optimizer is a few operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatWeights:
    """The weights of S networks as one tensor, and their gradients; the model uses views.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Its weights are moved, with their values.

    Attributes
    ----------
    values : Parameter, shape (S, P)
        P is the number of weights of one network.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = list(model.parameters())
        with torch.no_grad():
            flat = torch.cat([parameter.flatten(1) for parameter in self.parameters], dim=1)
        self.values = nn.Parameter(flat)
        sizes = [parameter[0].numel() for parameter in self.parameters]
        for parameter, part in zip(self.parameters, torch.split(flat, sizes, dim=1), strict=True):
            parameter.data = part.view(parameter.shape)

    def backward(self, loss: Tensor, clip: float) -> None:
        """Set the gradients of a loss; that of each network is scaled down to a norm of `clip`.

        Parameters
        ----------
        loss : Tensor, shape ()
        clip : float
            0 for no limit.
        """
        gradients = torch.autograd.grad(loss, self.parameters)
        flat = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        if clip:
            norms = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
            flat.mul_((clip / norms).clamp_(max=1))
        self.values.grad = flat


class WeightAverage:
    """The mean of the weights over the last steps.

    Parameters
    ----------
    weights : FlatWeights
    """

    def __init__(self, weights: FlatWeights) -> None:
        self.weights = weights
        self.mean = torch.zeros_like(weights.values, requires_grad=False)
        self.steps = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take in the weights as they are now."""
        self.steps += 1
        self.mean.lerp_(self.weights.values, 1 / self.steps)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the mean and the weights; nothing where no step was taken in."""
        if self.steps:
            held = self.mean.clone()
            self.mean.copy_(self.weights.values)
            self.weights.values.copy_(held)
