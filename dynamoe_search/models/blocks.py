"""The feed-forward blocks of a network: layers of experts, or plain."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dynamoe_search.models.layers import Linear
from dynamoe_search.models.moe import Dispatch, MoELayer
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Dense, Experts


class FeedForward(nn.Module):
    """One expert without a router: width -> hidden -> width with ReLU and without biases."""

    def __init__(self, seeds: Sequence[int], name: str, width: int, hidden: int) -> None:
        super().__init__()
        self.w_in = Linear(seeds, f"{name}.w_in", width, hidden, bias=False)
        self.w_out = Linear(seeds, f"{name}.w_out", hidden, width, bias=False)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Shape (S, T, width), as x; nothing is appended to `report`."""
        output: Tensor = self.w_out(self.w_in(x).relu())
        return output


def make_blocks(
    seeds: Sequence[int], blocks: Experts | Dense, width: int, dispatch: Dispatch
) -> nn.ModuleList:
    """One module per block; each maps shape (S, T, width) to (S, T, width)."""
    names = [f"blocks.{layer}" for layer in range(blocks.depth)]
    if isinstance(blocks, Dense):
        return nn.ModuleList(
            FeedForward(seeds, name, width, hidden)
            for name, hidden in zip(names, blocks.hidden, strict=True)
        )
    layers = zip(names, blocks.schedule, blocks.plain_widths, blocks.routers, strict=True)
    return nn.ModuleList(
        MoELayer(experts, width, blocks.hidden, router, dispatch, blocks.balance, seeds, name)
        if experts
        else FeedForward(seeds, name, width, plain)
        for name, experts, plain, router in layers
    )
