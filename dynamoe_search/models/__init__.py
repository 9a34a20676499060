"""Networks: the layer of experts, and the proxy models built from it."""

from dynamoe_search.models.classifier import ClassifierModel
from dynamoe_search.models.dispatch import dense_experts, sorted_experts
from dynamoe_search.models.language import DecoderModel
from dynamoe_search.models.moe import Dispatch, MoELayer, calibrate
from dynamoe_search.specification import Classifier, Specification

Model = ClassifierModel | DecoderModel


def build_model(specification: Specification, dispatch: Dispatch = "sorted") -> Model:
    """The network of a specification, with new random weights."""
    if isinstance(specification, Classifier):
        return ClassifierModel(specification, dispatch)
    return DecoderModel(specification, dispatch)


__all__ = [
    "ClassifierModel",
    "DecoderModel",
    "Dispatch",
    "MoELayer",
    "Model",
    "build_model",
    "dense_experts",
    "calibrate",
    "sorted_experts",
]
