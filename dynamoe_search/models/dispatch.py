"""Two ways to compute the experts of a layer: masked and sorted.

Both give y_t = sum over the chosen experts e of weight[t, e] * B_e^T f(A_e x_t), where f is the
activation of `dynamoe_search.models.activation`, and never drop a token. `masked_experts` computes
every expert for every token, as one product, and masks those that are not chosen. `sorted_experts`
gathers the tokens of each expert into a contiguous group and computes those alone. `prefers_masked`
is the rule for which of them is used. Both can be differentiated any number of times;
`torch.func.vmap` and forward-mode derivatives raise an error in `sorted_experts`.

Under `torch.autocast` the experts' products have autocast's precision; the sums over a token's
experts, and the gradients of float32 tensors, stay float32 in `sorted_experts`. The output has the
precision of x.

S is the number of networks that are computed at once, one per seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynamoe_search.models.activation import (
    activate,
    activate_and_keep,
    inner_gradient,
    kept_hidden,
)
from dynamoe_search.specification import Style

# The size of the hidden values of one block, in bytes: about a core's second-level cache.
_BLOCK_BYTES = 2**20
# Up to where masking is faster on a core, by `benchmarks/dispatch.py`.
_MOST_IN_VAIN = 2.5e6  # multiplications of each of the two products
_MOST_HIDDEN = 2**20  # hidden values of all experts: beyond, they do not stay in the cache


def prefers_masked(
    seeds: int, tokens: int, width: int, hidden: int, experts: int, active: float
) -> bool:
    """Whether computing every expert for every token takes less time than sorting the tokens.

    Masked, S T (N - K) pairs of token and expert are computed in vain, but the products are few and
    large. It is faster where these pairs take at most 2.5 million multiplications for each matrix,
    S T (N - K) d h, and where there are at most 2^20 hidden values, S T N h. On the grid of
    `benchmarks/dispatch.py` that loses 2 % of the time on average against the faster of both.

    Parameters
    ----------
    seeds, tokens, width, hidden, experts : int
        S, T (of one network), d, h and N.
    active : float
        The mean K.

    Examples
    --------
    >>> prefers_masked(1, 128, 32, 64, 4, 2), prefers_masked(1, 4096, 64, 128, 4, 2)
    (True, False)
    """
    in_vain = seeds * tokens * (experts - active) * width * hidden
    return in_vain <= _MOST_IN_VAIN and seeds * tokens * experts * hidden <= _MOST_HIDDEN


def masked_experts(
    x: Tensor, weights: Tensor, w_in: Tensor, w_out: Tensor, style: Style = "paper"
) -> Tensor:
    """Every expert on every token, weighted.

    Parameters
    ----------
    x : Tensor, shape (S, T, d)
    weights : Tensor, shape (S, T, N)
        0 if a token does not use an expert.
    w_in : Tensor, shape (S, N, h, d)
        In the modern style (S, N, 2 h, d): gates before ups.
    w_out : Tensor, shape (S, N, h, d)
    style : {"paper", "modern"}

    Returns
    -------
    Tensor, shape (S, T, d)
    """
    inner = torch.bmm(x, w_in.flatten(1, 2).mT).view(*weights.shape, w_in.shape[2])
    weighted = activate(inner, style) * weights[..., None]
    return torch.bmm(weighted.flatten(-2), w_out.flatten(1, 2).to(weighted.dtype)).to(x.dtype)


def sorted_experts(
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    style: Style = "paper",
) -> Tensor:
    """Each expert on the tokens that chose it.

    Parameters
    ----------
    x, weights, w_in, w_out, style
        As in `masked_experts`.
    chosen : Tensor of bool, shape (S, T, N)

    Returns
    -------
    Tensor, shape (S, T, d)
    """
    # Transposed, so that the pairs of token and expert are grouped by network and expert.
    networks, experts, tokens = chosen.mT.nonzero(as_tuple=True)
    group_sizes = chosen.sum(dim=1).flatten().tolist()
    dtype = _product_dtype(x)
    output, _ = _SortedExperts.apply(  # type: ignore[no-untyped-call]
        x.flatten(0, 1).to(dtype),
        weights[networks, tokens, experts],
        w_in.flatten(0, 1).to(dtype),
        w_out.flatten(0, 1).to(dtype),
        networks * x.shape[1] + tokens,
        group_sizes,
        _blocks(group_sizes, _BLOCK_BYTES // (w_in.shape[2] * dtype.itemsize)),
        style,
    )
    summed: Tensor = output
    return summed.to(x.dtype).view(x.shape)


def _product_dtype(x: Tensor) -> torch.dtype:
    """The precision of products with x: autocast's if it is on, but float64 stays float64."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


class _SortedExperts(torch.autograd.Function):
    """The forward and backward pass by hand, one block of experts at a time.

    Autograd would keep one node per expert and copy every group, forward and backward. Here the
    values of a block stay in the cache from one product to the next, and only the inner values are
    kept for the backward pass. Sums over a token's experts are at least float32. A backward pass
    that is to be differentiated again (`create_graph=True`) runs `_differentiable_gradients`.

    Here T counts the tokens of all networks, and N the experts of all networks. In the loops u, z
    and v are one expert's rows of outer, inner and hidden values, a and b its matrices, and du, dz,
    dv, da and db their gradients.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        tokens: Tensor,
        group_sizes: list[int],
        blocks: list[tuple[slice, slice]],
        style: Style,
    ) -> tuple[Tensor, Tensor]:
        kept = x.new_empty(len(tokens), w_in.shape[1])
        output = x.new_zeros(x.shape, dtype=torch.promote_types(x.dtype, torch.float32))
        for rows, experts in blocks:
            places, sizes = tokens[rows], group_sizes[experts]
            outer, inner = x.index_select(0, places), kept[rows]
            parts = [t.split_with_sizes(sizes) for t in (outer, inner)]
            for u, z, a, b in zip(*parts, w_in[experts].mT, w_out[experts], strict=True):
                torch.mm(u, a, out=z)
                torch.mm(activate_and_keep(z, style), b, out=u)
            output.index_add_(0, places, (outer * weight[rows, None]).to(output.dtype))
        return output, kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.group_sizes, ctx.blocks, ctx.style = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else zeros are made for it
        ctx.save_for_backward(output[1], *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, x, weight, w_in, w_out, tokens = ctx.saved_tensors
        of_output, _ = gradients
        if of_output is None:
            return (None,) * 8
        if torch.is_grad_enabled():
            leaves = (x, weight, w_in, w_out)
            sizes = ctx.group_sizes
            found = _differentiable_gradients(of_output, *leaves, tokens, sizes, ctx.style)
            return *found, None, None, None, None
        x_gradient = torch.zeros_like(x, dtype=of_output.dtype)
        weight_gradient = torch.empty_like(weight)
        w_in_gradient, w_out_gradient = torch.empty_like(w_in), torch.empty_like(w_out)
        incoming, weight = of_output.to(x.dtype), weight.to(x.dtype)
        for rows, experts in ctx.blocks:
            places, sizes = tokens[rows], ctx.group_sizes[experts]
            outer_gradient, hidden = (
                incoming.index_select(0, places),
                kept_hidden(kept[rows], ctx.style),
            )
            hidden_gradient = torch.empty_like(hidden)
            parts = [t.split_with_sizes(sizes) for t in (outer_gradient, hidden_gradient)]
            for du, dv, b in zip(*parts, w_out[experts].mT, strict=True):
                torch.mm(du, b, out=dv)
            # y is linear in the weight, so its gradient needs no stored output.
            weight_gradient[rows] = (hidden_gradient * hidden).sum(dim=1)
            hidden_gradient.mul_(weight[rows, None])
            of_inner = inner_gradient(hidden_gradient, kept[rows], ctx.style)
            outer_gradient.mul_(weight[rows, None])
            outer = x.index_select(0, places)
            parts = [t.split_with_sizes(sizes) for t in (outer, hidden, outer_gradient, of_inner)]
            matrices = (w_in[experts], w_in_gradient[experts], w_out_gradient[experts])
            for u, v, du, dz, a, da, db in zip(*parts, *matrices, strict=True):
                torch.mm(v.T, du, out=db)
                torch.mm(dz.T, u, out=da)
                torch.mm(dz, a, out=u)
            x_gradient.index_add_(0, places, outer.to(x_gradient.dtype))
        found = (x_gradient.to(x.dtype), weight_gradient, w_in_gradient, w_out_gradient)
        return *found, None, None, None, None


def _differentiable_gradients(
    incoming: Tensor,
    x: Tensor,
    weight: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    tokens: Tensor,
    group_sizes: list[int],
    style: Style,
) -> tuple[Tensor, ...]:
    """The gradients of the backward pass, by operations that autograd can differentiate again."""
    groups = (x[tokens], incoming.to(x.dtype)[tokens], weight.to(x.dtype)[:, None])
    split = [t.split_with_sizes(group_sizes) for t in groups]
    parts = []
    for u, dy, w, a, b in zip(*split, w_in, w_out, strict=True):
        z = u @ a.T
        v, dv = activate(z, style), dy @ b.T
        dz = inner_gradient(w * dv, z, style)
        parts.append((dz @ a, (dv * v).sum(dim=1), dz.T @ u, v.T @ (w * dy)))
    du, dw, da, db = zip(*parts, strict=True)
    x_gradient = torch.zeros_like(x, dtype=incoming.dtype)
    x_gradient = x_gradient.index_add(0, tokens, torch.cat(du).to(incoming.dtype)).to(x.dtype)
    return x_gradient, torch.cat(dw).to(weight.dtype), torch.stack(da), torch.stack(db)


def _blocks(group_sizes: list[int], most: int) -> list[tuple[slice, slice]]:
    """Blocks of neighboring experts with at most `most` rows together, or of one expert.

    Each block is a slice of the rows and a slice of the experts.
    """
    blocks = []
    first = start = end = 0
    for expert, size in enumerate(group_sizes):
        if start < end and end + size - start > most:
            blocks.append((slice(start, end), slice(first, expert)))
            first, start = expert, end
        end += size
    blocks.append((slice(start, end), slice(first, len(group_sizes))))
    return blocks
