"""What a worker measures while it trains a network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import RunFailed
from dynamoe_search.log.runs import RunResult
from dynamoe_search.log.table import TABLES
from dynamoe_search.measure.measurements import (
    gradient_results,
    gradients_now,
    representation_results,
    utilization_results,
)
from dynamoe_search.models import Model
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.training.loop import NonFiniteLoss
from dynamoe_search.training.settings import CurvePoint


class Pruned(RunFailed):
    """The training run was ended early, as it is not promising."""


class Observation:
    """Follows one training run: measures what the study asks for, and ends what is unpromising.

    Parameters
    ----------
    study_file : StudyFile
    data : ImageData or TextData
    seed : int
        Decides which samples gradients are measured on.
    is_unpromising : callable
        Called with each point of the learning curve: whether to end the run there.
    on_fraction : callable
        Called with the part of the run that is done, from 0 to 1.
    """

    def __init__(
        self,
        study_file: StudyFile,
        data: ImageData | TextData,
        seed: int,
        is_unpromising: Callable[[CurvePoint], bool],
        on_fraction: Callable[[float], None],
    ) -> None:
        self.study_file, self.data, self.seed = study_file, data, seed
        self.is_unpromising, self.on_fraction = is_unpromising, on_fraction
        self.curve: list[CurvePoint] = []
        self.gradients: list[pd.DataFrame] = []
        self.at_the_end: dict[str, Any] = {}
        self.wall = self.cpu = 0.0

    def look(self, point: CurvePoint, model: Model) -> None:
        """Note a point of the learning curve, and measure there.

        Raises
        ------
        Pruned
            Where the run should end here.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        self.curve.append(point)
        self.on_fraction(point.fraction)
        self._measure(point, model)
        unpromising = self.is_unpromising(point)
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        if unpromising:
            raise Pruned(f"pruned at {point.fraction:.0%} of the training")

    def add_to(self, result: RunResult) -> RunResult:
        """A result with what has been measured.

        Raises
        ------
        NonFiniteLoss
            Where a measurement is not a number.
        """
        found = dict(self.at_the_end)
        if self.gradients:
            found |= gradient_results(pd.concat(self.gradients, ignore_index=True))
            if math.isnan(found["gradient_noise"]):
                message = "the gradient noise is nan, though the loss is finite"
                raise NonFiniteLoss(message, self.curve[-1].flops)
        tables = {name: found.pop(name) for name in TABLES if name in found}
        return replace(result, measured=found, tables=tables)

    def _measure(self, point: CurvePoint, model: Model) -> None:
        search, precision = self.study_file.search, self.study_file.training.precision
        if "gradients" in search.measure or search.measures("gradient_noise"):
            split = self.data.train
            self.gradients.append(gradients_now(model, split, point.fraction, self.seed, precision))
        if point.fraction < 1:
            return
        for name, measure in (
            ("utilization", utilization_results),
            ("representation", representation_results),
        ):
            if name in search.measure:
                self.at_the_end |= measure(model, self.data.validation, precision)
