"""The image classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dynamoe_search.models.blocks import make_blocks
from dynamoe_search.models.layers import Linear, make_norm, without_seeds
from dynamoe_search.models.moe import Dispatch
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Classifier


class ClassifierModel(nn.Module):
    """Projection, residual blocks with pre-normalization, head; of S seeds at once.

    Parameters
    ----------
    specification : Classifier
        With blocks of experts, plain blocks, or both.
    seeds : sequence of int
        One network each: its initial weights and its router's noise depend on its seed alone.
    dispatch : {"auto", "masked", "sorted"}
        How experts are computed; see `dynamoe_search.models.dispatch`.

    Examples
    --------
    >>> import torch
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Experts, TopP
    >>> experts = Experts(64, Schedule((3, 1)), TopP(p=0.5))
    >>> model = ClassifierModel(Classifier(64, 10, 32, experts), seeds=(7, 8))
    >>> routings = []
    >>> model(torch.randn(2, 5, 64), routings).shape, [r.active.shape for r in routings]
    (torch.Size([2, 5, 10]), [torch.Size([2, 5]), torch.Size([2, 5])])
    """

    def __init__(
        self, specification: Classifier, seeds: Sequence[int] = (0,), dispatch: Dispatch = "auto"
    ) -> None:
        super().__init__()
        s = specification
        self.specification, self.seeds = s, tuple(seeds)
        self.project = Linear(seeds, "project", s.inputs, s.width)
        self.blocks = make_blocks(seeds, s.blocks, s.width, dispatch)
        self.norms = nn.ModuleList(make_norm(s.blocks.style, seeds, s.width) for _ in self.blocks)
        self.last_norm = make_norm(s.blocks.style, seeds, s.width)
        self.head = Linear(seeds, "head", s.width, s.classes)

    def forward(self, x: Tensor, report: list[Routing] | None = None) -> Tensor:
        """Logits, shape (S, T, classes), of images x, shape (S, T, inputs).

        Each layer of experts appends its routing to the list `report`, if given. A single network
        also takes images without a seed axis; then logits and routings have none.
        """
        if x.dim() == 2:
            return without_seeds(self, x, report)
        x = self.project(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x), report)
        logits: Tensor = self.head(self.last_norm(x))
        return logits
