"""The settings of a training run, and the points of its learning curve, in plain data."""

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
        The passes over the training data: runs stop at equal samples. 30 if `flops` is also None.
    flops : float, optional
        The training FLOPs, counted from the measured K, with routers and trunk: runs stop at equal
        compute, at the first step that reaches them. Give this or `epochs`.
    batch : int
        Images, or windows of text, per step.
    learning_rate, weight_decay : float
        Of AdamW.
    evaluations : int
        How many times the validation loss is measured, at equal distances.
    precision : {"float32", "bfloat16"}
        The type of matrix products; weights, routers and losses stay in float32.

    Raises
    ------
    InvalidInput
        If a value is out of its range, or `epochs` and `flops` are both given.
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
            raise InvalidInput("epochs and flops are both given; give only one")
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
    """The quality of the network after a part of its run, and the cost so far.

    Parameters
    ----------
    fraction : float
        The part of the run that is done, from 0 to 1.
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
