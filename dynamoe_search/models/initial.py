"""Initial weights: each tensor, and each expert, is drawn from a generator of its own.

The generator is keyed by the seed, the tensor's name and the number of the expert. So two networks
of one seed share all tensors of the same name and shape, and all experts that both have: what
differs between them is their schedule, and not their luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor


def generator_for(seed: int, name: str, expert: int = 0) -> torch.Generator:
    """A generator on the CPU that depends on these three and on nothing else.

    Examples
    --------
    >>> first, again = (torch.rand(1, generator=generator_for(7, "head")) for _ in range(2))
    >>> bool(first == again)
    True
    """
    key = blake2b(f"{seed} {expert} {name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)


def draw_uniform(weight: Tensor, seeds: Sequence[int], name: str, inputs: int) -> None:
    """Draw a weight of S networks between -1 and 1 over the square root of its inputs.

    Parameters
    ----------
    weight : Tensor, shape (S, ...)
        Changed in place.
    seeds : sequence of int
        Of length S.
    name : str
        The same in all networks.
    inputs : int
        How many values one output of the layer is a sum over.
    """
    draw_experts(weight[:, None], seeds, name, inputs)


@torch.no_grad()
def draw_experts(weight: Tensor, seeds: Sequence[int], name: str, inputs: int) -> None:
    """As `draw_uniform`, each expert by itself; the weight has the shape (S, N, ...)."""
    bound = inputs**-0.5
    for of_seed, seed in zip(weight, seeds, strict=True):
        for expert, of_expert in enumerate(of_seed):
            of_expert.uniform_(-bound, bound, generator=generator_for(seed, name, expert))
