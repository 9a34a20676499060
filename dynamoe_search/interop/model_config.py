"""A real model in plain numbers: the parameters of each part of each layer. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule

Mixer = Literal["attention", "latent attention", "mamba", "mixture of attention heads", "none"]
"""What moves information between tokens. Latent attention is DeepSeek's MLA."""


@dataclass(frozen=True)
class LayerConfig:
    """One decoder layer.

    Products are multiply-adds of a token with weights: two FLOPs each. They are the parameters of
    matrices and convolutions, without biases and norms.

    Parameters
    ----------
    mixer : str
        What mixes tokens, as in `Mixer`.
    mixer_parameters, mixer_active : int
        All parameters of the mixer, with biases and the norms inside it; and those that one token
        uses, which are fewer only in a mixture of attention heads.
    mixer_products : int
        The products of a token in the mixer.
    norm_parameters : int
        Of the norms around mixer and feed-forward block.
    experts, active : int
        N and k, the routed experts and how many of them a token uses; 0 in a dense layer.
    expert_hidden, expert_parameters, expert_products : int
        The hidden width of one routed expert, its parameters with biases, and its products; 0 in a
        dense layer.
    router_parameters, router_parameters_per_expert : int
        All parameters of the router, and what one expert more or less changes.
    shared_hidden, shared_parameters : int
        The hidden width of all shared experts together, and their parameters with their gate; 0
        without.
    dense_hidden, dense_parameters : int
        Of the plain feed-forward block; 0 without.
    always_products : int
        The products of a token in the plain block or in the shared experts.
    score_flops, decoding_score_flops : int
        The FLOPs of attention for one token and one token of its context, scores and values: in
        training and prefill, and in decoding, which differs only in latent attention.
    cache_elements : int
        The numbers that one token adds to the cache of keys and values.
    state_elements : int
        The numbers of the state of one sequence, of any length: that of Mamba.
    window : int or None
        The longest context that the attention sees; None without a limit.
    """

    mixer: Mixer
    mixer_parameters: int
    mixer_active: int
    mixer_products: int
    norm_parameters: int
    experts: int = 0
    active: int = 0
    expert_hidden: int = 0
    expert_parameters: int = 0
    expert_products: int = 0
    router_parameters: int = 0
    router_parameters_per_expert: int = 0
    shared_hidden: int = 0
    shared_parameters: int = 0
    dense_hidden: int = 0
    dense_parameters: int = 0
    always_products: int = 0
    score_flops: int = 0
    decoding_score_flops: int = 0
    cache_elements: int = 0
    state_elements: int = 0
    window: int | None = None

    @property
    def total_parameters(self) -> int:
        """All parameters of the layer."""
        return (
            self.mixer_parameters
            + self.norm_parameters
            + self.experts * self.expert_parameters
            + self.router_parameters
            + self.shared_parameters
            + self.dense_parameters
        )

    @property
    def active_parameters(self) -> int:
        """The parameters that one token uses."""
        unused = (self.experts - self.active) * self.expert_parameters
        return self.total_parameters - unused - (self.mixer_parameters - self.mixer_active)

    def with_experts(self, experts: int, active: int) -> LayerConfig:
        """The layer with other numbers of experts; all else stays.

        Raises
        ------
        InvalidInput
            Where the layer is dense, or not 1 <= active <= experts.
        """
        if not self.experts:
            raise InvalidInput("the layer is dense: its number of experts cannot be changed")
        if not 1 <= active <= experts:
            raise InvalidInput(
                f"a token cannot use {active} of {experts} experts; use 1 to {experts}"
            )
        more = (experts - self.experts) * self.router_parameters_per_expert
        return replace(
            self, experts=experts, active=active, router_parameters=self.router_parameters + more
        )


@dataclass(frozen=True)
class ModelConfig:
    """A model in plain numbers, as `dynamoe_search.read_config` reads it.

    Parameters
    ----------
    family : str
        The ``model_type`` of the config.
    config : mapping
        The JSON object as it was read; of a model with several parts, that of its language model.
        Nothing in it is trusted, and it is never changed.
    width : int
        d.
    vocabulary : int
        0 where there is none, as in an encoder of images.
    heads, key_value_heads : int
        Of attention.
    head_width : int
        Of a query.
    query_key_norm : bool
        Whether queries and keys are normalized.
    matrices : int
        Of one expert: 3 where it is gated, 2 where it is plain.
    router : {"softmax", "sigmoid"}
        How logits become gates.
    renormalize : bool
        Whether the gates of the chosen experts are made to sum to 1.
    embedding_parameters : int
        The table of the vocabulary.
    head_parameters : int
        The output head; 0 where the table of the vocabulary is the head, too.
    other_parameters : int
        What is in no layer: the last norm, projections of images.
    layers : tuple of LayerConfig
    notes : tuple of str
        What the counts leave out, or take as a default, in sentences.
    """

    family: str
    config: Mapping[str, Any]
    width: int
    vocabulary: int
    heads: int
    key_value_heads: int
    head_width: int
    query_key_norm: bool
    matrices: int
    router: Literal["softmax", "sigmoid"]
    renormalize: bool
    embedding_parameters: int
    head_parameters: int
    other_parameters: int
    layers: tuple[LayerConfig, ...]
    notes: tuple[str, ...] = ()

    @property
    def total_parameters(self) -> int:
        """All parameters."""
        outside = self.embedding_parameters + self.head_parameters + self.other_parameters
        return outside + sum(layer.total_parameters for layer in self.layers)

    @property
    def active_parameters(self) -> int:
        """The parameters that one token uses, with the whole table of the vocabulary."""
        unused = sum(layer.total_parameters - layer.active_parameters for layer in self.layers)
        return self.total_parameters - unused

    @property
    def active_parameters_without_embedding(self) -> int:
        """The active parameters without the input embedding.

        A table that is the output head, too, still counts once.
        """
        return self.active_parameters - (0 if self.tied else self.embedding_parameters)

    @property
    def tied(self) -> bool:
        """Whether the table of the vocabulary is the output head, too."""
        return self.vocabulary > 0 and self.head_parameters == 0

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.layers)

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """The places of the layers with experts, from 0."""
        return tuple(place for place, layer in enumerate(self.layers) if layer.experts)

    @property
    def schedule(self) -> Schedule:
        """The experts N of each layer, 0 where it is dense; `InvalidInput` where all are dense."""
        return Schedule(tuple(layer.experts for layer in self.layers))

    @property
    def active_schedule(self) -> Schedule:
        """The active experts k of each layer, 0 where it is dense."""
        return Schedule(tuple(layer.active for layer in self.layers))

    @property
    def expert_total(self) -> int:
        """The routed experts of all layers together."""
        return sum(layer.experts for layer in self.layers)

    @property
    def shared_experts(self) -> int:
        """The shared experts per layer, in units of a routed expert's width, at least 1; or 0."""
        for layer in self.layers:
            if layer.shared_hidden:
                return max(1, layer.shared_hidden // layer.expert_hidden)
        return 0
