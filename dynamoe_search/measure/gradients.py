"""How noisy the gradient of a network is: what samples agree on, against what they differ in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
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
from dynamoe_search.training.settings import CurvePoint, Precision


@dataclass(frozen=True)
class GradientNoise:
    """The size of the gradient of a split's mean loss, and how samples scatter around it.

    A sample is an image, or a window of text, whose loss is the mean over its tokens.

    Parameters
    ----------
    squared_norm : float
        |G|^2, G being the mean gradient of the split's samples. As an estimate it can be below 0.
    trace : float
        tr Sigma: the sum of the variances of the samples' gradients, over all parameters.
    samples : int
        The samples it was measured on.
    """

    squared_norm: float
    trace: float
    samples: int

    @property
    def noise_scale(self) -> float:
        """The simple noise scale tr Sigma / |G|^2 (arXiv 1812.06162, equation 2.9), in samples.

        At a batch of so many samples noise and gradient are equally large. Infinite where the
        gradient is lost in noise: where |G|^2 is not above 0; NaN where there is no noise, either.
        """
        if self.squared_norm <= 0:
            return math.inf if self.trace else math.nan
        return self.trace / self.squared_norm

    @staticmethod
    def average(measurements: Sequence[GradientNoise]) -> GradientNoise:
        """Several measurements as one, so that their noise scale is a ratio of means.

        The mean of ratios would be biased, and infinite as soon as one of them is.

        Parameters
        ----------
        measurements : sequence of GradientNoise
            At least one, such as those of several moments of a training; all count alike.

        Examples
        --------
        >>> GradientNoise.average([GradientNoise(3, 8, 64), GradientNoise(-1, 4, 64)]).noise_scale
        6.0
        """
        count = len(measurements)
        if not count:
            raise InvalidInput("there are no measurements of gradient noise to average")
        return GradientNoise(
            squared_norm=sum(one.squared_norm for one in measurements) / count,
            trace=sum(one.trace for one in measurements) / count,
            samples=sum(one.samples for one in measurements),
        )


def gradient_noise(
    model: Model,
    split: ImageSplit | TextSplit,
    batch: int,
    micro_batches: int,
    seed: int,
    precision: Precision = "float32",
) -> GradientNoise:
    """Estimate the gradient noise of a network from the gradients of a few micro-batches.

    M micro-batches of b samples, B = M b in all, are drawn from the n of the split without
    replacement. With g_i the gradient of the mean loss of micro-batch i and g the mean of the g_i,

        tr Sigma = (mean_i |g_i|^2 - |g|^2) / (1/b - 1/B)
        |G|^2    = |g|^2 - (1/B - 1/n) tr Sigma

    which are unbiased for the sample covariance of the split's n gradients (divisor n - 1) and for
    the squared norm of their mean. They are those of arXiv 1812.06162, appendix A.1, with
    B_small = b and B_big = B, but for 1/n: there the data have no end.

    The network is measured in evaluation mode: without the router's noise, its controllers' cuts
    where they were settled, and the loss without any balance term. It is left as it was, gradients,
    modes and buffers included, and the global random state is not used.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    split : ImageSplit or TextSplit
        Usually that of training.
    batch : int
        b, at least 1.
    micro_batches : int
        M, at least 2.
    seed : int
        Decides which samples are drawn.
    precision : {"float32", "bfloat16"}
        What matrix products are computed in.

    Raises
    ------
    InvalidInput
        Where b or M is too small, or the split has fewer than M b samples.

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
    """The same estimates by group of parameters and layer.

    The gradient of an expert's parameters is 0 for a sample of which no token is routed to it. So
    its noise is the larger the fewer tokens it is given, however alike these are. The quantities
    *per token* are free of that: where c_i of the b T tokens of micro-batch i were routed to it,
    and C of all those of the M' micro-batches that gave it any,

        h_i = g_i b T / c_i,  h = sum_i c_i h_i / C
        tr Sigma' = sum_i c_i |h_i - h|^2 / (M' - 1)
        |G'|^2    = |h|^2 - (1 - B/n) tr Sigma' / C

    For images tr Sigma' is unbiased for the covariance of the gradients of the expert's own images,
    whatever b; |G'|^2 is, where B < n, unbiased but for terms of 1 / C^2. In a text tokens depend
    on each other: tr Sigma' is what a token's would have to be for independent ones to give the
    noise that the windows have. Trunk and router see every token, so their noise per token is the
    other in another unit: that of a window of T tokens is the T-th part.

    Parameters
    ----------
    model, split, batch, micro_batches, seed, precision
        As in `gradient_noise`, which gives the sums over all rows.

    Returns
    -------
    DataFrame
        A row for each ``layer`` (from 1; 0 for what lies outside: projection or embedding, last
        normalization, head) and ``group`` (trunk, router, experts; plain feed-forward blocks count
        as experts), with its trained ``parameters``; ``trace``, ``squared_norm``, ``noise_scale``
        (their ratio, in samples: see `GradientNoise`), ``signal_to_noise`` (squared norm over
        trace: that of one sample; as an estimate it can be below 0); ``token_trace``,
        ``token_squared_norm``, ``token_noise_scale`` (in tokens that use the parameters). These
        three leave out experts that fewer than 2 micro-batches have used.

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


class GradientWatch:
    """Measures the gradient noise over a training: `train` takes it as `on_evaluation`.

    Parameters
    ----------
    measure : callable
        From the network to a table such as `gradient_noise_by_group` gives.
    every : int
        1 measures at each evaluation, 2 at every second, and so on.

    Attributes
    ----------
    seconds : float
        The wall time that measuring has taken so far.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> from dynamoe_search.training.loop import train
    >>> from dynamoe_search.training.settings import TrainingSettings
    >>> data = embedded_digits(seed=0)
    >>> watch = GradientWatch(
    ...     lambda model: gradient_noise_by_group(model, data.train, 8, 4, seed=0), every=2
    ... )
    >>> network = Classifier(64, 10, 8, Experts(8, Schedule((2, 2))))
    >>> settings = TrainingSettings(epochs=4, evaluations=4)
    >>> _ = train(network, data, settings, seed=0, on_evaluation=watch)
    >>> watch.table["fraction"].unique().tolist(), watch.seconds > 0
    ([0.5, 1.0], True)
    """

    def __init__(self, measure: Callable[[Model], pd.DataFrame], every: int = 1) -> None:
        if every < 1:
            raise InvalidInput(f"every is {every}; it must be at least 1, for every evaluation")
        self.measure, self.every = measure, every
        self.seconds = 0.0
        self._evaluations = 0
        self._tables: list[pd.DataFrame] = []

    def __call__(self, point: CurvePoint, model: Model) -> None:
        """Measure, if this evaluation's turn has come."""
        self._evaluations += 1
        if self._evaluations % self.every:
            return
        start = time.perf_counter()
        table = self.measure(model)
        seen = {"fraction": point.fraction, "samples": point.samples, "loss": point.loss}
        self._tables.append(table.assign(**seen)[[*seen, *table]])
        self.seconds += time.perf_counter() - start

    @property
    def table(self) -> pd.DataFrame:
        """All that was measured.

        ``fraction`` of the training, ``samples`` seen and validation ``loss``, and as measured.

        Raises
        ------
        InvalidInput
            Where that is nothing.
        """
        if not self._tables:
            raise InvalidInput(
                f"nothing was measured: of {self._evaluations} evaluations none is the"
                f" {self.every}th; measure more often"
            )
        return pd.concat(self._tables, ignore_index=True)


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
            f"{micro_batches} micro-batches of {batch} samples say nothing about noise; give at"
            " least 2 of at least 1"
        )
    if samples > len(split):
        raise InvalidInput(
            f"{micro_batches} micro-batches of {batch} are {samples:,} samples; the split has"
            f" {len(split):,}"
        )
    order = torch.Generator().manual_seed(seed)
    moments = GradientMoments(model, batch, tokens_per_sample(split))
    parameters = list(trained_parameters(model).values())
    with evaluation_mode(model):
        for inputs, labels in islice(split.batches(batch, order), micro_batches):
            routings: list[Routing] = []
            logits = predict(model, inputs, precision, routings)
            loss = nn.functional.cross_entropy(logits, labels.flatten())
            # Not `backward`, which would add to the gradients that the parameters have.
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            moments.add(
                [gradient[None] for gradient in gradients],
                [routing.chosen.sum(dim=0)[None] for routing in routings],
            )
    return moments
