"""A table with the recorded training runs of every schedule, or active schedule, of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.candidate import Candidate
from dynamoe_search.schedules import Schedule
from dynamoe_search.statistics.intervals import Noise, pooled_noise
from dynamoe_search.statistics.two_way import estimate_means

COLUMNS: Mapping[str, str] = {
    "run": "number of the training run in its study",
    "schedule": "experts of each layer, first layer first",
    "active_schedule": "active experts of each layer; there where these are what differs",
    "pattern": "its names among the named patterns, if it has any",
    "block": "seed block, from 0; it has the same seeds for every schedule",
    "seed": "seed of the initial weights, the order of the data and the router's noise",
    "validation_loss": "mean cross-entropy at the end of training, in nats",
    "validation_accuracy": "share of images, or of next tokens, that are predicted correctly at the"
    " end of training, 0 to 1",
    "validation_bits_per_byte": "validation_loss in bits per byte of text; of text only",
    "active_experts": "measured K, its mean over tokens and layers",
    "mean_active": "measured K of each layer, its mean over tokens",
    "active_parameters": "parameters that a token uses, at the measured K",
    "flops_per_token": "FLOPs of a token's forward pass, at the measured K",
    "total_parameters": "parameters of the network",
    "training_flops": "FLOPs of the training, at the K measured during it",
    "samples": "images, or windows of text, seen in training, with repeats",
    "utilization_entropy": "H / ln N of the experts' load on the validation split, its mean over"
    " layers, 0 to 1",
    "layer_entropy": "H of each layer, in nats",
    "router_entropy": "entropy of a token's gates, its mean over tokens and layers, in nats",
    "effective_experts": "exp(H), its sum over layers",
    "dead_experts": "experts that nothing of the validation split uses, their sum over layers",
    "information": "mutual information of experts and classes (of text: next tokens), less its"
    " chance level, its mean over layers, in nats",
    "gradient_noise": "simple noise scale over the training (arXiv 1812.06162), the ratio of the"
    " next two, in samples; there where gradients were measured",
    "gradient_trace": "trace of the covariance of the gradients of single samples, its mean over"
    " the points of the curve",
    "gradient_squared_norm": "squared norm of the mean gradient, its mean over the points of the"
    " curve",
    "training_seconds": "wall time of the training on one core",
    "curve": "learning curve, a list of points: fraction (of the training), samples (seen so far),"
    " flops (spent), loss (validation, nats), accuracy (validation, 0 to 1), and gradient_trace and"
    " gradient_squared_norm where gradients were measured",
}
"""The columns of a table's file: what they hold, and in what unit."""

OPTIONAL = (
    *("active_schedule", "validation_bits_per_byte"),
    *("gradient_noise", "gradient_trace", "gradient_squared_norm"),
)
"""Those of `COLUMNS` that a table may lack."""

# Columns of `Study.training_runs` that are the same in all rows, unless the table has them.
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
    *("validation_loss", "validation_accuracy", "validation_bits_per_byte"),
    *("active_experts", "active_parameters"),
    *("flops_per_token", "total_parameters", "training_flops", "utilization_entropy"),
    *("router_entropy", "effective_experts", "dead_experts", "information"),
    *("gradient_noise", "gradient_trace", "gradient_squared_norm", "training_seconds"),
)


@dataclass(frozen=True, eq=False)
class Answer:
    """The training runs of one schedule, or active schedule.

    Parameters
    ----------
    schedule : Schedule
    runs : DataFrame
        One row per seed, with those columns of `COLUMNS` that the table has.
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
        return self.runs[_numbers(self.runs)].mean()

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve, its mean over seeds: one row per point, see `COLUMNS`."""
        curves = [pd.DataFrame(curve) for curve in self.runs["curve"]]
        return sum(curves[1:], start=curves[0]) / len(curves)


@dataclass(frozen=True, eq=False)
class Bench:
    """The training runs of every schedule, or active schedule, of a space: all from the same seeds.

    Parameters
    ----------
    name : str
    runs : DataFrame
        One row per candidate and seed, with those columns of `COLUMNS` that the table has, and
        those of `Study.training_runs` that leaderboards and plots need.
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
        """A bench of training runs with at least the columns of `COLUMNS`, but for `OPTIONAL`."""
        runs = runs[list(_held(runs))]
        groups = [
            "uniform" if "uniform" in names.split(" = ") else "pattern" if names else "searched"
            for names in runs["pattern"]
        ]
        whole = runs.assign(
            group=groups, **{name: value for name, value in _CONSTANT.items() if name not in runs}
        )
        if "validation_bits_per_byte" in runs:
            whole["validation_perplexity"] = np.exp(runs["validation_loss"])
        whole.insert(0, "candidate", _candidates(runs))
        return cls(name, whole, study, data, versions)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Those of `COLUMNS` that the table has."""
        return _held(self.runs)

    @property
    def moving(self) -> str:
        """What differs between candidates: ``"schedule"`` or ``"active_schedule"``, a column."""
        return "active_schedule" if "active_schedule" in self.runs else "schedule"

    @cached_property
    def schedules(self) -> tuple[Schedule, ...]:
        """All schedules, or active schedules, in lexicographic order."""
        return tuple(sorted(self._rows))

    @cached_property
    def candidates(self) -> dict[str, str]:
        """The candidate's text, as studies have it, by the schedule's."""
        named = self.runs.drop_duplicates(self.moving)
        return dict(zip(named[self.moving], named["candidate"], strict=True))

    @cached_property
    def noise(self) -> Noise:
        """The noise of one run's validation loss, pooled over schedules."""
        return pooled_noise(self.runs["validation_loss"], self.runs[self.moving])

    @cached_property
    def means(self) -> pd.DataFrame:
        """The mean over seeds of each numeric column: one row per schedule, the index."""
        return self.runs.groupby(self.moving)[_numbers(self.runs[list(self.columns)])].mean()

    @cached_property
    def losses(self) -> pd.DataFrame:
        """The validation losses, in nats: one row per schedule, the index, one column per seed.

        Seeds are in the order of their blocks.
        """
        losses = self.runs.pivot(
            index=self.moving, columns=["block", "seed"], values="validation_loss"
        )
        losses = losses.sort_index(axis=1).droplevel("block", axis=1)
        return losses.loc[[str(schedule) for schedule in self.schedules]]

    def ask(self, schedule: Schedule | str | Sequence[int]) -> Answer:
        """Look up the training runs of a schedule, or active schedule.

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
                f" {schedule.total} {self._of}, and the table {self._space()}; schedules.allocate"
                " turns one weight per layer into a schedule of a given total"
            )
        runs = self.runs.iloc[rows]
        found = self._expected.loc[str(schedule)]
        low = max(0.0, float(found["low"]))
        return Answer(
            schedule, runs[list(self.columns)], float(found["mean"]), low, float(found["high"])
        )

    @cached_property
    def _expected(self) -> pd.DataFrame:
        rows = self.runs
        return estimate_means(rows["validation_loss"], rows[self.moving], rows["seed"])

    @cached_property
    def _rows(self) -> dict[Schedule, list[int]]:
        rows = self.runs.groupby(self.moving).indices
        return {Schedule.parse(str(text)): places.tolist() for text, places in rows.items()}

    def _space(self) -> str:
        counts = [count for schedule in self.schedules for count in schedule]
        first = self.schedules[0]
        return (
            f"holds the {len(self.schedules)} schedules of {first.depth} layers that share"
            f" {first.total} {self._of}, {min(counts)} to {max(counts)} per layer"
        )

    @property
    def _of(self) -> str:
        return "active experts" if self.moving == "active_schedule" else "experts"


def _held(runs: pd.DataFrame) -> tuple[str, ...]:
    return tuple(
        column
        for column in COLUMNS
        if column not in OPTIONAL or (column in runs and runs[column].notna().any())
    )


def _candidates(runs: pd.DataFrame) -> list[str]:
    """The text of each row's candidate, as studies have it."""
    if "active_schedule" not in runs:
        return list(runs["schedule"])
    pairs = zip(runs["schedule"], runs["active_schedule"], strict=True)
    return [
        str(Candidate(Schedule.parse(experts), active=Schedule.parse(active)))
        for experts, active in pairs
    ]


def _numbers(runs: pd.DataFrame) -> list[str]:
    """The columns whose means over seeds say something."""
    return [column for column in _MEANS if column in runs]
