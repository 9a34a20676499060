"""A model whose loss is known exactly: of a layer, only the number of its active experts counts."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn


class ToyTopKRouter(nn.Module):
    """Looks like a router of transformers."""

    def __init__(self, experts: int, active: int) -> None:
        super().__init__()
        self.num_experts, self.top_k = experts, active


class ToyLayer(nn.Module):
    def __init__(self, experts: int, active: int) -> None:
        super().__init__()
        self.router = ToyTopKRouter(experts, active)


class AdditiveModel(nn.Module):
    """Its loss is the sum of ``costs[l][k_l - 1]``, times the first token of a window.

    With `interaction` the loss of the first two layers also has their product.
    """

    def __init__(self, costs: list[list[float]], active: int, interaction: float = 0.0) -> None:
        super().__init__()
        self.costs, self.interaction = costs, interaction
        self.layers = nn.ModuleList(ToyLayer(len(row), active) for row in costs)
        self.embedding = nn.Embedding(4, 1)
        self.dropout = nn.Dropout()
        self.calls = 0

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        assert not use_cache
        self.calls += 1
        used = [layer.router.top_k for layer in self.layers]
        loss = sum(row[k - 1] for row, k in zip(self.costs, used, strict=True))
        loss += self.interaction * used[0] * used[-1]
        # log(1 + 3 exp(-x)) is the loss of the target 0 where it has the logit x, the others 0.
        wanted = self.dropout(loss * input_ids[:, :1].double()).expand(input_ids.shape)
        logits = torch.zeros(*input_ids.shape, 4, dtype=torch.float64)
        logits[..., 0] = -torch.log((wanted.exp() - 1) / 3)
        return SimpleNamespace(logits=logits)
