"""One trial's training: from a specification and a seed to a measured network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dynamoe_search.balance import auxiliary_loss
from dynamoe_search.budgets import BACKWARD_AND_FORWARD, flops_per_token, training_flops
from dynamoe_search.data import ImageData, ImageSplit, TextData, TextSplit
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.models import Model, MoELayer, build_model, settle_cuts
from dynamoe_search.routing import Routing
from dynamoe_search.specification import Balance, Classifier, Experts, Specification

Data = ImageData | TextData

# Without gradients: enough to be fast, few enough for a large vocabulary.
_TOKENS_AT_ONCE = 8192


class NonFiniteLoss(RunFailed):
    """The loss became NaN or infinite."""


class Interrupted(RunFailed):
    """Training was asked to stop before its end."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a proxy is trained: AdamW at a constant learning rate, as in the source.

    Parameters
    ----------
    epochs : int, optional
        Stop after so many passes over the training data: at equal samples. 30 where `flops` is
        None, too.
    flops : float, optional
        Stop at the first step at which training has cost so many FLOPs, counted from the measured
        K, routers and trunk included: at equal compute. Give this or `epochs`.
    batch : int
        Images, or windows of text, a step.
    learning_rate, weight_decay : float
        AdamW's.
    evaluations : int
        How often, at equal distances, the validation loss is measured.
    precision : {"float32", "bfloat16"}
        What matrix products are computed in; weights, routers and losses stay in float32.
    """

    epochs: int | None = None
    flops: float | None = None
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    evaluations: int = 10
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.epochs is not None and self.flops is not None:
            raise InvalidInput("epochs and flops are both given; give the one to stop at")
        if self.epochs is None and self.flops is None:
            object.__setattr__(self, "epochs", 30)
        for name in ("epochs", "batch", "evaluations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} is {value}; it must be at least 1")
        for name in ("flops", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidInput(f"{name} is {value}; it must be above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidInput(f"weight_decay is {self.weight_decay}; it must be at least 0")
        if self.precision not in ("float32", "bfloat16"):
            raise InvalidInput(f"precision is {self.precision!r}; it must be float32 or bfloat16")


@dataclass(frozen=True)
class Evaluation:
    """How good a network is on a split.

    Parameters
    ----------
    loss : float
        Mean cross-entropy, in nats: of an image, or of a token.
    accuracy : float
        The share of images, or of next tokens, told right.
    bits_per_byte : float or None
        The loss of a text in bits a byte of it, comparable across tokenizers; None for images.
    mean_active : tuple of float
        Mean K of each layer of experts; empty for dense networks.
    """

    loss: float
    accuracy: float
    bits_per_byte: float | None
    mean_active: tuple[float, ...]

    @property
    def perplexity(self) -> float:
        """exp(loss); comparable only between networks of one tokenizer."""
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class CurvePoint:
    """The validation loss after a part of the training: a fraction, from 0 to 1, and samples."""

    fraction: float
    samples: int
    loss: float
    accuracy: float


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
    seconds : float
        Wall time of training and evaluation.
    model : ClassifierModel or DecoderModel
        The trained network.
    """

    validation: Evaluation
    curve: tuple[CurvePoint, ...]
    mean_active: tuple[float, ...]
    samples: int
    flops: float
    seconds: float
    model: Model


def train(
    specification: Specification,
    data: Data,
    settings: TrainingSettings,
    seed: int,
    on_evaluation: Callable[[CurvePoint], None] = lambda point: None,
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
        Called with each point of the curve.
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
    start = time.perf_counter()
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
        with _precision(settings, data.train.device):
            logits = model(inputs, routings)
        loss = nn.functional.cross_entropy(_full(logits).flatten(0, -2), labels.flatten())
        auxiliary = auxiliary_loss(balance, routings)
        optimizer.zero_grad()
        (loss if auxiliary is None else loss + auxiliary).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        meter.samples += len(labels)
        if not meter.is_due():
            continue
        if settling_inputs is not None:
            with _precision(settings, data.train.device):
                settle_cuts(model, settling_inputs)
        validation = evaluate(model, data.validation, settings)
        if not math.isfinite(validation.loss):
            raise NonFiniteLoss(
                f"the validation loss is {validation.loss} at {meter.fraction():.0%} of the"
                " training"
            )
        fraction = min(1.0, meter.fraction())
        curve.append(CurvePoint(fraction, meter.samples, validation.loss, validation.accuracy))
        on_evaluation(curve[-1])
        model.train()
        if meter.is_over():
            break
    return TrainingResult(
        validation=validation,
        curve=tuple(curve),
        mean_active=meter.mean_active(),
        samples=meter.samples,
        flops=meter.flops(),
        seconds=time.perf_counter() - start,
        model=model.eval(),
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
    inputs, _ = next(iter(data.train.batches(_samples_at_once(data.train), order)))
    return inputs.clone()  # not a view that keeps all the data


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
        self.tokens_a_sample = _tokens_a_sample(data.train)
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


def _precision(settings: TrainingSettings, device: str) -> AbstractContextManager[None]:
    lower = settings.precision == "bfloat16"
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=lower)


def _full(logits: Tensor) -> Tensor:
    """In float32, or better where they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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


def _tokens_a_sample(split: ImageSplit | TextSplit) -> int:
    return split.context if isinstance(split, TextSplit) else 1


def _samples_at_once(split: ImageSplit | TextSplit) -> int:
    return max(1, _TOKENS_AT_ONCE // _tokens_a_sample(split))


@torch.no_grad()
def evaluate(
    model: Model, split: ImageSplit | TextSplit, settings: TrainingSettings = TrainingSettings()
) -> Evaluation:
    """Measure a network on a split, without the router's noise.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    split : ImageSplit or TextSplit
    settings : TrainingSettings
        Of this only the precision counts.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.schedules import Schedule
    >>> experts = Experts(16, Schedule((4, 2)))
    >>> model = build_model(Classifier(64, 10, 16, experts))
    >>> evaluate(model, embedded_digits(seed=0).validation).mean_active
    (2.0, 2.0)
    """
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.device)
    right = torch.zeros((), dtype=torch.int64, device=split.device)
    active: list[Tensor] = []
    tokens = 0
    for inputs, labels in split.batches(_samples_at_once(split)):
        report: list[Routing] = []
        with _precision(settings, split.device):
            logits = model(inputs, report)
        logits, labels = _full(logits).flatten(0, -2), labels.flatten()
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        right += (logits.argmax(dim=1) == labels).sum()
        tokens += len(labels)
        if report:
            active.append(torch.stack([routing.active.sum() for routing in report]))
    mean_active = (torch.stack(active).sum(dim=0).double() / tokens).tolist() if active else []
    mean_loss = float(loss) / tokens
    bits_per_byte = None
    if isinstance(split, TextSplit):
        bits_per_byte = mean_loss / math.log(2) / split.bytes_per_token
    return Evaluation(
        loss=mean_loss,
        accuracy=float(right) / tokens,
        bits_per_byte=bits_per_byte,
        mean_active=tuple(mean_active),
    )
