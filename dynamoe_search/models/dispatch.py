"""Computing the experts of a layer: each only for its own tokens, or all for every token.

Both give y_t = sum over the chosen experts e of weight[t, e] * relu(x_t A_e) B_e, and no token is
ever dropped. `sorted_experts` is the working path: it gathers the assignments of tokens to experts
into one contiguous group an expert. `dense_experts` is its oracle, and the path on which
per-sample gradients are possible.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def dense_experts(x: Tensor, weights: Tensor, w_in: Tensor, w_out: Tensor) -> Tensor:
    """Every expert on every token, weighted.

    Parameters
    ----------
    x : Tensor, shape (T, d)
    weights : Tensor, shape (T, N)
        0 where a token does not use an expert.
    w_in : Tensor, shape (N, d, h)
    w_out : Tensor, shape (N, h, d)

    Returns
    -------
    Tensor, shape (T, d)
    """
    hidden = torch.relu(torch.einsum("td,ndh->tnh", x, w_in))
    return torch.einsum("tnh,nhd->td", hidden * weights[:, :, None], w_out)


def sorted_experts(
    x: Tensor, chosen: Tensor, weights: Tensor, w_in: Tensor, w_out: Tensor
) -> Tensor:
    """Each expert on the tokens that chose it.

    Parameters
    ----------
    x, weights, w_in, w_out
        As in `dense_experts`.
    chosen : Tensor of bool, shape (T, N)

    Returns
    -------
    Tensor, shape (T, d)
    """
    # Transposed, so that the assignments come grouped by expert.
    experts, tokens = chosen.T.nonzero(as_tuple=True)
    group_sizes = chosen.sum(dim=0).tolist()
    output: Tensor = _SortedExperts.apply(  # type: ignore[no-untyped-call]
        x, weights[tokens, experts], w_in, w_out, tokens, group_sizes
    )
    return output


class _SortedExperts(torch.autograd.Function):
    """Written out by hand so that products go straight into their place of one buffer.

    Autograd would keep a node an expert and copy every group on the way there and back.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        tokens: Tensor,
        group_sizes: list[int],
    ) -> Tensor:
        gathered = x.index_select(0, tokens)
        hidden = x.new_empty(len(tokens), w_in.shape[2])
        _grouped_product(gathered, w_in, group_sizes, hidden)
        hidden.relu_()
        output = torch.empty_like(gathered)
        _grouped_product(hidden, w_out, group_sizes, output)
        ctx.save_for_backward(gathered, hidden, weight, w_in, w_out, tokens)
        ctx.group_sizes = group_sizes
        return torch.zeros_like(x).index_add_(0, tokens, output.mul_(weight[:, None]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gathered, hidden, weight, w_in, w_out, tokens = ctx.saved_tensors
        incoming = gradients[0].index_select(0, tokens)
        hidden_gradient = torch.empty_like(hidden)
        _grouped_product(incoming, w_out.transpose(1, 2), ctx.group_sizes, hidden_gradient)
        # y is linear in the weight, so its gradient needs no stored output.
        weight_gradient = torch.linalg.vecdot(hidden_gradient, hidden)
        hidden_gradient.mul_(weight[:, None])
        hidden_gradient = torch.ops.aten.threshold_backward(hidden_gradient, hidden, 0)
        incoming.mul_(weight[:, None])
        w_out_gradient = torch.empty_like(w_out)
        _grouped_outer_product(hidden, incoming, ctx.group_sizes, w_out_gradient)
        w_in_gradient = torch.empty_like(w_in)
        _grouped_outer_product(gathered, hidden_gradient, ctx.group_sizes, w_in_gradient)
        _grouped_product(hidden_gradient, w_in.transpose(1, 2), ctx.group_sizes, incoming)
        x_gradient = torch.zeros_like(gradients[0], memory_format=torch.contiguous_format)
        x_gradient.index_add_(0, tokens, incoming)
        return x_gradient, weight_gradient, w_in_gradient, w_out_gradient, None, None


def _grouped_product(
    rows: Tensor, matrices: Tensor, group_sizes: list[int], output: Tensor
) -> None:
    """output[group] = rows[group] @ matrix, for each group and its matrix."""
    groups = zip(
        torch.split(rows, group_sizes),
        matrices.unbind(0),
        torch.split(output, group_sizes),
        strict=True,
    )
    for group, matrix, place in groups:
        torch.mm(group, matrix, out=place)


def _grouped_outer_product(
    left: Tensor, right: Tensor, group_sizes: list[int], output: Tensor
) -> None:
    """output[n] = left[group].T @ right[group], for each group n; 0 for an empty one."""
    groups = zip(
        torch.split(left, group_sizes),
        torch.split(right, group_sizes),
        output.unbind(0),
        strict=True,
    )
    for left_group, right_group, place in groups:
        torch.mm(left_group.T, right_group, out=place)
