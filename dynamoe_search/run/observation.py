"""What a worker measures while it trains a network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
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
from dynamoe_search.models import Model, single_network
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
    seeds : sequence of int
        Of the run; each decides which samples its gradients are measured on.
    is_unpromising : callable
        Called with each point of the learning curves: whether to end the run there.
    on_fraction : callable
        Called with the part of the run that is done, from 0 to 1.
    """

    def __init__(
        self,
        study_file: StudyFile,
        data: ImageData | TextData,
        seeds: Sequence[int],
        is_unpromising: Callable[[Sequence[CurvePoint]], bool],
        on_fraction: Callable[[float], None],
    ) -> None:
        self.study_file, self.data, self.seeds = study_file, data, seeds
        self.is_unpromising, self.on_fraction = is_unpromising, on_fraction
        self.curves: list[list[CurvePoint]] = [[] for _ in seeds]
        self.gradients: list[list[pd.DataFrame]] = [[] for _ in seeds]
        self.at_the_end: list[dict[str, Any]] = [{} for _ in seeds]
        self.wall = self.cpu = 0.0

    def look(self, points: Sequence[CurvePoint], model: Model) -> None:
        """Note a point of each seed's learning curve, and measure there.

        Raises
        ------
        Pruned
            Where the run should end here.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        for curve, point in zip(self.curves, points, strict=True):
            curve.append(point)
        fraction = points[0].fraction
        self.on_fraction(fraction)
        if self._measures:
            for place in range(len(self.seeds)):
                self._measure(place, fraction, single_network(model, place))
        unpromising = self.is_unpromising(points)
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        if unpromising:
            raise Pruned(f"pruned at {fraction:.0%} of the training")

    def add_to(self, result: RunResult, place: int) -> RunResult:
        """The result of a seed, by its place, with what has been measured.

        Raises
        ------
        NonFiniteLoss
            Where a measurement is not a number.
        """
        found = dict(self.at_the_end[place])
        if self.gradients[place]:
            found |= gradient_results(pd.concat(self.gradients[place], ignore_index=True))
            if math.isnan(found["gradient_noise"]):
                message = "the gradient noise is nan, though the loss is finite"
                raise NonFiniteLoss(message, sum(curve[-1].flops for curve in self.curves))
        tables = {name: found.pop(name) for name in TABLES if name in found}
        return replace(result, measured=found, tables=tables)

    @property
    def _measures(self) -> bool:
        search = self.study_file.search
        return bool(search.measure) or search.measures("gradient_noise")

    def _measure(self, place: int, fraction: float, model: Model) -> None:
        search, precision = self.study_file.search, self.study_file.training.precision
        if "gradients" in search.measure or search.measures("gradient_noise"):
            split, seed = self.data.train, self.seeds[place]
            now = gradients_now(model, split, fraction, seed, precision)
            self.gradients[place].append(now)
        if fraction < 1:
            return
        for name, measure in (
            ("utilization", utilization_results),
            ("representation", representation_results),
        ):
            if name in search.measure:
                self.at_the_end[place] |= measure(model, self.data.validation, precision)
