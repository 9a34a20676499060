"""What a trial looks at while its network is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import optuna
import pandas as pd

from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import RunFailed
from dynamoe_search.log.records import Claim
from dynamoe_search.measure.measurements import (
    gradient_results,
    gradients_now,
    representation_results,
    utilization_results,
)
from dynamoe_search.models import Model
from dynamoe_search.plan.plan import Plan
from dynamoe_search.training.loop import NonFiniteLoss
from dynamoe_search.training.settings import CurvePoint


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
        self.gradients: list[pd.DataFrame] = []
        self.at_the_end: dict[str, Any] = {}
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
        self._measure(point, model)
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
        found = dict(self.at_the_end)
        if self.gradients:
            found |= gradient_results(pd.concat(self.gradients, ignore_index=True))
            if math.isnan(found["gradient_noise"]):
                message = "the gradient noise is nan, though the loss is finite"
                raise NonFiniteLoss(message, self.curve[-1].flops)
        return found

    def _is_unpromising(self, point: CurvePoint) -> bool:
        # Each report is a write; without a pruner nobody reads it, and the result has the curve.
        if self.study_file.search.pruner == "none":
            return False
        evaluations = self.study_file.training.evaluations
        self.trial.report(point.loss, step=round(point.fraction * evaluations))
        return self.claim.prunable and point.fraction < 1 and self.trial.should_prune()

    def _measure(self, point: CurvePoint, model: Model) -> None:
        search, precision = self.study_file.search, self.study_file.training.precision
        if "gradients" in search.measure or search.measures("gradient_noise"):
            split, seed = self.data.train, self.claim.seed
            self.gradients.append(gradients_now(model, split, point.fraction, seed, precision))
        if point.fraction < 1:
            return
        for name, measure in (
            ("utilization", utilization_results),
            ("representation", representation_results),
        ):
            if name in search.measure:
                self.at_the_end |= measure(model, self.data.validation, precision)
