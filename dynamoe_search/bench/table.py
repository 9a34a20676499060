"""A table with the recorded training runs of every schedule of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule, pattern_schedule
from dynamoe_search.statistics.intervals import Noise, pooled_noise
from dynamoe_search.statistics.two_way import estimate_means

COLUMNS: Mapping[str, str] = {
    "run": "number of the training run in its study",
    "schedule": "experts of each layer, first layer first",
    "pattern": "its names among the six patterns and uniform, if it has any",
    "block": "seed block, from 0; it has the same seed for every schedule",
    "seed": "seed of the initial weights, the order of the images and the router's noise",
    "validation_loss": "mean cross-entropy at the end of training, in nats",
    "validation_accuracy": "share of the images at the end of training, 0 to 1",
    "active_experts": "measured K, its mean over tokens and layers",
    "mean_active": "measured K of each layer, its mean over tokens",
    "active_parameters": "parameters that a token uses, at the measured K",
    "flops_per_token": "FLOPs of a token's forward pass, at the measured K",
    "total_parameters": "parameters of the network",
    "training_flops": "FLOPs of the training, at the K measured during it",
    "samples": "images seen in training, with repeats",
    "utilization_entropy": "H / ln N of the experts' load on the validation split, its mean over"
    " layers, 0 to 1",
    "layer_entropy": "H of each layer, in nats",
    "router_entropy": "entropy of a token's gates, its mean over tokens and layers, in nats",
    "effective_experts": "exp(H), its sum over layers",
    "dead_experts": "experts that no validation image uses, their sum over layers",
    "information": "mutual information of experts and classes, less its chance level, its mean over"
    " layers, in nats",
    "gradient_noise": "simple noise scale over the training (arXiv 1812.06162), the ratio of the"
    " next two, in images",
    "gradient_trace": "trace of the covariance of the gradients of single images, its mean over"
    " the points of the curve",
    "gradient_squared_norm": "squared norm of the mean gradient, its mean over the points of the"
    " curve",
    "training_seconds": "wall time of the training on one core",
    "curve": "learning curve, a list of points: fraction (of the training), samples (images seen),"
    " flops (spent), loss (validation, nats), accuracy (validation, 0 to 1), gradient_trace and"
    " gradient_squared_norm",
}
"""The columns of a table's file: what they hold, and in what unit."""

# Columns of `Study.training_runs` that are the same in all rows, so that files leave them out.
_CONSTANT = {
    "settings": "",
    "state": "complete",
    "message": "",
    "fraction": 1.0,
    "feasible": True,
    "validation_perplexity": float("nan"),
    "validation_bits_per_byte": float("nan"),
}
_MEANS = (
    *("validation_loss", "validation_accuracy", "active_experts", "active_parameters"),
    *("flops_per_token", "total_parameters", "training_flops", "utilization_entropy"),
    *("router_entropy", "effective_experts", "dead_experts", "information"),
    *("gradient_noise", "gradient_trace", "gradient_squared_norm", "training_seconds"),
)


@dataclass(frozen=True, eq=False)
class Answer:
    """The training runs of one schedule.

    Parameters
    ----------
    schedule : Schedule
    runs : DataFrame
        One row per seed, with the columns of `COLUMNS`.
    loss : float
        The expected mean validation loss over all seeds, in nats; see `make_leaderboard`.
    low, high : float
        Its 95 % interval.
    """

    schedule: Schedule
    runs: pd.DataFrame
    loss: float
    low: float
    high: float

    @property
    def losses(self) -> tuple[float, ...]:
        """The validation loss of each seed, in nats."""
        return tuple(self.runs["validation_loss"].tolist())

    @property
    def means(self) -> pd.Series:
        """The mean over seeds of each numeric column."""
        return self.runs[list(_MEANS)].mean()

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve, its mean over seeds: one row per point, see `COLUMNS`."""
        curves = [pd.DataFrame(curve) for curve in self.runs["curve"]]
        return sum(curves[1:], start=curves[0]) / len(curves)


@dataclass(frozen=True, eq=False)
class Bench:
    """The training runs of every schedule of a space, all from the same seeds.

    Parameters
    ----------
    name : str
    runs : DataFrame
        One row per training run, with the columns of `COLUMNS` and those of `Study.training_runs`
        that leaderboards and plots need.
    study : str
        The study file, as JSON.
    data : str
        The fingerprint of the data.
    versions : mapping of str to str
        The versions of the packages that trained, and the commit.
    """

    name: str
    runs: pd.DataFrame
    study: str
    data: str
    versions: Mapping[str, str]

    @classmethod
    def of(
        cls, name: str, runs: pd.DataFrame, study: str, data: str, versions: Mapping[str, str]
    ) -> Bench:
        """A bench of training runs with at least the columns of `COLUMNS`."""
        runs = runs[list(COLUMNS)]
        first = Schedule.parse(runs["schedule"].iloc[0])
        uniform = str(pattern_schedule("uniform", first.depth, first.total))
        groups = [
            "uniform" if schedule == uniform else "pattern" if pattern else "searched"
            for schedule, pattern in zip(runs["schedule"], runs["pattern"], strict=True)
        ]
        whole = runs.assign(group=groups, **_CONSTANT)
        whole.insert(0, "candidate", whole["schedule"])
        return cls(name, whole, study, data, versions)

    @cached_property
    def schedules(self) -> tuple[Schedule, ...]:
        """All schedules, in lexicographic order."""
        return tuple(sorted(self._rows))

    @cached_property
    def noise(self) -> Noise:
        """The noise of one run's validation loss, pooled over schedules."""
        return pooled_noise(self.runs["validation_loss"], self.runs["schedule"])

    @cached_property
    def means(self) -> pd.DataFrame:
        """The mean over seeds of each numeric column: one row per schedule, the index."""
        return self.runs.groupby("schedule")[list(_MEANS)].mean()

    @cached_property
    def losses(self) -> pd.DataFrame:
        """The validation losses, in nats: one row per schedule, the index, one column per seed.

        Seeds are in the order of their blocks.
        """
        losses = self.runs.pivot(
            index="schedule", columns=["block", "seed"], values="validation_loss"
        )
        losses = losses.sort_index(axis=1).droplevel("block", axis=1)
        return losses.loc[[str(schedule) for schedule in self.schedules]]

    def ask(self, schedule: Schedule | str | Sequence[int]) -> Answer:
        """Look up the training runs of a schedule.

        Parameters
        ----------
        schedule : Schedule or str or sequence of int
            Such as ``"6-3-2-1"`` or ``(6, 3, 2, 1)``.

        Raises
        ------
        InvalidInput
            For a schedule outside the space.

        Examples
        --------
        >>> from dynamoe_search import bench
        >>> found = bench.load("digits-4x12").ask("6-3-2-1")
        >>> found.low < found.loss < found.high
        True
        """
        if isinstance(schedule, str):
            schedule = Schedule.parse(schedule)
        elif not isinstance(schedule, Schedule):
            schedule = Schedule(tuple(schedule))
        rows = self._rows.get(schedule)
        if rows is None:
            raise InvalidInput(
                f"{schedule} is not in {self.name}: it has {schedule.depth} layers and"
                f" {schedule.total} experts, and the table {self._space()}; schedules.allocate"
                " turns one weight per layer into a schedule of a given total"
            )
        runs = self.runs.iloc[rows]
        found = self._expected.loc[str(schedule)]
        low = max(0.0, float(found["low"]))
        return Answer(
            schedule, runs[list(COLUMNS)], float(found["mean"]), low, float(found["high"])
        )

    @cached_property
    def _expected(self) -> pd.DataFrame:
        rows = self.runs
        return estimate_means(rows["validation_loss"], rows["schedule"], rows["seed"])

    @cached_property
    def _rows(self) -> dict[Schedule, list[int]]:
        rows = self.runs.groupby("schedule").indices
        return {Schedule.parse(str(text)): places.tolist() for text, places in rows.items()}

    def _space(self) -> str:
        counts = [count for schedule in self.schedules for count in schedule]
        first = self.schedules[0]
        return (
            f"holds the {len(self.schedules)} schedules of {first.depth} layers that share"
            f" {first.total} experts, {min(counts)} to {max(counts)} per layer"
        )
