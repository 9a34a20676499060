"""Networks: the layer of experts, and the proxy models built of it."""

from dynamoe_search.models.classifier import ClassifierModel
from dynamoe_search.models.dispatch import dense_experts, sorted_experts
from dynamoe_search.models.moe import Dispatch, MoELayer

__all__ = ["ClassifierModel", "Dispatch", "MoELayer", "dense_experts", "sorted_experts"]
