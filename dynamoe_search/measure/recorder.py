"""Measure a network several times while it is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.models import Model
from dynamoe_search.training.settings import CurvePoint


class TrainingRecorder:
    """Measure a network at evaluations of its training; `train` takes it as `on_evaluation`.

    Parameters
    ----------
    measure : callable
        Takes the network and returns a table, such as that of `gradient_noise_by_group` or
        `utilization_table`. It must not change the network.
    every : int
        Measure at each N-th evaluation, for this N, and at the last one.

    Attributes
    ----------
    seconds : float
        The wall time that measuring has taken so far.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.measure import gradient_noise_by_group
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> from dynamoe_search.training.loop import train
    >>> from dynamoe_search.training.settings import TrainingSettings
    >>> data = embedded_digits(seed=0)
    >>> recorder = TrainingRecorder(
    ...     lambda model: gradient_noise_by_group(model, data.train, 8, 4, seed=0), every=2
    ... )
    >>> network = Classifier(64, 10, 8, Experts(8, Schedule((2, 2))))
    >>> settings = TrainingSettings(epochs=4, evaluations=4)
    >>> _ = train(network, data, settings, seeds=(0,), on_evaluation=recorder)
    >>> recorder.table["fraction"].unique().tolist(), recorder.seconds > 0
    ([0.5, 1.0], True)
    """

    def __init__(self, measure: Callable[[Model], pd.DataFrame], every: int = 1) -> None:
        if every < 1:
            raise InvalidInput(f"every is {every}; it must be at least 1")
        self.measure, self.every = measure, every
        self.seconds = 0.0
        self._evaluations = 0
        self._tables: list[pd.DataFrame] = []

    def __call__(self, points: Sequence[CurvePoint], model: Model) -> None:
        """Measure the network, if it is this evaluation's turn."""
        (point,) = points
        self._evaluations += 1
        if self._evaluations % self.every and point.fraction < 1:
            return
        start = time.perf_counter()
        table = self.measure(model)
        seen = {"fraction": point.fraction, "samples": point.samples, "loss": point.loss}
        self._tables.append(table.assign(**seen)[[*seen, *table]])
        self.seconds += time.perf_counter() - start

    @property
    def table(self) -> pd.DataFrame:
        """All measurements: the ``fraction`` of the training, ``samples`` seen, validation
        ``loss``, and the columns of the measured tables. Empty before the first measurement.
        """
        return pd.concat(self._tables, ignore_index=True) if self._tables else pd.DataFrame()
