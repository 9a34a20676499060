"""The settings of a training run, and the points of its learning curve, in plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dynamoe_search.errors import InvalidInput

Precision = Literal["float32", "bfloat16"]

MOST_SEEDS = 1024
_LARGEST = {
    **{"warmup": 1.0, "final_rate": 1.0, "average": 1.0},
    **{"clip": math.inf, "weight_decay": math.inf},
}


# What each recipe does where a setting is not given.
_RECIPES = {
    "cosine": {"warmup": 0.1, "final_rate": 0.01, "clip": 1.0, "average": 0.0},
    "paper": {"warmup": 0.0, "final_rate": 1.0, "clip": 0.0, "average": 0.0},
}


@dataclass(frozen=True)
class TrainingSettings:
    """How a proxy is trained: with AdamW, on several seeds at once.

    Parameters
    ----------
    epochs : int, optional
        The passes over the training data: runs stop at equal samples. 30 if `flops` is also None.
    flops : float, optional
        The training FLOPs of a seed, counted from the measured K, with routers and trunk: runs stop
        at equal compute, at the first step that reaches them. Give this or `epochs`.
    seeds : int
        The seeds of a block, which are trained at once: a training run has a result for each.
    batch : int
        Images, or windows of text, per step and seed.
    recipe : {"cosine", "paper"}
        The learning rate rises linearly, and falls by half a cosine wave; gradients are clipped.
        Or it is constant, as in the source: that scatters more.
    learning_rate, weight_decay : float
        Of AdamW; the rate at its highest.
    warmup : float, optional
        The first part of the training, from 0 to 1, in which the rate rises.
    final_rate : float, optional
        The rate at the end, over the highest; from 0 to 1.
    clip : float, optional
        The largest norm of the gradient of a seed; 0 for no limit.
    average : float, optional
        The last part of the training, from 0 to 1, over which weights are averaged; 0 for the last
        weights alone.
    evaluations : int
        How many times the validation loss is measured, at equal distances.
    precision : {"float32", "bfloat16"}
        The type of matrix products; weights, routers and losses stay in float32.

    Raises
    ------
    InvalidInput
        If a value is out of its range, `epochs` and `flops` are both given, or the recipe `paper`
        is given what it does not do.

    Examples
    --------
    >>> settings = TrainingSettings(epochs=10)
    >>> settings.warmup, [round(settings.rate_at(part), 3) for part in (0.05, 0.1, 0.55, 1.0)]
    (0.1, [0.5, 1.0, 0.505, 0.01])
    """

    epochs: int | None = None
    flops: float | None = None
    seeds: int = 4
    batch: int = 128
    recipe: Literal["cosine", "paper"] = "cosine"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float | None = None
    final_rate: float | None = None
    clip: float | None = None
    average: float | None = None
    evaluations: int = 10
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.epochs is not None and self.flops is not None:
            raise InvalidInput("epochs and flops are both given; give only one")
        if self.epochs is None and self.flops is None:
            object.__setattr__(self, "epochs", 30)
        for name in ("epochs", "seeds", "batch", "evaluations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput(f"{name} is {value}; it must be at least 1")
        if self.seeds > MOST_SEEDS:
            raise InvalidInput(f"seeds is {self.seeds}; at most {MOST_SEEDS} are trained at once")
        for name in ("flops", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidInput(f"{name} is {value}; it must be above 0")
        if self.precision not in ("float32", "bfloat16"):
            raise InvalidInput(f"precision is {self.precision!r}; it must be float32 or bfloat16")
        if self.recipe not in _RECIPES:
            raise InvalidInput(f"recipe is {self.recipe!r}; choose from {', '.join(_RECIPES)}")
        for name, usual in _RECIPES[self.recipe].items():
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, usual)
            elif self.recipe == "paper" and value != usual:
                raise InvalidInput(
                    f"{name} is {value}, but the recipe paper has none; leave it out"
                )
        for name, most in _LARGEST.items():
            if not 0 <= getattr(self, name) <= most:
                expected = f"from 0 to {most:g}" if most < math.inf else "at least 0"
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be {expected}")
        if math.inf in (self.clip, self.weight_decay):
            raise InvalidInput("clip and weight_decay must be finite")

    def rate_at(self, fraction: float) -> float:
        """The learning rate after a part of the training, over the highest."""
        assert self.warmup is not None
        assert self.final_rate is not None
        if fraction < self.warmup:
            return fraction / self.warmup
        if self.warmup == 1:
            return 1.0
        falling = min(1.0, (fraction - self.warmup) / (1 - self.warmup))
        return self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * falling)) / 2


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
