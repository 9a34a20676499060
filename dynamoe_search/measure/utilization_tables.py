"""Tables of how the experts of a network are used, by layer, expert and group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.measure.counts import RoutingCounts
from dynamoe_search.measure.utilization import (
    active_moments,
    chance_information,
    coefficient_of_variation,
    dead_experts,
    effective_experts,
    gini,
    load_entropy,
    load_shares,
    maximum_violation,
    mutual_information,
    normalized_entropy,
)


def utilization_table(counts: Sequence[RoutingCounts]) -> pd.DataFrame:
    """How each layer uses its experts.

    Parameters
    ----------
    counts : sequence of RoutingCounts
        One per layer, by `count_routings`. Plain blocks have no rows in any table.

    Returns
    -------
    DataFrame
        One row per layer: ``layer`` (from 1), ``experts`` (N) and ``tokens`` (T);

        - of the load, by the functions of `dynamoe_search.measure.utilization`: ``entropy``
          (nats), ``normalized_entropy``, ``effective_experts``, ``coefficient_of_variation``,
          ``maximum_violation``, ``gini``, ``dead_experts`` and ``dead_share``, these over N;
        - of tokens: ``router_entropy``, the mean entropy of a token's gates (nats),
          ``mean_active`` and ``active_variance`` of K;
        - of pairs of experts: ``jaccard``, the mean of `co_activation_table`; NaN without one;
        - of groups: ``mutual_information`` of experts with classes or token ids, and
          ``chance_information``, its expectation for random groups (nats).

    Examples
    --------
    >>> import torch
    >>> from dynamoe_search.models.routing import Routing
    >>> gates = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    >>> routing = Routing(gates.log(), gates, gates > 0, gates)
    >>> table = utilization_table([RoutingCounts.of(routing, torch.tensor([0, 1]), "ab")])
    >>> table.loc[0, ["experts", "tokens", "mean_active", "gini", "jaccard"]].round(3).tolist()
    [2.0, 2.0, 1.5, 0.167, 0.5]
    """
    return pd.DataFrame(
        [{"layer": layer, **_of_layer(one)} for layer, one in _with_experts(counts)]
    )


def _with_experts(counts: Sequence[RoutingCounts]) -> list[tuple[int, RoutingCounts]]:
    """The layers that have experts, with their numbers from 1."""
    return [(layer, one) for layer, one in enumerate(counts, start=1) if one.experts]


def _of_layer(counts: RoutingCounts) -> dict[str, float]:
    load = counts.load.sum(axis=0)
    tokens = int(counts.tokens.sum())
    mean, variance = active_moments(counts.active)
    pairs = jaccard(counts.together)[np.triu_indices(counts.experts, k=1)]
    known = pairs[~np.isnan(pairs)]
    return {
        "experts": counts.experts,
        "tokens": tokens,
        **_of_load(load),
        "router_entropy": counts.entropy / tokens,
        "mean_active": mean,
        "active_variance": variance,
        "jaccard": float(known.mean()) if len(known) else np.nan,
        "mutual_information": mutual_information(counts.load),
        "chance_information": chance_information(
            counts.active, groups=int((counts.tokens > 0).sum()), experts=int((load > 0).sum())
        ),
    }


def _of_load(load: NDArray[np.int64]) -> dict[str, float]:
    dead = dead_experts(load)
    return {
        "entropy": load_entropy(load),
        "normalized_entropy": normalized_entropy(load),
        "effective_experts": effective_experts(load),
        "coefficient_of_variation": coefficient_of_variation(load),
        "maximum_violation": maximum_violation(load),
        "gini": gini(load),
        "dead_experts": dead,
        "dead_share": dead / len(load),
    }


def group_table(counts: Sequence[RoutingCounts]) -> pd.DataFrame:
    """How the tokens of each class, or of each token id, use the experts of each layer.

    Parameters
    ----------
    counts : sequence of RoutingCounts
        One per layer.

    Returns
    -------
    DataFrame
        One row per layer and group with tokens: ``layer``, ``group``, ``experts``, ``tokens``,
        ``mean_active``, and the columns of `utilization_table` about the load, here the group's.
    """
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "group": group,
                "experts": one.experts,
                "tokens": tokens,
                "mean_active": load.sum() / tokens,
                **_of_load(load),
            }
            for layer, one in _with_experts(counts)
            for group, tokens, load in zip(one.groups, one.tokens, one.load, strict=True)
            if tokens
        ]
    )


def load_table(counts: Sequence[RoutingCounts], by_group: bool = False) -> pd.DataFrame:
    """How often each expert is used.

    Parameters
    ----------
    counts : sequence of RoutingCounts
        One per layer.
    by_group : bool
        Whether to count each group separately.

    Returns
    -------
    DataFrame
        One row per layer and expert: ``layer``, ``expert`` (from 1), ``load`` (tokens) and
        ``share``, its part of the layer's load. By group, one row per layer, ``group`` with tokens
        and expert; shares then are of the group's load in the layer.
    """
    rows = [
        {"layer": layer, "group": group, "expert": expert, "load": tokens, "share": share}
        for layer, one in _with_experts(counts)
        for group, load in _loads(one, by_group)
        for expert, (tokens, share) in enumerate(
            zip(load.tolist(), load_shares(load), strict=True), start=1
        )
    ]
    table = pd.DataFrame(rows)
    return table if by_group else table.drop(columns="group")


def _loads(counts: RoutingCounts, by_group: bool) -> list[tuple[str, NDArray[np.int64]]]:
    if not by_group:
        return [("", counts.load.sum(axis=0))]
    return [pair for pair in zip(counts.groups, counts.load, strict=True) if pair[1].any()]


def active_table(counts: Sequence[RoutingCounts]) -> pd.DataFrame:
    """The distribution of K over the tokens of each layer.

    Parameters
    ----------
    counts : sequence of RoutingCounts
        One per layer.

    Returns
    -------
    DataFrame
        One row per layer and K: ``layer`` (from 1), ``experts`` (N), ``active`` (K, from 1 to N)
        and ``share``, that of the tokens with this K.
    """
    return pd.DataFrame(
        [
            {"layer": layer, "experts": one.experts, "active": active, "share": share}
            for layer, one in _with_experts(counts)
            for active, share in enumerate(load_shares(one.active))
            if active
        ]
    )


def jaccard(together: NDArray[np.int64]) -> NDArray[np.float64]:
    """The Jaccard index of two experts' tokens: those that used both, over those that used either.

    Parameters
    ----------
    together : ndarray of int, shape (N, N)
        The number of tokens that used both experts; on the diagonal, that used the expert.

    Returns
    -------
    ndarray of float, shape (N, N)
        From 0 to 1, for any K; NaN where neither was used.

    Examples
    --------
    >>> import numpy as np
    >>> jaccard(np.array([[3, 1], [1, 2]])).tolist()
    [[1.0, 0.25], [0.25, 1.0]]
    """
    load = together.diagonal()
    either = load[:, None] + load - together
    unknown = np.full(either.shape, np.nan)
    return np.asarray(np.divide(together, either, out=unknown, where=either > 0))


def co_activation_table(counts: Sequence[RoutingCounts]) -> pd.DataFrame:
    """How often two experts of a layer are used by the same token.

    Parameters
    ----------
    counts : sequence of RoutingCounts
        One per layer.

    Returns
    -------
    DataFrame
        One row per layer and pair of experts: ``layer``, ``expert`` and ``other`` (the larger
        number), ``together`` (the tokens that used both) and ``jaccard``, by `jaccard`.
    """
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "layer": layer,
                    "expert": first + 1,
                    "other": second + 1,
                    "together": one.together[first, second],
                    "jaccard": jaccard(one.together)[first, second],
                }
            )
            for layer, one in _with_experts(counts)
            for first, second in [np.triu_indices(one.experts, k=1)]
        ],
        ignore_index=True,
    )
