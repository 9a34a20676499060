"""What experts do with their hidden values: ReLU, or SwiGLU (arXiv 2002.05202).

The first matrix of an expert gives its *inner* values: h of them with ReLU, and 2 h with SwiGLU,
gates before ups. The activation makes h hidden values of them: relu(inner), or silu(gate) * up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynamoe_search.specification import Style


def inner_width(hidden: int, style: Style) -> int:
    """The number of inner values of an expert of this hidden width."""
    return 2 * hidden if style == "modern" else hidden


def activate(inner: Tensor, style: Style) -> Tensor:
    """The hidden values, shape (..., h), of inner values."""
    if style == "paper":
        return torch.relu(inner)
    gate, up = inner.chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def activate_and_keep(inner: Tensor, style: Style) -> Tensor:
    """As `activate`; afterwards `inner` holds what `kept_hidden` and `inner_gradient` need.

    With ReLU these are the hidden values themselves, so that nothing is allocated.
    """
    return inner.relu_() if style == "paper" else activate(inner, style)


def kept_hidden(kept: Tensor, style: Style) -> Tensor:
    """The hidden values again."""
    return kept if style == "paper" else activate(kept, style)


def inner_gradient(gradient: Tensor, kept: Tensor, style: Style) -> Tensor:
    """The gradient of the inner values, given that of the hidden values; differentiable again."""
    if style == "paper":
        of_inner: Tensor = torch.ops.aten.threshold_backward(gradient, kept, 0)
        return of_inner
    gate, up = kept.chunk(2, dim=-1)
    share = torch.sigmoid(gate)
    of_gate = gradient * up * share * (1 + gate * (1 - share))
    return torch.cat([of_gate, gradient * gate * share], dim=-1)
