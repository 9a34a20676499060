"""The language model: a decoder with tied embeddings, with or without causal attention."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dynamoe_search.models.blocks import make_blocks
from dynamoe_search.models.initial import generator_for
from dynamoe_search.models.layers import Linear, RMSNorm, make_norm, without_seeds
from dynamoe_search.models.moe import Dispatch
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import LanguageModel

_ROTARY_BASE = 10_000.0


class DecoderModel(nn.Module):
    """Embedding, residual blocks with pre-normalization, head tied to the embedding; of S seeds.

    Parameters
    ----------
    specification : LanguageModel
        With blocks of experts, plain blocks, or both.
    seeds : sequence of int
        One network each: its initial weights and its router's noise depend on its seed alone.
    dispatch : {"auto", "masked", "sorted"}
        How experts are computed; see `dynamoe_search.models.dispatch`.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Experts
    >>> experts = Experts(64, Schedule((4, 2)))
    >>> model = DecoderModel(LanguageModel(257, 16, 32, heads=2, blocks=experts))
    >>> model(torch.zeros(1, 3, 16, dtype=torch.int64)).shape
    torch.Size([1, 3, 16, 257])
    """

    def __init__(
        self, specification: LanguageModel, seeds: Sequence[int] = (0,), dispatch: Dispatch = "auto"
    ) -> None:
        super().__init__()
        s = specification
        self.specification, self.seeds = s, tuple(seeds)
        norm = partial(make_norm, s.blocks.style, seeds, s.width)
        self.embedding = Embedding(seeds, s.vocabulary, s.width)
        self.attentions = nn.ModuleList(
            Attention(
                seeds,
                f"attentions.{layer}",
                s.width,
                s.heads,
                s.key_value_heads,
                s.query_key_norm,
            )
            for layer in range(s.blocks.depth if s.heads else 0)
        )
        self.attention_norms = nn.ModuleList(norm() for _ in self.attentions)
        self.blocks = make_blocks(seeds, s.blocks, s.width, dispatch)
        self.norms = nn.ModuleList(norm() for _ in self.blocks)
        self.last_norm = norm()
        rotation = _rotation(s.context, s.width // s.heads) if s.heads else None
        self.rotation: Tensor | None
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, tokens: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Logits of each next token, shape (S, B, T, vocabulary), for tokens of shape (S, B, T).

        T is at most the context. Each layer of experts appends its routing of the B T tokens to the
        list `report`, if given. A single network also takes tokens without a seed axis; then logits
        and routings have none.
        """
        if tokens.dim() == 2:
            return without_seeds(self, tokens, report)
        x = self.embedding(tokens.flatten(1))
        visible = None
        if self.specification.documents == "separate":
            visible = _same_document(tokens.flatten(0, 1), self.specification.vocabulary - 1)
        for layer, (norm, block) in enumerate(zip(self.norms, self.blocks, strict=True)):
            if self.rotation is not None:
                normal = self.attention_norms[layer](x)
                x = x + self.attentions[layer](normal, self.rotation, tokens.shape[-1], visible)
            x = x + block(norm(x), report)
        logits = torch.bmm(self.last_norm(x), self.embedding.weight.mT)
        return logits.view(*tokens.shape, self.specification.vocabulary)


class Embedding(nn.Module):
    """The vector of each token, of S networks."""

    def __init__(self, seeds: Sequence[int], vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(len(seeds), vocabulary, width))
        # The head is the same matrix; this makes the initial logits' standard deviation 1.
        with torch.no_grad():
            for of_seed, seed in zip(self.weight, seeds, strict=True):
                of_seed.normal_(std=width**-0.5, generator=generator_for(seed, "embedding"))

    def forward(self, tokens: Tensor) -> Tensor:
        """Shape (S, T, width), for tokens of shape (S, T)."""
        networks, vocabulary, _ = self.weight.shape
        first = vocabulary * torch.arange(networks, device=tokens.device)
        return nn.functional.embedding(tokens + first[:, None], self.weight.flatten(0, 1))


class Attention(nn.Module):
    """Causal attention with rotary positions and without biases.

    Parameters
    ----------
    seeds : sequence of int
        Of the S networks.
    name : str
        Decides the initial weights, with the seed.
    width, heads : int
        Each head attends over width / heads values, an even number.
    key_value_heads : int, optional
        The heads of keys and values, each shared by as many heads of queries; by default `heads`.
    normalize : bool
        Whether all queries of a token, and all its keys, are normalized before they are rotated.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        name: str,
        width: int,
        heads: int,
        key_value_heads: int | None = None,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.key_value_heads = heads, key_value_heads or heads
        self.widths = [width, *[width // heads * self.key_value_heads] * 2]
        projection = f"{name}.to_queries_keys_values"
        self.to_queries_keys_values = Linear(seeds, projection, width, sum(self.widths), bias=False)
        self.query_norm = RMSNorm(seeds, width) if normalize else None
        self.key_norm = RMSNorm(seeds, self.widths[1]) if normalize else None
        self.to_output = Linear(seeds, f"{name}.to_output", width, width, bias=False)

    def forward(
        self, x: Tensor, rotation: Tensor, length: int, visible: Tensor | None = None
    ) -> Tensor:
        """Shape (S, B T, width), as x: B windows of T = `length` tokens each.

        `rotation` has the shape (context, width / heads / 2, 2): real and imaginary parts.
        `visible`, of shape (S B, 1, T, T), says which tokens each token sees: without it, itself
        and all before it.
        """
        networks, tokens, width = x.shape
        queries, keys, values = self.to_queries_keys_values(x).split(self.widths, dim=-1)
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        windows, of_head = networks * tokens // length, width // self.heads
        queries, keys, values = (
            part.view(windows, length, part.shape[-1] // of_head, of_head).transpose(1, 2)
            for part in (queries, keys, values)
        )
        queries, keys = _rotate(queries, rotation), _rotate(keys, rotation)
        if self.key_value_heads < self.heads:
            of_each = self.heads // self.key_value_heads
            keys, values = (part.repeat_interleave(of_each, dim=1) for part in (keys, values))
        attended = nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=visible, is_causal=visible is None
        )
        output: Tensor = self.to_output(attended.transpose(1, 2).reshape(networks, tokens, width))
        return output


def _same_document(tokens: Tensor, end: int) -> Tensor:
    """Which tokens each token sees: itself and those before it, back to the last end of a document.

    Shape (B, 1, T, T), for tokens of shape (B, T). So no token sees another document's text: the
    end of one document is where the next begins.
    """
    document = (tokens == end).cumsum(dim=1)
    return (document[:, None, :, None] == document[:, None, None, :]).tril()


def _rotation(context: int, width: int) -> Tensor:
    """exp(i angle) of the angles position * base^(-2 j / width); shape (T, width / 2, 2)."""
    frequency = _ROTARY_BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(context, dtype=torch.float64), frequency)
    rotation = torch.stack([angle.cos(), angle.sin()], dim=-1)
    return rotation.to(torch.get_default_dtype())


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Each pair (x_2j, x_(2j + 1)) rotated by its angle (arXiv 2104.09864)."""
    pairs = x.to(rotation.dtype).reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    rotated = torch.view_as_complex(pairs) * torch.view_as_complex(rotation[: x.shape[-2]])
    return torch.view_as_real(rotated).flatten(-2).to(x.dtype)
