"""How many experts tokens use: what varies by token, and what does not."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization_tables import active_table
from dynamoe_search.models import Model
from dynamoe_search.models.routing import route
from dynamoe_search.specification import Router


def compare_routers(
    routers: Mapping[str, Router], experts: int = 8, tokens: int = 4096, seed: int = 0
) -> pd.DataFrame:
    """The K of the same random tokens by several routers, without any training.

    Their logits are standard normal. It shows at a glance that the source's percentile gives one K
    to every token, and how the routers of variable K spread it.

    Parameters
    ----------
    routers : mapping of str to Router
        By title.
    experts : int
        The experts N of the layer.
    tokens : int
    seed : int

    Returns
    -------
    DataFrame
        ``router`` (its title), ``active`` (K, from 1 to N) and ``share`` of the tokens with it: a
        row for every K of every router; the shares of a router sum to 1.

    Examples
    --------
    >>> from dynamoe_search.specification import Percentile, TopP
    >>> table = compare_routers({"percentile": Percentile(), "top_p": TopP()}, experts=4)
    >>> used = table[table["share"] > 0].groupby("router")["active"]
    >>> used.agg(["min", "max"]).to_dict("index")
    {'percentile': {'min': 2, 'max': 2}, 'top_p': {'min': 1, 'max': 3}}
    """
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, experts, generator=generator)
    tables = [
        _shares(
            torch.bincount(route(router, logits, training=False).active, minlength=experts + 1)
        ).assign(router=title)
        for title, router in routers.items()
    ]
    return pd.concat(tables, ignore_index=True)[["router", "active", "share"]]


def active_by_layer(model: Model, split: ImageSplit | TextSplit) -> pd.DataFrame:
    """The K of the tokens of a split in each layer of a trained network.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        With layers of experts.
    split : ImageSplit or TextSplit

    Returns
    -------
    DataFrame
        ``layer`` (from 1), ``experts`` (N), ``active`` (K, from 1 to N) and ``share`` of the
        tokens with it.

    Raises
    ------
    InvalidInput
        For a dense network.
    """
    return active_table(count_routings(model, split))


def _shares(counts: Tensor) -> pd.DataFrame:
    """Shares from how many tokens use 0, 1, ... experts; none uses 0."""
    shares = (counts[1:] / counts.sum()).tolist()
    return pd.DataFrame({"active": range(1, len(counts)), "share": shares})
