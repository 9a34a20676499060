"""What a real model costs: FLOPs per token, memory per rank, and the least times of a machine.

FLOPs count matrix products only, two per multiply-add, as `dynamoe_search.budgets` does: without
norms, softmax, activation functions and the scan of Mamba. Of what is in no layer, only the head
counts. Attention counts what a causal mask leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dynamoe_search.bounds.machine import Machine
from dynamoe_search.bounds.routing import balanced_distinct_experts
from dynamoe_search.budgets import BACKWARD_AND_FORWARD
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_config import LayerConfig, ModelConfig


@dataclass(frozen=True)
class Workload:
    """How a model is used.

    Parameters
    ----------
    context : int
        T, the tokens of a sequence.
    batch : int
        B, the sequences at once, of all ranks together.
    expert_parallel : int
        The ranks that share the routed experts of each layer. Each rank has all other weights, and
        its part of the sequences.
    weight_bytes, cache_bytes : float
        Of one weight, and of one number in the cache of keys and values.
    optimizer_bytes : float
        Of one weight in training, beside the weight: 12 for AdamW's two moments and its own copy
        of the weight, all in float32. Gradients are not counted.
    """

    context: int = 4096
    batch: int = 32
    expert_parallel: int = 1
    weight_bytes: float = 2.0
    cache_bytes: float = 2.0
    optimizer_bytes: float = 12.0

    def __post_init__(self) -> None:
        limits = dict.fromkeys(("context", "batch", "expert_parallel"), (1, 10**9))
        limits |= dict.fromkeys(("weight_bytes", "cache_bytes", "optimizer_bytes"), (0, 1024))
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise InvalidInput(
                    f"{name} is {getattr(self, name)}; it must be from {least} to {most}"
                )


@dataclass(frozen=True)
class Costs:
    """What a model costs in a workload.

    Parameters
    ----------
    prefill_flops, decoding_flops, training_flops : float
        FLOPs per token: `prefill_flops`, `decoding_flops` and `training_flops`.
    weight_bytes, optimizer_bytes, cache_bytes : float
        Bytes of all weights, of the optimizer's state of all weights, and of the caches and states
        of all sequences.
    rank_parameters : int
        The weights of one rank.
    rank_weight_bytes, rank_optimizer_bytes, rank_cache_bytes : float
        Bytes of one rank.
    distinct_experts : tuple of float
        The distinct experts of each layer that one decoding step of B tokens touches with an even
        load, which is the most that independent tokens can touch on average.
    read_parameters : float
        The weights that all ranks together read in that step, each at least once.
    """

    prefill_flops: float
    decoding_flops: float
    training_flops: float
    weight_bytes: float
    optimizer_bytes: float
    cache_bytes: float
    rank_parameters: int
    rank_weight_bytes: float
    rank_optimizer_bytes: float
    rank_cache_bytes: float
    distinct_experts: tuple[float, ...]
    read_parameters: float


def parameter_parts(model: ModelConfig) -> dict[str, tuple[int, int]]:
    """The parameters of each part of a model, all of them and those that one token uses.

    Examples
    --------
    >>> from dynamoe_search.interop.reading import read_config
    >>> parts = parameter_parts(read_config({"model_type": "mixtral"}))
    >>> parts["routed experts"]
    (45097156608, 11274289152)
    """
    layers = model.layers
    parts = {"embedding": (model.embedding_parameters, model.embedding_parameters)}
    parts["mixers"] = (
        sum(layer.mixer_parameters for layer in layers),
        sum(layer.mixer_active for layer in layers),
    )
    parts["routed experts"] = (
        sum(layer.experts * layer.expert_parameters for layer in layers),
        sum(layer.active * layer.expert_parameters for layer in layers),
    )
    always: Mapping[str, int] = {
        "shared experts": sum(layer.shared_parameters for layer in layers),
        "dense blocks": sum(layer.dense_parameters for layer in layers),
        "routers": sum(layer.router_parameters for layer in layers),
        "norms and others": sum(layer.norm_parameters for layer in layers) + model.other_parameters,
        "head": model.head_parameters,
    }
    return parts | {name: (count, count) for name, count in always.items()}


def layer_flops(layer: LayerConfig, width: int, context: float, score_flops: int) -> float:
    """The FLOPs of one token in a layer, where its attention sees `context` tokens.

    Parameters
    ----------
    layer : LayerConfig
    width : int
        Of the model.
    context : float
    score_flops : int
        Of attention per token of context: `layer.score_flops` or `layer.decoding_score_flops`.
    """
    products = layer.mixer_products + layer.always_products
    products += width * layer.experts + layer.active * layer.expert_products
    return 2.0 * products + score_flops * context


def mean_context(context: int, window: int | None, is_causal: bool) -> float:
    """The tokens that a token of a sequence sees on average, itself among them.

    Examples
    --------
    >>> mean_context(4, None, True), mean_context(4, 2, True), mean_context(4, None, False)
    (2.5, 1.75, 4.0)
    """
    if not is_causal:
        return float(context)
    longest = context if window is None else min(window, context)
    return longest * (longest + 1) / 2 / context + (context - longest) * longest / context


def decoding_flops(model: ModelConfig, context: int) -> float:
    """The FLOPs of the token that comes after `context - 1` others, which are cached."""
    seen = [_seen(layer, context) for layer in model.layers]
    return 2.0 * model.vocabulary * model.width + sum(
        layer_flops(layer, model.width, n, layer.decoding_score_flops)
        for layer, n in zip(model.layers, seen, strict=True)
    )


def _seen(layer: LayerConfig, context: int) -> int:
    return context if layer.window is None else min(layer.window, context)


def _forward_flops(model: ModelConfig, context: int) -> float:
    """The FLOPs of a token in all layers, on average over a sequence."""
    is_causal = model.vocabulary > 0
    return sum(
        layer_flops(
            layer, model.width, mean_context(context, layer.window, is_causal), layer.score_flops
        )
        for layer in model.layers
    )


def prefill_flops(model: ModelConfig, context: int) -> float:
    """The FLOPs per token of reading a prompt of `context` tokens; only the last one has logits."""
    return _forward_flops(model, context) + 2.0 * model.vocabulary * model.width / context


def training_flops(model: ModelConfig, context: int) -> float:
    """The FLOPs per token of a training step: three times a forward pass with all logits."""
    head = 2.0 * model.vocabulary * model.width
    return BACKWARD_AND_FORWARD * (_forward_flops(model, context) + head)


def model_costs(model: ModelConfig, workload: Workload) -> Costs:
    """What a model costs in a workload.

    Raises
    ------
    InvalidInput
        Where the experts of a layer are not a multiple of the expert-parallel degree.

    Examples
    --------
    >>> from dynamoe_search.interop.reading import read_config
    >>> costs = model_costs(read_config({"model_type": "mixtral"}), Workload(expert_parallel=8))
    >>> round(costs.rank_weight_bytes / 1e9, 1), round(costs.distinct_experts[0], 4)
    (14.5, 7.9992)
    """
    ranks, w = workload.expert_parallel, workload
    for place in model.moe_layers:
        if model.layers[place].experts % ranks:
            raise InvalidInput(
                f"layer {place} has {model.layers[place].experts} experts, which {ranks} ranks"
                " cannot share evenly; choose a divisor as the expert-parallel degree"
            )
    routed = sum(layer.experts * layer.expert_parameters for layer in model.layers)
    rank_parameters = model.total_parameters - routed + routed // ranks
    cache = w.cache_bytes * sum(
        _seen(layer, w.context) * layer.cache_elements + layer.state_elements
        for layer in model.layers
    )
    distinct = tuple(
        balanced_distinct_experts(layer.experts, layer.active, w.batch) if layer.experts else 0.0
        for layer in model.layers
    )
    # What one token leaves, shrinks as more experts are touched; those of attention likewise.
    unused = sum(
        (layer.total_parameters - layer.active_parameters)
        * ((layer.experts - used) / max(1, layer.experts - layer.active))
        for layer, used in zip(model.layers, distinct, strict=True)
    )
    looked_up = 0 if model.tied else model.embedding_parameters  # a row for each token
    copies = (ranks - 1) * (model.total_parameters - routed - looked_up)
    return Costs(
        prefill_flops(model, w.context),
        decoding_flops(model, w.context),
        training_flops(model, w.context),
        w.weight_bytes * model.total_parameters,
        w.optimizer_bytes * model.total_parameters,
        w.batch * cache,
        rank_parameters,
        w.weight_bytes * rank_parameters,
        w.optimizer_bytes * rank_parameters,
        -(-w.batch // ranks) * cache,
        distinct,
        model.total_parameters - looked_up - unused + copies,
    )


def least_seconds(model: ModelConfig, workload: Workload, machine: Machine) -> tuple[float, float]:
    """The least times of a decoding step of B tokens, and of a training step of B sequences.

    Each rank has a machine, and its part of the work. Decoding reads every weight that a token
    uses, and the caches. Training reads and writes each weight and its optimizer's state once.

    Parameters
    ----------
    model : ModelConfig
    workload : Workload
    machine : Machine
        Of one rank.

    Returns
    -------
    tuple of float
        In seconds, by the roofline: no schedule of the work is faster.
    """
    costs, w = model_costs(model, workload), workload
    ranks = w.expert_parallel
    decoding = machine.least_seconds(
        w.batch * costs.decoding_flops / ranks,
        (w.weight_bytes * costs.read_parameters + costs.cache_bytes) / ranks,
    )
    training = machine.least_seconds(
        w.batch * w.context * costs.training_flops / ranks,
        2 * (w.weight_bytes + w.optimizer_bytes) * costs.rank_parameters,
    )
    return decoding, training
