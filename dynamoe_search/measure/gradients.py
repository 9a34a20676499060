"""The gradient noise of a network: the mean gradient of samples, and their scatter around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

import pandas as pd
import torch
from torch import nn

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.gradient_moments import GradientMoments, trained_parameters
from dynamoe_search.models import Model
from dynamoe_search.models.routing import Routing
from dynamoe_search.training.evaluation import evaluation_mode, predict, tokens_per_sample
from dynamoe_search.training.settings import Precision


@dataclass(frozen=True)
class GradientNoise:
    """The squared norm of a split's mean gradient, and the variance of its samples' gradients.

    A sample is an image, or a window of text, whose loss is the mean over its tokens.

    Parameters
    ----------
    squared_norm : float
        |G|^2, where G is the mean gradient of the split's samples. An estimate can be below 0.
    trace : float
        tr Sigma, the sum over all parameters of the variances of the samples' gradients.
    samples : int
        The number of samples it was measured on.
    """

    squared_norm: float
    trace: float
    samples: int

    @property
    def noise_scale(self) -> float:
        """The simple noise scale tr Sigma / |G|^2 (arXiv 1812.06162, equation 2.9), in samples.

        It is the batch size at which noise and gradient are equally large. Infinite where |G|^2 is
        not above 0, so that the gradient is lost in noise; NaN where the noise is 0, too.
        """
        if self.squared_norm <= 0:
            return math.inf if self.trace else math.nan
        return self.trace / self.squared_norm


def gradient_noise(
    model: Model,
    split: ImageSplit | TextSplit,
    batch: int,
    micro_batches: int,
    seed: int,
    precision: Precision = "float32",
) -> GradientNoise:
    """Estimate the gradient noise of a network from the gradients of a few micro-batches.

    M micro-batches of b samples, together B = M b, are drawn without replacement from the n samples
    of the split. With g_i the gradient of the mean loss of micro-batch i and g the mean of the g_i,

        tr Sigma = (mean_i |g_i|^2 - |g|^2) / (1/b - 1/B)
        |G|^2    = |g|^2 - (1/B - 1/n) tr Sigma

    which are unbiased for the sample covariance of the split's n gradients (divisor n - 1) and for
    the squared norm of their mean. They are the estimators of arXiv 1812.06162, appendix A.1, with
    B_small = b and B_big = B, except for 1/n: there the data are infinite.

    The network is measured in evaluation mode: without the router's noise, with its controllers'
    calibrated thresholds, and the loss without any balance term. Its gradients, modes and buffers
    are left as they were, and the global random state is not used.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    split : ImageSplit or TextSplit
        Usually the training split.
    batch : int
        b, at least 1.
    micro_batches : int
        M, at least 2.
    seed : int
        Decides which samples are drawn.
    precision : {"float32", "bfloat16"}
        The precision of matrix products.

    Raises
    ------
    InvalidInput
        If b or M is too small, or the split has fewer than M b samples.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> model = build_model(Classifier(64, 10, 16, Experts(16, Schedule((4, 2)))))
    >>> noise = gradient_noise(model, embedded_digits(seed=0).train, 8, micro_batches=16, seed=0)
    >>> noise.samples, noise.trace > 0
    (128, True)
    """
    moments = _moments(model, split, batch, micro_batches, seed, precision)
    trace, squared_norm, _, _ = moments.estimates(len(split)).sum(axis=1).tolist()
    return GradientNoise(squared_norm, trace, batch * micro_batches)


def gradient_noise_by_group(
    model: Model,
    split: ImageSplit | TextSplit,
    batch: int,
    micro_batches: int,
    seed: int,
    precision: Precision = "float32",
) -> pd.DataFrame:
    """Estimate the gradient noise by layer and group of parameters.

    The gradient of an expert is 0 for a sample that routes no token to it. So an expert with fewer
    tokens has more noise, however similar its tokens are. The quantities *per token* do not have
    this effect: where c_i of the b T tokens of micro-batch i were routed to the expert, and C
    tokens in the M' micro-batches that gave it any,

        h_i = g_i b T / c_i,  h = sum_i c_i h_i / C
        tr Sigma' = sum_i c_i |h_i - h|^2 / (M' - 1)
        |G'|^2    = |h|^2 - (1 - B/n) tr Sigma' / C

    For images, tr Sigma' is unbiased for the covariance of the gradients of the expert's own
    images, for any b; for B < n, |G'|^2 is unbiased except for terms of 1 / C^2. In text, tokens
    depend on each other: tr Sigma' is the variance that independent tokens would need to give the
    noise of the windows. Trunk and router see every token, so their noise per token is the same in
    another unit: a window of T tokens has 1 / T of it.

    Parameters
    ----------
    model, split, batch, micro_batches, seed, precision
        As in `gradient_noise`, which estimates the sums over all rows.

    Returns
    -------
    DataFrame
        One row per ``layer`` (from 1; 0 for projection or embedding, last normalization and head)
        and ``group`` (trunk, router, experts; plain feed-forward blocks count as experts): the
        number of its trained ``parameters``; ``trace``, ``squared_norm``, ``noise_scale`` (their
        ratio, in samples: see `GradientNoise`), ``signal_to_noise`` (squared norm over trace, of
        one sample; an estimate can be below 0); ``token_trace``, ``token_squared_norm``,
        ``token_noise_scale`` (in tokens that use the parameters). These last three leave out
        experts that fewer than 2 micro-batches have used.

    Raises
    ------
    InvalidInput
        As in `gradient_noise`.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> model = build_model(Classifier(64, 10, 16, Experts(16, Schedule((4, 2)))))
    >>> table = gradient_noise_by_group(model, embedded_digits(seed=0).train, 8, 16, seed=0)
    >>> table[["layer", "group", "parameters"]].head(4).to_dict("split")["data"]
    [[0, 'trunk', 1242], [1, 'trunk', 32], [1, 'router', 64], [1, 'experts', 2048]]
    """
    return _moments(model, split, batch, micro_batches, seed, precision).table(len(split))


def _moments(
    model: Model,
    split: ImageSplit | TextSplit,
    batch: int,
    micro_batches: int,
    seed: int,
    precision: Precision,
) -> GradientMoments:
    samples = batch * micro_batches
    if batch < 1 or micro_batches < 2:
        raise InvalidInput(
            f"{micro_batches} micro-batches of {batch} samples cannot show noise; give at least 2"
            " micro-batches of at least 1 sample"
        )
    if samples > len(split):
        raise InvalidInput(
            f"{micro_batches} micro-batches of {batch} are {samples:,} samples; the split has"
            f" {len(split):,}"
        )
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    moments = GradientMoments(model, batch, tokens_per_sample(split))
    parameters = list(trained_parameters(model).values())
    with evaluation_mode(model):
        for inputs, labels in islice(split.batches(batch, order), micro_batches):
            routings: list[Routing] = []
            logits = predict(model, inputs, precision, routings)
            loss = nn.functional.cross_entropy(logits, labels.flatten())
            # `backward` would change the gradients that the parameters hold.
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            moments.add(
                [gradient[None] for gradient in gradients],
                [routing.chosen.sum(dim=0)[None] for routing in routings],
            )
    return moments
