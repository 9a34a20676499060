"""How noisy the gradient of a network is: what samples agree on, against what they differ in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.evaluation import Precision, predict
from dynamoe_search.models import Model


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
        gradient is lost in noise: where |G|^2 is not above 0.
        """
        return math.inf if self.squared_norm <= 0 else self.trace / self.squared_norm

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
    squares = torch.zeros((), dtype=torch.float64, device=split.device)
    summed: Tensor | None = None
    with _evaluation_mode(model):
        for inputs, labels in islice(split.batches(batch, order), micro_batches):
            gradient = _gradient(model, inputs, labels, precision)
            squares += _squared_norm(gradient)
            summed = gradient if summed is None else summed.add_(gradient)
    assert summed is not None  # there are two micro-batches at least
    # Read from the device once, as waiting for each micro-batch would cost more than its norm.
    mean_square, square_of_mean = torch.stack(
        [squares / micro_batches, _squared_norm(summed / micro_batches)]
    ).tolist()
    trace = (mean_square - square_of_mean) / (1 / batch - 1 / samples)
    squared_norm = square_of_mean - (1 / samples - 1 / len(split)) * trace
    return GradientNoise(squared_norm, trace, samples)


def _gradient(model: Model, inputs: Tensor, labels: Tensor, precision: Precision) -> Tensor:
    """The gradient of the mean loss by all trained parameters, shape (parameters,)."""
    loss = nn.functional.cross_entropy(predict(model, inputs, precision), labels.flatten())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Not `backward`, which would add to the gradients that the parameters have.
    gradients = torch.autograd.grad(loss, trained, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def _squared_norm(gradient: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(gradient, dtype=torch.float64)
    return norm.square()


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, and then every module as it was."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
