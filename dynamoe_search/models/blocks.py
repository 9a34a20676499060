"""The feed-forward blocks of a network: layers of experts, or plain."""

from __future__ import annotations

from torch import Tensor, nn

from dynamoe_search.models.moe import Dispatch, MoELayer
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Dense, Experts


class FeedForward(nn.Module):
    """One expert without a router: width -> hidden -> width with ReLU and without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(width, hidden, bias=False)
        self.w_out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Shape (T, width), as x; nothing is appended to `report`."""
        output: Tensor = self.w_out(self.w_in(x).relu())
        return output


def make_blocks(blocks: Experts | Dense, width: int, dispatch: Dispatch) -> nn.ModuleList:
    """One module per block; each maps shape (T, width) to (T, width)."""
    if isinstance(blocks, Dense):
        return nn.ModuleList(FeedForward(width, hidden) for hidden in blocks.hidden)
    return nn.ModuleList(
        MoELayer(experts, width, blocks.hidden, router, dispatch, blocks.balance)
        for experts, router in zip(blocks.schedule, blocks.routers, strict=True)
    )
