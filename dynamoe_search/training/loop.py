"""One training run: from a specification and a block of seeds to measured networks."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from dynamoe_search.budgets import BACKWARD_AND_FORWARD, flops_per_token, training_flops
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.models import Model, MoELayer, build_model, calibrate, single_network
from dynamoe_search.models.balance import auxiliary_loss
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Balance, Classifier, Dense, Experts, Specification
from dynamoe_search.training.evaluation import (
    Evaluation,
    evaluate_seeds,
    in_precision,
    predict,
    samples_at_once,
    tokens_per_sample,
)
from dynamoe_search.training.flat import FlatWeights, WeightAverage
from dynamoe_search.training.settings import CurvePoint, Precision, TrainingSettings

Data = ImageData | TextData


class NonFiniteLoss(RunFailed):
    """The loss became NaN or infinite, after `flops` training FLOPs."""

    def __init__(self, message: str, flops: float = 0.0) -> None:
        super().__init__(message)
        self.flops = flops


class Interrupted(RunFailed):
    """`should_stop` ended the run."""


@dataclass(frozen=True)
class Seconds:
    """Wall time, and the CPU time of this process over all its threads."""

    wall: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True)
class Times:
    """The time of the two parts of a run; the time in `on_evaluation` is in neither.

    Parameters
    ----------
    training : Seconds
        Building the network, and the steps.
    evaluation : Seconds
        Calibrating the thresholds, and measuring the validation loss.
    """

    training: Seconds
    evaluation: Seconds


@dataclass(frozen=True)
class SeedResult:
    """The result of one seed of a training run.

    Parameters
    ----------
    seed : int
    validation : Evaluation
        On the validation split, at the end.
    curve : tuple of CurvePoint
        The last point is the end.
    mean_active : tuple of float
        Mean K of each layer over all steps.
    samples : int
        Images, or windows of text, seen.
    flops : float
        Training FLOPs, counted from the measured mean K.
    """

    seed: int
    validation: Evaluation
    curve: tuple[CurvePoint, ...]
    mean_active: tuple[float, ...]
    samples: int
    flops: float


@dataclass(frozen=True)
class TrainingResult:
    """The result of one training run.

    Parameters
    ----------
    of_seeds : tuple of SeedResult
        In the order of the seeds.
    times : Times
        Of training and of evaluation, of all seeds together.
    model : ClassifierModel or DecoderModel
        The trained networks of all seeds.
    """

    of_seeds: tuple[SeedResult, ...]
    times: Times
    model: Model

    def network(self, place: int) -> Model:
        """The trained network of one seed."""
        return single_network(self.model, place)


def train(
    specification: Specification,
    data: Data,
    settings: TrainingSettings,
    seeds: Sequence[int],
    on_evaluation: Callable[[Sequence[CurvePoint], Model], None] = lambda points, model: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Build a network per seed, and train them all at once.

    A seed decides the initial weights, the order of the data and the router's noise. Order and
    weights are the same for every specification, as far as it has them, so that runs of one seed
    can be compared in pairs. A seed's result is that of training it alone, up to rounding; and bit
    for bit the same whenever the same seeds are trained together.

    Parameters
    ----------
    specification : Classifier or LanguageModel
    data : ImageData or TextData
    settings : TrainingSettings
        Its number of seeds is not used here.
    seeds : sequence of int
    on_evaluation : callable
        Called with a point of each seed's curve and the networks, in evaluation mode. It must not
        change the weights or the random state. An exception that it raises ends the run.
    should_stop : callable
        Called before every step; True ends the run.

    Raises
    ------
    NonFiniteLoss
        If a validation loss is not finite.
    Interrupted
        If `should_stop` returned True.
    InvalidInput
        If the network does not fit the data.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Experts
    >>> network = Classifier(64, 10, 8, Experts(8, Schedule((3, 1))))
    >>> found = train(network, embedded_digits(seed=0), TrainingSettings(epochs=1), seeds=(7, 8))
    >>> [one.seed for one in found.of_seeds], found.of_seeds[0].samples
    ([7, 8], 1077)
    """
    _check_fit(specification, data)
    seeds = [int(seed) for seed in seeds]  # torch refuses numpy's integers
    stopwatch = _Stopwatch(data.train.device)
    model = build_model(specification, seeds).to(data.train.device)
    weights = FlatWeights(model)
    average = WeightAverage(weights)
    optimizer = torch.optim.AdamW(
        [weights.values], settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    blocks = specification.blocks
    balance = blocks.balance if isinstance(blocks, Experts) else Balance()
    calibration_inputs = _calibration_inputs(model, data)
    meter = _Meter(model, data, settings)
    curves: list[list[CurvePoint]] = [[] for _ in seeds]
    for inputs, labels in _endless_batches(data, settings.batch, seeds):
        if should_stop():
            raise Interrupted(f"stopped at {meter.fraction():.0%} of the training")
        samples = labels.shape[1]
        middle = meter.fraction_at(meter.samples + samples / 2)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.rate_at(middle)
        loss = _loss(model, inputs, labels, balance, settings.precision)
        weights.backward(loss, settings.clip or 0.0)
        optimizer.step()
        meter.samples += samples
        if settings.average and middle > 1 - settings.average:
            average.add()
        if not meter.is_due():
            continue
        stopwatch.lap("training")
        average.swap()
        if calibration_inputs is not None:
            with in_precision(settings.precision, calibration_inputs.device.type):
                calibrate(model, calibration_inputs)
        found = evaluate_seeds(model, data.validation, settings.precision)
        fraction, flops = meter.fraction(), meter.flops()
        _check_finite(found, seeds, fraction, sum(flops))
        stopwatch.lap("evaluation")
        for curve, validation, spent in zip(curves, found, flops, strict=True):
            point = CurvePoint(
                fraction=min(1.0, fraction),
                samples=meter.samples,
                flops=spent,
                loss=validation.loss,
                accuracy=validation.accuracy,
            )
            curve.append(point)
        on_evaluation([curve[-1] for curve in curves], model)
        stopwatch.lap("hook")
        if meter.is_over():
            break
        average.swap()
        model.train()
    results = zip(seeds, found, curves, meter.mean_active(), flops, strict=True)
    return TrainingResult(
        of_seeds=tuple(
            SeedResult(seed, validation, tuple(curve), active, meter.samples, spent)
            for seed, validation, curve, active, spent in results
        ),
        times=Times(stopwatch.spent["training"], stopwatch.spent["evaluation"]),
        model=model,
    )


def _loss(
    model: Model, inputs: Tensor, labels: Tensor, balance: Balance, precision: Precision
) -> Tensor:
    """The sum of the seeds' losses: so each network has the gradient of its own."""
    routings: list[Routing] = []
    logits = predict(model, inputs, precision, routings).flatten(0, 1)
    summed = nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum")
    loss = summed / labels[0].numel()
    auxiliary = auxiliary_loss(balance, routings)
    return loss if auxiliary is None else loss + auxiliary.sum()


def _check_finite(
    found: Sequence[Evaluation], seeds: Sequence[int], fraction: float, flops: float
) -> None:
    for seed, validation in zip(seeds, found, strict=True):
        if not math.isfinite(validation.loss):
            raise NonFiniteLoss(
                f"the validation loss of seed {seed} is {validation.loss} at {fraction:.0%} of the"
                " training",
                flops,
            )


def _endless_batches(
    data: Data, size: int, seeds: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Passes over the training data without end, each in another order, which a seed decides.

    Orders are drawn on the CPU, so that they are the same on every device.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    number = len(data.train)
    while True:
        orders = [torch.randperm(number, generator=generator) for generator in generators]
        yield from data.train.batches(size, torch.stack(orders))


def _calibration_inputs(model: Model, data: Data) -> Tensor | None:
    """Training data to calibrate the thresholds on; None if no layer has any."""
    if all(getattr(block, "thresholds", None) is None for block in model.blocks):
        return None
    inputs, _ = next(_endless_batches(data, samples_at_once(data.train), model.seeds))
    return inputs


class _Meter:
    """The progress of a run, in samples or in FLOPs, and when the next evaluation is due.

    `fewest_samples` is the length of the run if epochs are given, else its length if every token
    used the largest K. Counting FLOPs reads the measured K from the device, so it waits until
    `next_count`, the earliest number of samples at which an evaluation can be due. The FLOPs of a
    run are the mean over its seeds, so that all of them see the same number of samples.
    """

    def __init__(self, model: Model, data: Data, settings: TrainingSettings) -> None:
        self.model, self.settings = model, settings
        self.samples = 0
        self.evaluated = 0
        self.next_count = 0
        self.tokens_per_sample = tokens_per_sample(data.train)
        if settings.epochs is not None:
            self.fewest_samples = float(settings.epochs * len(data.train))
        else:
            assert settings.flops is not None
            most = BACKWARD_AND_FORWARD * flops_per_token(model.specification).maximum
            self.fewest_samples = settings.flops / (most * self.tokens_per_sample)
        self.likely_samples = self.fewest_samples

    def mean_active(self) -> list[tuple[float, ...]]:
        """The mean K of each layer, measured so far, of each seed; empty for a dense network."""
        networks = len(self.model.seeds)
        if isinstance(self.model.specification.blocks, Dense):
            return [()] * networks
        layers = [
            block.mean_active if isinstance(block, MoELayer) else (0.0,) * networks
            for block in self.model.blocks
        ]
        return list(zip(*layers, strict=True))

    def flops(self) -> list[float]:
        """The training FLOPs spent so far, of each seed."""
        tokens = self.samples * self.tokens_per_sample
        return [
            training_flops(self.model.specification, tokens, (self.samples and active) or None)
            for active in self.mean_active()
        ]

    def fraction(self) -> float:
        """The fraction done; counted in FLOPs, it ends a little above 1."""
        if self.settings.flops is not None:
            return fmean(self.flops()) / self.settings.flops
        return self.samples / self.fewest_samples

    def fraction_at(self, samples: float) -> float:
        """The fraction done after some samples, as it is predicted from the last count."""
        return min(1.0, samples / self.likely_samples)

    def is_due(self) -> bool:
        """Whether to measure the validation loss now; called after every step."""
        if self.samples < self.next_count:
            return False
        fraction, evaluations = self.fraction(), self.settings.evaluations
        self.likely_samples = self.samples / fraction
        passed = math.floor(min(1.0, fraction) * evaluations + 1e-9)
        due = passed > self.evaluated
        self.evaluated = max(passed, self.evaluated)
        left = (self.evaluated + 1) / evaluations - fraction
        self.next_count = self.samples + int(left * self.fewest_samples)
        return due

    def is_over(self) -> bool:
        """Whether the last evaluation is done."""
        return self.evaluated >= self.settings.evaluations


class _Stopwatch:
    """The time spent so far in each part of a run."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.spent: defaultdict[str, Seconds] = defaultdict(Seconds)
        self.read = Seconds(time.perf_counter(), time.process_time())

    def lap(self, part: str) -> None:
        """Add the time since the last lap to this part."""
        if self.device != "cpu":
            torch.accelerator.synchronize(self.device)  # includes the work queued there
        now = Seconds(time.perf_counter(), time.process_time())
        before = self.spent[part]
        self.spent[part] = Seconds(
            before.wall + now.wall - self.read.wall, before.cpu + now.cpu - self.read.cpu
        )
        self.read = now


def _check_fit(specification: Specification, data: Data) -> None:
    if isinstance(specification, Classifier):
        if not isinstance(data, ImageData):
            raise InvalidInput(f"a classifier needs images; {data.name} is text")
        if (specification.inputs, specification.classes) != (data.inputs, data.classes):
            raise InvalidInput(
                f"the network takes {specification.inputs} values and has {specification.classes}"
                f" classes; {data.name} has {data.inputs} and {data.classes}"
            )
    elif not isinstance(data, TextData):
        raise InvalidInput(f"a language model needs text; {data.name} is images")
    elif (specification.vocabulary, specification.context) != (data.vocabulary, data.context):
        raise InvalidInput(
            f"the network has a vocabulary of {specification.vocabulary} and a context of"
            f" {specification.context}; {data.name} has {data.vocabulary} and {data.context}"
        )
