"""One trial's training: from a specification and a seed to a measured network."""

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
from dynamoe_search.models import Model, MoELayer, build_model, settle_cuts
from dynamoe_search.models.balance import auxiliary_loss
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Balance, Classifier, Experts, Specification
from dynamoe_search.training.evaluation import (
    Evaluation,
    evaluate,
    in_precision,
    predict,
    samples_at_once,
    tokens_a_sample,
)
from dynamoe_search.training.settings import CurvePoint, TrainingSettings

Data = ImageData | TextData


class NonFiniteLoss(RunFailed):
    """The loss became NaN or infinite.

    Parameters
    ----------
    message : str
    flops : float
        What the training had cost by then.
    """

    def __init__(self, message: str, flops: float = 0.0) -> None:
        super().__init__(message)
        self.flops = flops


class Interrupted(RunFailed):
    """Training was asked to stop before its end."""


@dataclass(frozen=True)
class Seconds:
    """The time something took: on the wall, and of this process, all its threads together."""

    wall: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True)
class Times:
    """The time of the parts of a training; what `on_evaluation` takes belongs to neither.

    Parameters
    ----------
    training : Seconds
        Building the network, and the steps.
    evaluation : Seconds
        Settling the controllers, and measuring the validation loss.
    """

    training: Seconds
    evaluation: Seconds


@dataclass(frozen=True)
class TrainingResult:
    """What came of one training.

    Parameters
    ----------
    validation : Evaluation
        At the end of training, on the validation split.
    curve : tuple of CurvePoint
        The last is the end of training.
    mean_active : tuple of float
        Mean K of each layer over the training.
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

    @property
    def seconds(self) -> float:
        """Wall time of training and evaluation."""
        return self.times.training.wall + self.times.evaluation.wall


def train(
    specification: Specification,
    data: Data,
    settings: TrainingSettings,
    seed: int,
    on_evaluation: Callable[[CurvePoint, Model], None] = lambda point, model: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Build a network and train it.

    The seed decides the initial weights, the order of the data and the router's noise; the order is
    the same for every specification, so that trainings of one seed can be compared in pairs.

    Parameters
    ----------
    specification : Classifier or LanguageModel
    data : ImageData or TextData
    settings : TrainingSettings
    seed : int
    on_evaluation : callable
        Called with each point of the curve and the network, which is in evaluation mode. It must
        leave the weights and the random state as they are. What it raises ends the training.
    should_stop : callable
        Asked before every step.

    Raises
    ------
    NonFiniteLoss
        Where a validation loss is not a finite number.
    Interrupted
        Where `should_stop` said so.
    InvalidInput
        Where the network does not fit the data.
    """
    _check_fit(specification, data)
    seed = int(seed)  # those of a table are numpy's, which torch refuses
    stopwatch = _Stopwatch(data.train.device)
    torch.manual_seed(seed)
    model = build_model(specification).to(data.train.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    blocks = specification.blocks
    balance = blocks.balance if isinstance(blocks, Experts) else Balance()
    settling_inputs = _settling_inputs(model, data, seed)
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
        if settling_inputs is not None:
            with in_precision(settings.precision, settling_inputs.device.type):
                settle_cuts(model, settling_inputs)
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
    """One pass over the training data after another, each in an order of its own."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from data.train.batches(size, order)


def _settling_inputs(model: Model, data: Data, seed: int) -> Tensor | None:
    """Training data to settle the controllers on; None where nothing is controlled."""
    if all(getattr(block, "cut", None) is None for block in model.blocks):
        return None
    order = torch.Generator().manual_seed(seed)
    inputs, _ = next(iter(data.train.batches(samples_at_once(data.train), order)))
    return inputs


class _Meter:
    """How far a training is: the part of its samples, or of its FLOPs, and when to look again.

    `fewest_samples` are all that it takes where epochs are given, else those that cost its FLOPs
    with every token at the largest K.

    Counting FLOPs reads the measured K from the device, so it is done only when the next
    evaluation could be due.
    """

    def __init__(self, model: Model, data: Data, settings: TrainingSettings) -> None:
        self.model, self.settings = model, settings
        self.samples = 0
        self.evaluated = 0
        self.look_at = 0
        self.tokens_a_sample = tokens_a_sample(data.train)
        if settings.epochs is not None:
            self.fewest_samples = float(settings.epochs * len(data.train))
        else:
            assert settings.flops is not None  # the settings ask for one of the two
            most = BACKWARD_AND_FORWARD * flops_per_token(model.specification).maximum
            self.fewest_samples = settings.flops / (most * self.tokens_a_sample)

    def mean_active(self) -> tuple[float, ...]:
        """The measured mean K of each layer of experts so far."""
        return tuple(
            block.mean_active for block in self.model.blocks if isinstance(block, MoELayer)
        )

    def flops(self) -> float:
        """What training has cost so far."""
        tokens = self.samples * self.tokens_a_sample
        active = self.mean_active() if self.samples else ()
        return training_flops(self.model.specification, tokens, active or None)

    def fraction(self) -> float:
        """The part done; in FLOPs a little above 1 at the end."""
        if self.settings.flops is not None:
            return self.flops() / self.settings.flops
        return self.samples / self.fewest_samples

    def is_due(self) -> bool:
        """Whether the validation loss shall be measured now; asked after every step."""
        if self.samples < self.look_at:
            return False
        fraction, evaluations = self.fraction(), self.settings.evaluations
        passed = math.floor(min(1.0, fraction) * evaluations + 1e-9)
        due = passed > self.evaluated
        self.evaluated = max(passed, self.evaluated)
        left = (self.evaluated + 1) / evaluations - fraction
        self.look_at = self.samples + int(left * self.fewest_samples)
        return due

    def is_over(self) -> bool:
        """Whether the last evaluation has been."""
        return self.evaluated >= self.settings.evaluations


class _Stopwatch:
    """What each part of a training has taken so far."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.spent: defaultdict[str, Seconds] = defaultdict(Seconds)
        self.read = Seconds(time.perf_counter(), time.process_time())

    def lap(self, part: str) -> None:
        """All that has passed since the last lap belongs to this part."""
        if self.device != "cpu":
            torch.accelerator.synchronize(self.device)  # what is queued there does, too
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
                f"the network takes {specification.inputs} values and tells"
                f" {specification.classes} classes apart; {data.name} has {data.inputs} and"
                f" {data.classes}"
            )
    elif not isinstance(data, TextData):
        raise InvalidInput(f"a language model needs text; {data.name} is images")
    elif (specification.vocabulary, specification.context) != (data.vocabulary, data.context):
        raise InvalidInput(
            f"the network has a vocabulary of {specification.vocabulary} and a context of"
            f" {specification.context}; {data.name} has {data.vocabulary} and {data.context}"
        )
