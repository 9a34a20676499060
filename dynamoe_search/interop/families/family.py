"""What the package knows of one family of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dynamoe_search.interop.families.parts import FeedForward, dense, head_width, key_value_heads
from dynamoe_search.interop.keys import Keys
from dynamoe_search.interop.model_config import LayerConfig

TRANSFORMERS = "5.24.0"
"""The version of the public library, transformers, whose classes give defaults and counts."""

Kind = Literal["sparse", "dense", "none"]
"""A feed-forward block: of routed experts, plain, or not there."""


def always_sparse(keys: Keys, place: int) -> Kind:
    """Every layer has experts."""
    return "sparse"


def plain_block(keys: Keys) -> FeedForward:
    """A gated block of hidden width ``intermediate_size`` without biases."""
    return dense(keys, "intermediate_size")


def never(keys: Keys) -> bool:
    """No, for every config of a family."""
    return False


def always(keys: Keys) -> bool:
    """Yes, for every config of a family."""
    return True


def grouped_heads(keys: Keys) -> tuple[int, int, int]:
    """The heads of queries, those of keys and values, and the width of one of queries."""
    return keys.whole("num_attention_heads"), key_value_heads(keys), head_width(keys)


@dataclass(frozen=True)
class Family:
    """A family: the defaults of its keys, and how its layers are counted.

    Parameters
    ----------
    mixer : callable
        From the keys of a layer and its place: what mixes tokens, as a `LayerConfig`.
    routed, plain : callable
        From the keys of a layer: its block of experts, and a plain block.
    defaults : mapping
        The keys that matter and have a default in the class of the public library.
    kind : callable
        From the keys of a layer and its place: which feed-forward block it has.
    experts, active, expert_hidden, dense_hidden : str
        The keys of N, k, and the hidden widths of an expert and of a plain block.
    shared_hidden : str or None
        The key of the hidden width of the shared experts together; None where there is none.
    same : mapping of str to str
        Other names of keys, as in `Keys`.
    nested : tuple of str
        The objects of the config whose keys belong to the model's.
    router : {"softmax", "sigmoid"}
    renormalize, query_key_norm : callable
        From the keys of the model: whether gates of chosen experts sum to 1, and whether queries
        and keys are normalized.
    heads : callable
        From the keys of the model: as `grouped_heads`.
    norms, norm_vectors : int
        The norms of a layer around its blocks, and the vectors of a norm: 2 with a bias.
    matrices : int
        Of an expert.
    outside : callable
        From the keys of the model: the parameters in no layer, without vocabulary and last norm.
    """

    mixer: Callable[[Keys, int], LayerConfig]
    routed: Callable[[Keys], FeedForward]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    plain: Callable[[Keys], FeedForward] = plain_block
    kind: Callable[[Keys, int], Kind] = always_sparse
    experts: str = "num_experts"
    active: str = "num_experts_per_tok"
    expert_hidden: str = "moe_intermediate_size"
    dense_hidden: str = "intermediate_size"
    shared_hidden: str | None = None
    same: Mapping[str, str] = field(default_factory=dict)
    nested: tuple[str, ...] = ()
    router: Literal["softmax", "sigmoid"] = "softmax"
    renormalize: Callable[[Keys], bool] = always
    query_key_norm: Callable[[Keys], bool] = never
    heads: Callable[[Keys], tuple[int, int, int]] = grouped_heads
    norms: int = 2
    norm_vectors: int = 1
    matrices: int = 3
    outside: Callable[[Keys], int] = lambda keys: 0
