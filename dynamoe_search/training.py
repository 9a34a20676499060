"""One trial's training: from a specification and a seed to a measured network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynamoe_search.budgets import training_flops
from dynamoe_search.data import ImageData, ImageSplit
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.models import ClassifierModel, MoELayer
from dynamoe_search.routing import Routing
from dynamoe_search.specification import Specification

_EVALUATION_BATCH = 2048


class NonFiniteLoss(RunFailed):
    """The loss became NaN or infinite."""


class Interrupted(RunFailed):
    """Training was asked to stop before its end."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a proxy is trained: AdamW at a constant learning rate, as in the source.

    Parameters
    ----------
    epochs : int
        Passes over the training images; equal for all candidates of a study.
    batch : int
        Images a step.
    learning_rate, weight_decay : float
        AdamW's.
    evaluations : int
        How often, at equal distances, the validation loss is measured; at most `epochs`.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    evaluations: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "evaluations"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise InvalidInput(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not self.weight_decay >= 0:
            raise InvalidInput(f"weight_decay is {self.weight_decay}; it must be at least 0")


@dataclass(frozen=True)
class Evaluation:
    """How good a network is on a split.

    Parameters
    ----------
    loss : float
        Mean cross-entropy, in nats.
    accuracy : float
        The share of images told right.
    mean_active : tuple of float
        Mean K of each layer of experts; empty for dense networks.
    """

    loss: float
    accuracy: float
    mean_active: tuple[float, ...]


@dataclass(frozen=True)
class CurvePoint:
    """The validation loss after so many samples."""

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
        Images seen.
    flops : float
        Training FLOPs, counted from the measured mean K.
    seconds : float
        Wall time of training and evaluation.
    model : ClassifierModel
        The trained network.
    """

    validation: Evaluation
    curve: tuple[CurvePoint, ...]
    mean_active: tuple[float, ...]
    samples: int
    flops: float
    seconds: float
    model: ClassifierModel


def train(
    specification: Specification,
    data: ImageData,
    settings: TrainingSettings,
    seed: int,
    on_evaluation: Callable[[CurvePoint], None] = lambda point: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Build a network and train it.

    The seed decides the initial weights, the order of the images and the router's noise; the order
    is the same for every specification, so that trainings of one seed can be compared in pairs.

    Parameters
    ----------
    specification : Classifier or DenseClassifier
    data : ImageData
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
    if (specification.inputs, specification.classes) != (data.inputs, data.classes):
        raise InvalidInput(
            f"the network takes {specification.inputs} values and tells {specification.classes}"
            f" classes apart; {data.name} has {data.inputs} and {data.classes}"
        )
    start = time.perf_counter()
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = ClassifierModel(specification).to(data.train.images.device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    evaluations = min(settings.evaluations, settings.epochs)
    evaluated_epochs = {settings.epochs * k // evaluations for k in range(1, evaluations + 1)}
    curve: list[CurvePoint] = []
    for epoch in range(1, settings.epochs + 1):
        model.train()
        for images, labels in data.train.batches(settings.batch, order):
            if should_stop():
                raise Interrupted(f"stopped in epoch {epoch} of {settings.epochs}")
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if epoch in evaluated_epochs:
            validation = evaluate(model, data.validation)
            if not math.isfinite(validation.loss):
                raise NonFiniteLoss(f"the validation loss is {validation.loss} at epoch {epoch}")
            point = CurvePoint(epoch * len(data.train), validation.loss, validation.accuracy)
            curve.append(point)
            on_evaluation(point)
    samples = settings.epochs * len(data.train)
    mean_active = tuple(block.mean_active for block in model.blocks if isinstance(block, MoELayer))
    return TrainingResult(
        validation=validation,
        curve=tuple(curve),
        mean_active=mean_active,
        samples=samples,
        flops=training_flops(specification, samples, mean_active or None),
        seconds=time.perf_counter() - start,
        model=model,
    )


@torch.no_grad()
def evaluate(model: ClassifierModel, split: ImageSplit) -> Evaluation:
    """Measure a network on a split, without the router's noise.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, TopK
    >>> model = ClassifierModel(Classifier(64, 10, 16, 16, Schedule((4, 2)), TopK(k=2)))
    >>> evaluate(model, embedded_digits(seed=0).validation).mean_active
    (2.0, 2.0)
    """
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.images.device)
    right = torch.zeros((), dtype=torch.int64, device=split.images.device)
    active: list[Tensor] = []
    for images, labels in split.batches(_EVALUATION_BATCH):
        report: list[Routing] = []
        logits = model(images, report)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        right += (logits.argmax(dim=1) == labels).sum()
        if report:
            active.append(torch.stack([routing.active.sum() for routing in report]))
    mean_active = (torch.stack(active).sum(dim=0) / len(split)).tolist() if active else []
    return Evaluation(
        loss=float(loss) / len(split),
        accuracy=float(right) / len(split),
        mean_active=tuple(mean_active),
    )
