"""What a trial looks at while its network is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import optuna

from dynamoe_search.analysis import GradientNoise, gradient_noise
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import RunFailed
from dynamoe_search.models import Model
from dynamoe_search.search.plan import Plan
from dynamoe_search.search.records import Claim
from dynamoe_search.training import CurvePoint, NonFiniteLoss

_MICRO_BATCH, _MICRO_BATCHES = 32, 8


class Pruned(RunFailed):
    """The training was ended early, as it is not promising."""


class Observation:
    """Follows one training: reports its losses, ends it early, measures what the study asks for.

    Parameters
    ----------
    plan : Plan
    data : ImageData or TextData
    trial : Trial
    claim : Claim
    on_fraction : callable
        Told how far the training is, from 0 to 1.
    """

    def __init__(
        self,
        plan: Plan,
        data: ImageData | TextData,
        trial: optuna.Trial,
        claim: Claim,
        on_fraction: Callable[[float], None],
    ) -> None:
        self.study_file, self.data = plan.study, data
        self.trial, self.claim = trial, claim
        self.on_fraction = on_fraction
        self.curve: list[CurvePoint] = []
        self.noise: list[GradientNoise] = []
        self.wall = self.cpu = 0.0

    def look(self, point: CurvePoint, model: Model) -> None:
        """Take note of a point of the learning curve.

        Raises
        ------
        Pruned
            Where the training shall end here.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        self.curve.append(point)
        self.on_fraction(point.fraction)
        if self.study_file.search.measures("gradient_noise"):
            self.noise.append(self._gradient_noise(model))
        unpromising = self._is_unpromising(point)
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        if unpromising:
            raise Pruned(f"pruned at {point.fraction:.0%} of the training")

    def found(self) -> dict[str, Any]:
        """What has been measured, as JSON.

        Raises
        ------
        NonFiniteLoss
            Where that is not a number.
        """
        if not self.noise:
            return {}
        mean = GradientNoise.average(self.noise)
        if math.isnan(mean.noise_scale):
            raise NonFiniteLoss("the gradient noise is nan, though the loss is finite")
        return {
            "gradient_noise": mean.noise_scale,
            "gradient_trace": mean.trace,
            "gradient_squared_norm": mean.squared_norm,
        }

    def _is_unpromising(self, point: CurvePoint) -> bool:
        # Each report is a write; without a pruner nobody reads it, and the result has the curve.
        if self.study_file.search.pruner == "none":
            return False
        evaluations = self.study_file.training.evaluations
        self.trial.report(point.loss, step=round(point.fraction * evaluations))
        return self.claim.prunable and point.fraction < 1 and self.trial.should_prune()

    def _gradient_noise(self, model: Model) -> GradientNoise:
        batch = min(_MICRO_BATCH, len(self.data.train) // 2)
        return gradient_noise(
            model,
            self.data.train,
            batch,
            min(_MICRO_BATCHES, len(self.data.train) // batch),
            self.claim.seed,
            self.study_file.training.precision,
        )
