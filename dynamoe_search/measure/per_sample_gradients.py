"""The gradient of every sample, and its exact moments, for networks that are not large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dynamoe_search.budgets import parameter_count
from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.gradient_moments import GradientMoments, trained_parameters
from dynamoe_search.models import Model, MoELayer
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Classifier, LanguageModel
from dynamoe_search.training.evaluation import evaluation_mode, tokens_per_sample

_BYTES_AT_ONCE = 2**28  # for the gradients and activations of the samples of one chunk


def per_sample_gradient_noise(
    model: Model, split: ImageSplit | TextSplit, samples: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """The gradient noise of a network by layer and group, from the gradient of every sample.

    It is `gradient_noise_by_group` with micro-batches of one sample; for images it takes a small
    part of the time. With all samples of the split it is exact, since nothing is estimated. Samples
    are computed in chunks of about 256 MiB, in the precision of the weights. Every expert is
    computed for every token, so micro-batches are faster for large networks and for text.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Measured in evaluation mode, with calibrated thresholds, and left as it was.
    split : ImageSplit or TextSplit
        Usually the training split.
    samples : int, optional
        The number of samples, at least 2, drawn without replacement; by default all.
    seed : int
        Decides which samples are drawn.

    Returns
    -------
    DataFrame
        As `gradient_noise_by_group` gives it.

    Raises
    ------
    InvalidInput
        For fewer than 2 samples, or more than the split has; for a network whose thresholds are
        not calibrated.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> model = build_model(Classifier(64, 10, 16, Experts(16, Schedule((4, 2)))))
    >>> table = per_sample_gradient_noise(model, embedded_digits(seed=0).train, samples=128)
    >>> table["group"].tolist()
    ['trunk', 'trunk', 'router', 'experts', 'trunk', 'router', 'experts']
    """
    count = len(split) if samples is None else samples
    if not 2 <= count <= len(split):
        raise InvalidInput(
            f"samples is {count:,}; it must be from 2 to the {len(split):,} of the split"
        )
    moments = GradientMoments(model, batch=1, tokens=tokens_per_sample(split))
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    left = count
    for inputs, labels in split.batches(_samples_at_once(model, split), order):
        gradients, routed = per_sample_gradients(model, inputs[:left], labels[:left])
        moments.add(list(gradients.values()), routed)
        del gradients  # frees the memory for the next chunk
        left -= len(labels)
        if left <= 0:
            break
    return moments.table(len(split))


def per_sample_gradients(
    model: Model, inputs: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The gradient of each sample's own loss, for each trained parameter.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Measured in evaluation mode, with calibrated thresholds, and left as it was.
    inputs, labels : Tensor
        A batch of n samples. All their gradients are in memory at once.

    Returns
    -------
    gradients : dict of str to Tensor, shape (n, *shape of the parameter)
        By the parameters' names.
    routed : list of Tensor of int64, shape (n, N)
        The number of tokens of each sample that each expert was given, one tensor per layer of
        experts.

    Raises
    ------
    InvalidInput
        For a network whose thresholds are not calibrated.
    """
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    if any(
        layer.thresholds is not None and bool(layer.thresholds[0, 1].isnan()) for layer in layers
    ):
        raise InvalidInput(
            "the network's thresholds are not calibrated, so the routing of a sample depends on its"
            " neighbors; call calibrate with a batch of training data first"
        )

    def loss(
        parameters: dict[str, Tensor], one: Tensor, label: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        report: list[Routing] = []
        logits: Tensor = functional_call(model, parameters, (one[None], report))
        routed = [routing.chosen.sum(dim=0) for routing in report]
        return nn.functional.cross_entropy(logits.flatten(0, -2), label.flatten()), routed

    of_each = vmap(grad(loss, has_aux=True), in_dims=(None, 0, 0))
    parameters = {name: tensor.detach() for name, tensor in trained_parameters(model).items()}
    # Other attention kernels do not support vmap over their gradients.
    with evaluation_mode(model), _masked(layers), sdpa_kernel(SDPBackend.MATH):
        gradients, routed = of_each(parameters, inputs, labels)
    return gradients, routed


@contextmanager
def _masked(layers: list[MoELayer]) -> Iterator[None]:
    """Compute all experts, masked, which `vmap` supports, and restore the layers' own dispatch."""
    were = [layer.dispatch for layer in layers]
    for layer in layers:
        layer.dispatch = "masked"
    try:
        yield
    finally:
        for layer, dispatch in zip(layers, were, strict=True):
            layer.dispatch = dispatch


def _samples_at_once(model: Model, split: ImageSplit | TextSplit) -> int:
    """The number of samples whose gradients and activations take about `_BYTES_AT_ONCE`.

    The constants were fitted to measured memory: gradients, and per token the values in experts,
    head, trunk and attention.
    """
    s, count = model.specification, parameter_count(model.specification)
    match s:
        case Classifier():
            outputs, attended = s.classes, 0
        case LanguageModel():
            outputs, attended = s.vocabulary, s.heads * s.context
    hidden = count.experts // (2 * s.width)
    of_token = 8 * (hidden + outputs) + s.blocks.depth * (32 * s.width + 6 * attended)
    values = count.total * 5 // 4 + tokens_per_sample(split) * of_token
    return max(1, _BYTES_AT_ONCE // (values * model.last_norm.weight.element_size()))
