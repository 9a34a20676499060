"""The feed-forward blocks of a network: layers of experts, or plain."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dynamoe_search.models.feed_forward import FeedForward
from dynamoe_search.models.moe import Dispatch, MoELayer
from dynamoe_search.specification import Dense, Experts


def make_blocks(
    seeds: Sequence[int], blocks: Experts | Dense, width: int, dispatch: Dispatch
) -> nn.ModuleList:
    """One module per block; each maps shape (S, T, width) to (S, T, width)."""
    names = [f"blocks.{layer}" for layer in range(blocks.depth)]
    if isinstance(blocks, Dense):
        return nn.ModuleList(
            FeedForward(seeds, name, width, hidden, blocks.style)
            for name, hidden in zip(names, blocks.hidden, strict=True)
        )
    layers = zip(names, blocks.schedule, blocks.plain_widths, blocks.routers, strict=True)
    return nn.ModuleList(
        MoELayer(
            experts,
            width,
            blocks.hidden,
            router,
            dispatch,
            blocks.balance,
            seeds,
            name,
            blocks.shared,
            blocks.style,
        )
        if experts
        else FeedForward(seeds, name, width, plain, blocks.style)
        for name, experts, plain, router in layers
    )
