"""Networks: the layer of experts, and the proxy models built from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dynamoe_search.models.classifier import ClassifierModel
from dynamoe_search.models.dispatch import masked_experts, sorted_experts
from dynamoe_search.models.language import DecoderModel
from dynamoe_search.models.moe import Dispatch, MoELayer, calibrate
from dynamoe_search.specification import Classifier, Specification

Model = ClassifierModel | DecoderModel


def build_model(
    specification: Specification, seeds: Sequence[int] = (0,), dispatch: Dispatch = "auto"
) -> Model:
    """The networks of a specification with their initial weights, one per seed.

    Two networks of one seed share all tensors of the same name and shape, and all experts that
    both have.
    """
    if isinstance(specification, Classifier):
        return ClassifierModel(specification, seeds, dispatch)
    return DecoderModel(specification, seeds, dispatch)


@torch.no_grad()
def single_network(model: Model, place: int) -> Model:
    """A copy of one of the networks of a model, by the place of its seed; in the same mode."""
    alone = build_model(model.specification, model.seeds[place : place + 1])
    alone.to(model.last_norm.weight)
    state = {name: tensor[place : place + 1] for name, tensor in model.state_dict().items()}
    alone.load_state_dict(state)
    return alone.train(model.training)


__all__ = [
    "ClassifierModel",
    "DecoderModel",
    "Dispatch",
    "MoELayer",
    "Model",
    "build_model",
    "calibrate",
    "masked_experts",
    "single_network",
    "sorted_experts",
]
