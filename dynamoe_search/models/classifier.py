"""The image classifier."""

from __future__ import annotations

from torch import Tensor, nn

from dynamoe_search.models.blocks import make_blocks
from dynamoe_search.models.moe import Dispatch
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Classifier


class ClassifierModel(nn.Module):
    """Projection, residual blocks with pre-normalization, head.

    Parameters
    ----------
    specification : Classifier
        With blocks of experts, or dense.
    dispatch : {"sorted", "dense"}
        How experts are computed; see `dynamoe_search.models.dispatch`.

    Examples
    --------
    >>> import torch
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Experts, TopP
    >>> experts = Experts(64, Schedule((3, 1)), TopP(p=0.5))
    >>> model = ClassifierModel(Classifier(64, 10, 32, experts))
    >>> routings = []
    >>> model(torch.randn(5, 64), routings).shape, [r.active.shape for r in routings]
    (torch.Size([5, 10]), [torch.Size([5]), torch.Size([5])])
    """

    def __init__(self, specification: Classifier, dispatch: Dispatch = "sorted") -> None:
        super().__init__()
        s = specification
        self.specification = s
        self.project = nn.Linear(s.inputs, s.width)
        self.blocks = make_blocks(s.blocks, s.width, dispatch)
        self.norms = nn.ModuleList(nn.LayerNorm(s.width) for _ in self.blocks)
        self.last_norm = nn.LayerNorm(s.width)
        self.head = nn.Linear(s.width, s.classes)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Logits, shape (T, classes), of images x, shape (T, inputs).

        Each layer of experts appends its routing to the list `report`, if given.
        """
        x = self.project(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x), report)
        logits: Tensor = self.head(self.last_norm(x))
        return logits
