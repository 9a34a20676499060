"""AdamW, as torch's own function computes it.

torch's class of that name imports torch's compiler when it is first made, which takes as long as a
short training.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.adamw import adamw

# torch's defaults, which are those of the paper (Loshchilov and Hutter 2019).
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2) at a constant rate.

    Parameters
    ----------
    parameters : iterable of Parameter
    learning_rate, weight_decay : float

    Examples
    --------
    >>> weight = nn.Parameter(torch.ones(2))
    >>> optimizer = AdamW([weight], learning_rate=0.1, weight_decay=0.0)
    >>> weight.sum().backward()
    >>> optimizer.step()
    >>> weight.data
    tensor([0.9000, 0.9000])
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self._states = [
            (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device))
            for p in self.parameters
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Change each parameter that has a gradient."""
        moving = [
            (parameter, parameter.grad, *state)
            for parameter, state in zip(self.parameters, self._states, strict=True)
            if parameter.grad is not None
        ]
        if not moving:
            return
        weights, gradients, means, squares, steps = map(list, zip(*moving, strict=True))
        adamw(
            weights,
            gradients,
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=_BETA1,
            beta2=_BETA2,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=_EPSILON,
            maximize=False,
        )
