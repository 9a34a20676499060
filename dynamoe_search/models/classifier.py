"""The image classifier with experts, and its dense twin."""

from __future__ import annotations

from torch import Tensor, nn

from dynamoe_search.models.moe import Dispatch, MoELayer
from dynamoe_search.routing import Routing
from dynamoe_search.specification import Classifier, DenseClassifier


class ClassifierModel(nn.Module):
    """Projection, residual blocks with pre-normalisation, head.

    Parameters
    ----------
    specification : Classifier or DenseClassifier
        The first gives every block a layer of experts, the second a plain feed-forward network.
    dispatch : {"sorted", "dense"}
        How experts are computed.

    Examples
    --------
    >>> import torch
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import TopP
    >>> model = ClassifierModel(Classifier(64, 10, 32, 64, Schedule((3, 1)), TopP(p=0.5)))
    >>> routings = []
    >>> model(torch.randn(5, 64), routings).shape, [r.active.shape for r in routings]
    (torch.Size([5, 10]), [torch.Size([5]), torch.Size([5])])
    """

    def __init__(
        self, specification: Classifier | DenseClassifier, dispatch: Dispatch = "sorted"
    ) -> None:
        super().__init__()
        s = specification
        self.specification = s
        self.project = nn.Linear(s.inputs, s.width)
        if isinstance(s, DenseClassifier):
            self.blocks = nn.ModuleList(FeedForward(s.width, hidden) for hidden in s.hidden)
        else:
            self.blocks = nn.ModuleList(
                MoELayer(experts, s.width, s.hidden, s.router, dispatch) for experts in s.schedule
            )
        self.norms = nn.ModuleList(nn.LayerNorm(s.width) for _ in self.blocks)
        self.last_norm = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, s.classes)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Logits, shape (T, classes), of images x, shape (T, inputs).

        Where a list is given as `report`, each layer of experts appends its routing to it.
        """
        x = self.project(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x), report)
        logits: Tensor = self.head(self.last_norm(x))
        return logits


class FeedForward(nn.Module):
    """What one expert computes, alone: width -> hidden -> width, ReLU between, no biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(width, hidden, bias=False)
        self.w_out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Shape (T, width), as x; there is no routing to report."""
        output: Tensor = self.w_out(self.w_in(x).relu())
        return output
