"""The plain feed-forward block."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dynamoe_search.models.activation import activate, inner_width
from dynamoe_search.models.layers import Linear
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Style


class FeedForward(nn.Module):
    """One expert without a router: width -> hidden -> width without biases, of S networks."""

    def __init__(
        self, seeds: Sequence[int], name: str, width: int, hidden: int, style: Style = "paper"
    ) -> None:
        super().__init__()
        self.style: Style = style
        inner = inner_width(hidden, style)
        self.w_in = Linear(seeds, f"{name}.w_in", width, inner, bias=False)
        self.w_out = Linear(seeds, f"{name}.w_out", hidden, width, bias=False)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Shape (S, T, width), as x; nothing is appended to `report`."""
        output: Tensor = self.w_out(activate(self.w_in(x), self.style))
        return output
