"""Count how layers route the tokens of a split: in one pass, in bounded memory, in parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dynamoe_search.budgets import experts_of
from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.counts import RoutingCounts, flat_sizes
from dynamoe_search.models import Model
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Classifier
from dynamoe_search.training.evaluation import evaluation_mode, predict, samples_at_once
from dynamoe_search.training.settings import Precision

REST = "rest"
"""The group of all tokens whose id is not counted separately."""

_MOST_TOKEN_IDS = 256
_TOKENS_AT_ONCE = 2**20


@torch.no_grad()
def count_routings(
    model: Model,
    split: ImageSplit | TextSplit,
    token_ids: Sequence[int] | None = None,
    precision: Precision = "float32",
) -> tuple[RoutingCounts, ...]:
    """Count how each layer routes the tokens of a split, without the router's noise.

    The groups are the classes of images, or token ids: those given, and all others together.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        With layers of experts; measured in evaluation mode, and left as it was.
    split : ImageSplit or TextSplit
    token_ids : sequence of int, optional
        For text, the different ids to count separately; by default the `frequent_tokens` of the
        split. Workers whose counts are added need the same ids.
    precision : {"float32", "bfloat16"}
        The precision of matrix products.

    Returns
    -------
    tuple of RoutingCounts
        One per layer, with N = 0 for a plain block.

    Raises
    ------
    InvalidInput
        For a dense network, or a token id that is outside the vocabulary or given twice.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Experts
    >>> model = build_model(Classifier(64, 10, 16, Experts(16, Schedule((4, 2)))))
    >>> first, second = count_routings(model, embedded_digits(seed=0).validation)
    >>> first.load.shape, second.together.tolist()
    ((10, 4), [[360, 360], [360, 360]])
    """
    schedule = experts_of(model.specification).schedule
    groups, places = _groups(model, split, token_ids)
    sizes = [sum(flat_sizes(len(groups), experts)) for experts in schedule]
    summed = torch.zeros(sum(sizes), dtype=torch.float64, device=split.device)
    with evaluation_mode(model):
        for inputs, labels in split.batches(samples_at_once(split)):
            report: list[Routing] = []
            predict(model, inputs, precision, report)
            grouping = inputs if isinstance(split, TextSplit) else labels
            members = _members(places[grouping.flatten()], len(groups))
            routings = iter(report)
            of_layers = [
                next(routings) if experts else _no_routing(members) for experts in schedule
            ]
            summed += torch.cat([flat_counts(one.chosen, one.gates, members) for one in of_layers])
    # One transfer from the device; float64 holds counts exactly.
    flat = np.split(summed.cpu().numpy(), np.cumsum(sizes)[:-1])
    return tuple(
        RoutingCounts.from_flat(part, groups, experts)
        for part, experts in zip(flat, schedule, strict=True)
    )


def frequent_tokens(split: TextSplit, most: int = _MOST_TOKEN_IDS) -> tuple[int, ...]:
    """The ids of the most frequent input tokens of a split, the most frequent first.

    Parameters
    ----------
    split : TextSplit
    most : int
        The largest number of ids.

    Examples
    --------
    >>> split = TextSplit(np.array([5, 7, 7, 5, 7, 2, 9], dtype=np.uint16), 3, 1.0, "cpu")
    >>> frequent_tokens(split), frequent_tokens(split, most=2)
    ((7, 5, 2), (7, 5))
    """
    used = split.tokens[:-1]
    counts = np.zeros(0, dtype=np.int64)
    for start in range(0, len(used), _TOKENS_AT_ONCE):  # a mapped file may exceed the memory
        found = np.bincount(used[start : start + _TOKENS_AT_ONCE], minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    order = np.argsort(-counts, kind="stable")[:most]
    return tuple(order[counts[order] > 0].tolist())


def _groups(
    model: Model, split: ImageSplit | TextSplit, token_ids: Sequence[int] | None
) -> tuple[tuple[str, ...], Tensor]:
    """The names of the groups, and the index of the group of every class or token id."""
    network = model.specification
    if isinstance(network, Classifier):
        names = tuple(map(str, range(network.classes)))
        return names, torch.arange(network.classes, device=split.device)
    assert isinstance(split, TextSplit)
    ids = frequent_tokens(split) if token_ids is None else tuple(token_ids)
    if len(set(ids)) < len(ids) or not all(0 <= one < network.vocabulary for one in ids):
        raise InvalidInput(
            f"token_ids are {ids}; give different ids from 0 to {network.vocabulary - 1}"
        )
    places = torch.full((network.vocabulary,), len(ids))
    places[list(ids)] = torch.arange(len(ids))
    return (*map(str, ids), REST), places.to(split.device)


def _members(group: Tensor, groups: int) -> Tensor:
    """The group of each token, one-hot; shape (T, G)."""
    return nn.functional.one_hot(group, groups).double()


def _no_routing(members: Tensor) -> Routing:
    """The routing of a plain block, which has no experts."""
    none = members.new_zeros(len(members), 0)
    return Routing(none, none, none.bool(), none)


def flat_counts(chosen: Tensor, gates: Tensor, members: Tensor) -> Tensor:
    """All counts of one batch as one vector, on its device; `RoutingCounts.from_flat` reads sums.

    Parameters
    ----------
    chosen : Tensor of bool, shape (T, N)
    gates : Tensor of float, shape (T, N)
    members : Tensor of float64, shape (T, G)
        The group of each token, one-hot.
    """
    used = chosen.double()
    active = nn.functional.one_hot(chosen.sum(dim=1), chosen.shape[1] + 1).sum(dim=0)
    entropy = torch.special.entr(gates.double()).sum()
    parts = (members.sum(dim=0), members.T @ used, used.T @ used, active, entropy)
    return torch.cat([part.double().flatten() for part in parts])
