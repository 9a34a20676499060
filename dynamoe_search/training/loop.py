"""One training run: from a specification and a seed to a measured network."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynamoe_search.budgets import BACKWARD_AND_FORWARD, flops_per_token, training_flops
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.models import Model, MoELayer, build_model, calibrate
from dynamoe_search.models.balance import auxiliary_loss
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Balance, Classifier, Experts, Specification
from dynamoe_search.training.evaluation import (
    Evaluation,
    evaluate,
    in_precision,
    predict,
    samples_at_once,
    tokens_per_sample,
)
from dynamoe_search.training.settings import CurvePoint, TrainingSettings

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
class TrainingResult:
    """The result of one training run.

    Parameters
    ----------
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
    times : Times
        Of training and of evaluation.
    model : ClassifierModel or DecoderModel
        The trained network.
    """

    validation: Evaluation
    curve: tuple[CurvePoint, ...]
    mean_active: tuple[float, ...]
    samples: int
    flops: float
    times: Times
    model: Model


def train(
    specification: Specification,
    data: Data,
    settings: TrainingSettings,
    seed: int,
    on_evaluation: Callable[[CurvePoint, Model], None] = lambda point, model: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Build a network and train it.

    The seed decides the initial weights, the order of the data and the router's noise. The order is
    the same for every specification, so that runs of one seed can be compared in pairs.

    Parameters
    ----------
    specification : Classifier or LanguageModel
    data : ImageData or TextData
    settings : TrainingSettings
    seed : int
    on_evaluation : callable
        Called with each point of the curve and the network, in evaluation mode. It must not change
        the weights or the random state. An exception that it raises ends the run.
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
    """
    _check_fit(specification, data)
    seed = int(seed)  # torch refuses numpy's integers
    stopwatch = _Stopwatch(data.train.device)
    torch.manual_seed(seed)
    model = build_model(specification).to(data.train.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    blocks = specification.blocks
    balance = blocks.balance if isinstance(blocks, Experts) else Balance()
    calibration_inputs = _calibration_inputs(model, data, seed)
    meter = _Meter(model, data, settings)
    curve: list[CurvePoint] = []
    for inputs, labels in _endless_batches(data, settings.batch, seed):
        if should_stop():
            raise Interrupted(f"stopped at {meter.fraction():.0%} of the training")
        routings: list[Routing] = []
        logits = predict(model, inputs, settings.precision, routings)
        loss = nn.functional.cross_entropy(logits, labels.flatten())
        auxiliary = auxiliary_loss(balance, routings)
        optimizer.zero_grad()
        (loss if auxiliary is None else loss + auxiliary).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        meter.samples += len(labels)
        if not meter.is_due():
            continue
        stopwatch.lap("training")
        if calibration_inputs is not None:
            with in_precision(settings.precision, calibration_inputs.device.type):
                calibrate(model, calibration_inputs)
        validation = evaluate(model, data.validation, settings.precision)
        if not math.isfinite(validation.loss):
            raise NonFiniteLoss(
                f"the validation loss is {validation.loss} at {meter.fraction():.0%} of the"
                " training",
                meter.flops(),
            )
        stopwatch.lap("evaluation")
        point = CurvePoint(
            fraction=min(1.0, meter.fraction()),
            samples=meter.samples,
            flops=meter.flops(),
            loss=validation.loss,
            accuracy=validation.accuracy,
        )
        curve.append(point)
        on_evaluation(point, model)
        stopwatch.lap("hook")
        if meter.is_over():
            break
        model.train()
    return TrainingResult(
        validation=validation,
        curve=tuple(curve),
        mean_active=meter.mean_active(),
        samples=meter.samples,
        flops=meter.flops(),
        times=Times(stopwatch.spent["training"], stopwatch.spent["evaluation"]),
        model=model,
    )


def _endless_batches(data: Data, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Passes over the training data without end, each in another order."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from data.train.batches(size, order)


def _calibration_inputs(model: Model, data: Data, seed: int) -> Tensor | None:
    """Training data to calibrate the thresholds on; None if no layer has any."""
    if all(getattr(block, "thresholds", None) is None for block in model.blocks):
        return None
    order = torch.Generator().manual_seed(seed)
    inputs, _ = next(iter(data.train.batches(samples_at_once(data.train), order)))
    return inputs


class _Meter:
    """The progress of a run, in samples or in FLOPs, and when the next evaluation is due.

    `fewest_samples` is the length of the run if epochs are given, else its length if every token
    used the largest K. Counting FLOPs reads the measured K from the device, so it waits until
    `next_count`, the earliest number of samples at which an evaluation can be due.
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

    def mean_active(self) -> tuple[float, ...]:
        """The mean K of each layer of experts, measured so far."""
        return tuple(
            block.mean_active for block in self.model.blocks if isinstance(block, MoELayer)
        )

    def flops(self) -> float:
        """The training FLOPs spent so far."""
        tokens = self.samples * self.tokens_per_sample
        active = self.mean_active() if self.samples else ()
        return training_flops(self.model.specification, tokens, active or None)

    def fraction(self) -> float:
        """The fraction done; counted in FLOPs, it ends a little above 1."""
        if self.settings.flops is not None:
            return self.flops() / self.settings.flops
        return self.samples / self.fewest_samples

    def is_due(self) -> bool:
        """Whether to measure the validation loss now; called after every step."""
        if self.samples < self.next_count:
            return False
        fraction, evaluations = self.fraction(), self.settings.evaluations
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
