"""All measurements of one trained network, as tables."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dynamoe_search.data import ImageData, ImageSplit, TextData
from dynamoe_search.measure.gradients import gradient_noise_by_group
from dynamoe_search.measure.per_sample_gradients import per_sample_gradient_noise
from dynamoe_search.measure.representation import cka_table, rank_table, sum_representations
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization_tables import (
    active_table,
    co_activation_table,
    group_table,
    load_table,
    utilization_table,
)
from dynamoe_search.models import Model
from dynamoe_search.training.settings import Precision

_IMAGES = 1024  # with one gradient each
_WINDOWS, _MICRO_BATCH = 256, 4  # of text, with one gradient per micro-batch


@dataclass(frozen=True)
class NetworkAnalysis:
    """The measurements of a network.

    Parameters
    ----------
    utilization, load, active, groups, co_activation : DataFrame
        On the validation split, by `utilization_table`, `load_table`, `active_table`,
        `group_table` (of classes, or the most frequent tokens) and `co_activation_table`.
    gradients : DataFrame
        On the training split, by layer and group, by `gradient_noise_by_group`.
    ranks, likeness : DataFrame
        On the validation split, by `rank_table` and `cka_table`.
    gradient_samples : int
        The number of images, or windows of text, that the gradients were measured on.
    """

    utilization: pd.DataFrame
    load: pd.DataFrame
    active: pd.DataFrame
    groups: pd.DataFrame
    co_activation: pd.DataFrame
    gradients: pd.DataFrame
    ranks: pd.DataFrame
    likeness: pd.DataFrame
    gradient_samples: int


def analyze_network(
    model: Model, data: ImageData | TextData, seed: int = 0, precision: Precision = "float32"
) -> NetworkAnalysis:
    """Measure a trained network: its use of experts, gradient noise and representations.

    Gradients are of 1,024 images one by one, or of 256 windows of text in micro-batches; of all
    samples where there are fewer.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        With experts; measured in evaluation mode, and left as it was.
    data : ImageData or TextData
    seed : int
        Decides on which samples the gradients are measured.
    precision : {"float32", "bfloat16"}
        The precision of matrix products, except for the gradients of images.

    Raises
    ------
    InvalidInput
        For a dense network.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> model = build_model(Classifier(64, 10, 8, Experts(8, Schedule((3, 1)))))
    >>> found = analyze_network(model, embedded_digits(seed=0))
    >>> found.utilization["experts"].tolist(), found.gradient_samples
    ([3, 1], 1024)
    """
    counts = count_routings(model, data.validation, precision=precision)
    sums = sum_representations(model, data.validation, precision)
    train = data.train
    if isinstance(train, ImageSplit):
        samples = min(_IMAGES, len(train))
        gradients = per_sample_gradient_noise(model, train, samples, seed)
    else:
        batch = min(_MICRO_BATCH, max(1, len(train) // 2))
        micro_batches = min(_WINDOWS, len(train)) // batch
        samples = batch * micro_batches
        gradients = gradient_noise_by_group(model, train, batch, micro_batches, seed, precision)
    return NetworkAnalysis(
        utilization=utilization_table(counts),
        load=load_table(counts),
        active=active_table(counts),
        groups=group_table(counts),
        co_activation=co_activation_table(counts),
        gradients=gradients,
        ranks=rank_table(sums),
        likeness=cka_table(sums),
        gradient_samples=samples,
    )
