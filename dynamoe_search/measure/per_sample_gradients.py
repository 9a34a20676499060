"""The gradient of every sample, and what they come to exactly: for networks that are not large."""

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

# The gradients, and what the network keeps on the way to them, of the samples taken at a time.
_BYTES_AT_ONCE = 2**28


def per_sample_gradient_noise(
    model: Model, split: ImageSplit | TextSplit, samples: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """The gradient noise of a network from the gradient of every sample, by group and layer.

    It is `gradient_noise_by_group` with micro-batches of one sample, for images in a small part of
    its time. Where all samples of the split are taken it is exact, as then nothing is estimated.
    They are taken in chunks that need about 256 MiB, in the precision of the weights. Every expert
    is computed for every token: large networks, and windows of text, are better served by
    micro-batches.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Measured in evaluation mode, with its cuts settled, and left as it was.
    split : ImageSplit or TextSplit
        Usually that of training.
    samples : int, optional
        At least 2, drawn without replacement; all where it is None.
    seed : int
        Decides which are drawn.

    Returns
    -------
    DataFrame
        As `gradient_noise_by_group` gives it.

    Raises
    ------
    InvalidInput
        For fewer than 2 samples, or more than the split has; for a network that `calibrate` has
        still to settle.

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
    order = torch.Generator().manual_seed(seed)
    left = count
    for inputs, labels in split.batches(_samples_at_once(model, split), order):
        gradients, routed = per_sample_gradients(model, inputs[:left], labels[:left])
        moments.add(list(gradients.values()), routed)
        del gradients  # before those of the next chunk are made
        left -= len(labels)
        if left <= 0:
            break
    return moments.table(len(split))


def per_sample_gradients(
    model: Model, inputs: Tensor, labels: Tensor
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The gradient of the loss of each sample alone, by each trained parameter.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Measured in evaluation mode, with its cuts settled, and left as it was.
    inputs, labels : Tensor
        A batch of a split, of n samples. All their gradients are in memory at once.

    Returns
    -------
    gradients : dict of str to Tensor, shape (n, *shape of the parameter)
        By the parameter's name.
    routed : list of Tensor of int64, shape (n, N)
        How many tokens of each sample each expert was given; for each layer of experts.

    Raises
    ------
    InvalidInput
        For a network that `calibrate` has still to settle: without cuts of its own, a sample is
        routed by its neighbors.
    """
    layers = [module for module in model.modules() if isinstance(module, MoELayer)]
    if any(layer.thresholds is not None and bool(layer.thresholds[1].isnan()) for layer in layers):
        raise InvalidInput(
            "the network has no settled cuts, so the routing of a sample hangs on its neighbors;"
            " call calibrate with a batch of training data first"
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
    # The other kernels of attention have no derivative that can be taken for each sample.
    with evaluation_mode(model), _computed_densely(layers), sdpa_kernel(SDPBackend.MATH):
        gradients, routed = of_each(parameters, inputs, labels)
    return gradients, routed


@contextmanager
def _computed_densely(layers: list[MoELayer]) -> Iterator[None]:
    """On the path that `vmap` can follow, and then on the one they were on."""
    were = [layer.dispatch for layer in layers]
    for layer in layers:
        layer.dispatch = "dense"
    try:
        yield
    finally:
        for layer, dispatch in zip(layers, were, strict=True):
            layer.dispatch = dispatch


def _samples_at_once(model: Model, split: ImageSplit | TextSplit) -> int:
    """So many that what is kept of them takes about `_BYTES_AT_ONCE`; at least 1.

    About what was measured: gradients, and a token's values in experts, head, trunk and attention.
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
