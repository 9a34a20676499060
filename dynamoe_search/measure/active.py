"""How many experts tokens use, and whether this varies by token."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization_tables import active_table
from dynamoe_search.models import Model
from dynamoe_search.models.routing import route
from dynamoe_search.specification import Router


def compare_routers(
    routers: Mapping[str, Router], experts: int = 8, tokens: int = 4096, seed: int = 0
) -> pd.DataFrame:
    """The active experts K of the same random tokens with several routers, without training.

    The logits are standard normal. The table shows that the source's percentile uses the same K for
    every token, and how K varies with the other routers.

    Parameters
    ----------
    routers : mapping of str to Router
        The routers, by title.
    experts : int
        N, the experts of the layer.
    tokens : int
    seed : int

    Returns
    -------
    DataFrame
        One row per router and K: ``router`` (its title), ``active`` (K, from 1 to N) and ``share``,
        that of the tokens with this K. The shares of a router sum to 1.

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
    rows = []
    for title, router in routers.items():
        active = route(router, logits).active
        counts = torch.bincount(active, minlength=experts + 1).tolist()
        rows += [(title, k, count / tokens) for k, count in enumerate(counts) if k]
    return pd.DataFrame(rows, columns=["router", "active", "share"])


def active_by_layer(model: Model, split: ImageSplit | TextSplit) -> pd.DataFrame:
    """The active experts K of a split's tokens, in each layer of a trained network.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        A network with layers of experts.
    split : ImageSplit or TextSplit

    Returns
    -------
    DataFrame
        As `active_table` gives it.

    Raises
    ------
    InvalidInput
        For a dense network.
    """
    return active_table(count_routings(model, split))
