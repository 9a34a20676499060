"""How a proxy is trained, and the points of its learning curve, in plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dynamoe_search.errors import InvalidInput

Precision = Literal["float32", "bfloat16"]


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
    precision: Precision = "float32"

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
class CurvePoint:
    """How good the network is after a part of its training, and what that part has cost.

    Parameters
    ----------
    fraction : float
        The part that is done, from 0 to 1.
    samples : int
        Images, or windows of text, seen so far.
    flops : float
        Training FLOPs spent so far, counted from the measured mean K.
    loss, accuracy : float
        On the validation split.
    """

    fraction: float
    samples: int
    flops: float
    loss: float
    accuracy: float
