"""The language model: a decoder with tied embeddings, with or without causal attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynamoe_search.models.blocks import make_blocks
from dynamoe_search.models.moe import Dispatch
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import LanguageModel

_ROTARY_BASE = 10_000.0


class DecoderModel(nn.Module):
    """Embedding, residual blocks with pre-normalization, head tied to the embedding.

    Parameters
    ----------
    specification : LanguageModel
        With blocks of experts, or dense.
    dispatch : {"sorted", "dense"}
        How experts are computed; see `dynamoe_search.models.dispatch`.

    Examples
    --------
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Experts
    >>> experts = Experts(64, Schedule((4, 2)))
    >>> model = DecoderModel(LanguageModel(257, 16, 32, heads=2, blocks=experts))
    >>> model(torch.zeros(3, 16, dtype=torch.int64)).shape
    torch.Size([3, 16, 257])
    """

    def __init__(self, specification: LanguageModel, dispatch: Dispatch = "sorted") -> None:
        super().__init__()
        s = specification
        self.specification = s
        self.embedding = nn.Embedding(s.vocabulary, s.width)
        # The head is the same matrix; this makes the initial logits' standard deviation 1.
        nn.init.normal_(self.embedding.weight, std=s.width**-0.5)
        self.attentions = nn.ModuleList(
            Attention(s.width, s.heads) for _ in range(s.blocks.depth if s.heads else 0)
        )
        self.attention_norms = nn.ModuleList(nn.LayerNorm(s.width) for _ in self.attentions)
        self.blocks = make_blocks(s.blocks, s.width, dispatch)
        self.norms = nn.ModuleList(nn.LayerNorm(s.width) for _ in self.blocks)
        self.last_norm = nn.LayerNorm(s.width)
        rotation = _rotation(s.context, s.width // s.heads) if s.heads else None
        self.rotation: Tensor | None
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, tokens: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Logits of each next token, shape (B, T, vocabulary), for tokens of shape (B, T).

        T is at most the context. Each layer of experts appends its routing of the B T tokens to the
        list `report`, if given.
        """
        x = self.embedding(tokens)
        for layer, (norm, block) in enumerate(zip(self.norms, self.blocks, strict=True)):
            if self.rotation is not None:
                x = x + self.attentions[layer](self.attention_norms[layer](x), self.rotation)
            x = x + block(norm(x).flatten(0, 1), report).view_as(x)
        return nn.functional.linear(self.last_norm(x), self.embedding.weight)


class Attention(nn.Module):
    """Causal attention with rotary positions and without biases.

    Parameters
    ----------
    width, heads : int
        Each head attends over width / heads values, an even number.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.to_output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Shape (B, T, width), as x; `rotation` has shape (2, context, width / heads / 2)."""
        batch, length, width = x.shape
        head = width // self.heads
        projected = self.to_queries_keys_values(x).view(batch, length, 3, self.heads, head)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        cosine, sine = rotation[:, :length]
        attended = nn.functional.scaled_dot_product_attention(
            _rotate(queries, cosine, sine), _rotate(keys, cosine, sine), values, is_causal=True
        )
        output: Tensor = self.to_output(attended.transpose(1, 2).reshape(batch, length, width))
        return output


def _rotation(context: int, width: int) -> Tensor:
    """Cosines and sines of the angles position * base^(-2 i / width); shape (2, T, width / 2)."""
    frequency = _ROTARY_BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(context, dtype=torch.float64), frequency)
    return torch.stack([angle.cos(), angle.sin()]).float()


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Each pair (x_i, x_(i + width / 2)) rotated by its angle (arXiv 2104.09864)."""
    first, second = x.chunk(2, dim=-1)
    rotated = [first * cosine - second * sine, second * cosine + first * sine]
    return torch.cat(rotated, dim=-1).to(x.dtype)
