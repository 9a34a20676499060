"""Counts of how a layer routes tokens: plain arrays, which add up. They need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from dynamoe_search.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

    from dynamoe_search.models.routing import Routing

_PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class RoutingCounts:
    """How one layer of N experts routed the tokens of G groups: classes, or token ids.

    A plain block routes nothing: N is 0. Add the counts of parts of a split, from any batches and
    workers, with ``+``.

    Parameters
    ----------
    groups : tuple of str
        The names of the groups, all different.
    tokens : ndarray of int64, shape (G,)
        The number of tokens of each group.
    load : ndarray of int64, shape (G, N)
        The number of tokens of each group that used each expert.
    together : ndarray of int64, shape (N, N)
        The number of tokens that used both experts; on the diagonal, that used the expert.
    active : ndarray of int64, shape (N + 1,)
        The number of tokens that used 0, 1, ..., N experts; 0 is never used.
    entropy : float
        The sum over tokens of the entropy of their gates, in nats; NaN where it is not known.

    Examples
    --------
    >>> import torch
    >>> from dynamoe_search.models.routing import Routing
    >>> gates = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    >>> routing = Routing(gates.log(), gates, gates > 0, gates)
    >>> counts = RoutingCounts.of(routing, torch.tensor([0, 1]), ("cat", "dog"))
    >>> counts.load.tolist(), counts.active.tolist(), counts.together[0].tolist()
    ([[1, 1, 0], [0, 1, 0]], [0, 1, 1, 0], [1, 1, 0])
    >>> (counts + counts).tokens.tolist()
    [2, 2]
    """

    groups: tuple[str, ...]
    tokens: NDArray[np.int64]
    load: NDArray[np.int64]
    together: NDArray[np.int64]
    active: NDArray[np.int64]
    entropy: float

    @classmethod
    def of(cls, routing: Routing, group: Tensor, groups: Sequence[str]) -> RoutingCounts:
        """The counts of one batch.

        Parameters
        ----------
        routing : Routing
            T tokens and N experts.
        group : Tensor of int64, shape (T,)
            The index of each token's group in `groups`.
        groups : sequence of str
        """
        chosen, gates = routing.chosen.cpu().numpy(), routing.gates.detach().double().cpu().numpy()
        used = chosen.astype(np.float64)  # which holds counts exactly, and is multiplied fast
        members = np.eye(len(groups))[group.cpu().numpy()]
        return cls(
            tuple(groups),
            members.sum(axis=0).astype(np.int64),
            (members.T @ used).astype(np.int64),
            (used.T @ used).astype(np.int64),
            np.bincount(chosen.sum(axis=1), minlength=chosen.shape[1] + 1),
            float(entr(gates).sum()),
        )

    @classmethod
    def of_indices(cls, indices: NDArray[np.int64], experts: int) -> RoutingCounts:
        """The counts of one batch of which only the choices are known, as one group.

        Parameters
        ----------
        indices : ndarray of int64, shape (T, K)
            The experts that each token uses, from 0; in a row all differ. The entropy of the gates
            is NaN.
        experts : int
            N, above all indices.

        Examples
        --------
        >>> RoutingCounts.of_indices(np.array([[0, 2], [2, 1]]), experts=4).load.tolist()
        [[1, 1, 2, 0]]
        """
        tokens, active = indices.shape
        together = np.zeros(experts**2, dtype=np.int64)
        rows = max(1, _PAIRS_AT_ONCE // active**2)
        for start in range(0, tokens, rows):
            part = indices[start : start + rows]
            pairs = experts * part[:, :, None] + part[:, None, :]
            together += np.bincount(pairs.ravel(), minlength=experts**2)
        square = together.reshape(experts, experts)
        return cls(
            ("all",),
            np.array([tokens]),
            square.diagonal()[None].copy(),
            square,
            np.where(np.arange(experts + 1) == active, tokens, 0),
            np.nan,
        )

    @classmethod
    def nothing(cls, groups: Sequence[str]) -> RoutingCounts:
        """The counts of a layer that has routed no token, as one without experts: N = 0."""
        return cls.from_flat(np.zeros(sum(flat_sizes(len(groups), 0))), groups, 0)

    @classmethod
    def from_flat(
        cls, flat: NDArray[np.float64], groups: Sequence[str], experts: int
    ) -> RoutingCounts:
        """The counts from one vector of all of them, of parts as `flat_sizes` has them."""
        *counts, entropy = np.split(flat, np.cumsum(flat_sizes(len(groups), experts))[:-1])
        tokens, load, together, active = (part.astype(np.int64) for part in counts)
        return cls(
            tuple(groups),
            tokens,
            load.reshape(len(groups), experts),
            together.reshape(experts, experts),
            active,
            float(entropy.item()),
        )

    def __add__(self, other: RoutingCounts) -> RoutingCounts:
        if self.groups != other.groups or self.experts != other.experts:
            raise InvalidInput(
                f"counts of {self.experts} and {other.experts} experts, by {len(self.groups)} and"
                f" {len(other.groups)} groups, cannot be added; both must be of the same layer and"
                " the same groups: give the same token ids to every worker"
            )
        return RoutingCounts(
            self.groups,
            self.tokens + other.tokens,
            self.load + other.load,
            self.together + other.together,
            self.active + other.active,
            self.entropy + other.entropy,
        )

    @property
    def experts(self) -> int:
        """The number of experts N."""
        return int(self.load.shape[1])


def flat_sizes(groups: int, experts: int) -> tuple[int, ...]:
    """The lengths of the parts of a vector of counts: tokens, load, together, active, entropy."""
    return groups, groups * experts, experts**2, experts + 1, 1
