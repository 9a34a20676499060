"""A table of every schedule of a space, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.statistics.intervals import Noise, half_width, pooled_noise

COLUMNS: Mapping[str, str] = {
    "run": "the number of the training in its study",
    "schedule": "the experts of each layer, first layer first",
    "pattern": "its names among the six patterns and uniform, if it has any",
    "block": "from 0; block r has the same seed for every schedule",
    "seed": "of the initial weights, the order of the images and the router's noise",
    "validation_loss": "at the end of training: mean cross-entropy in nats",
    "validation_accuracy": "at the end of training: share of the images, 0 to 1",
    "active_experts": "K measured: experts that a token uses, its mean over tokens and layers",
    "mean_active": "K measured in each layer: its mean over tokens",
    "active_parameters": "parameters that a token uses, at the measured K",
    "flops_per_token": "FLOPs of a token's forward pass, at the measured K",
    "total_parameters": "parameters of the network",
    "training_flops": "FLOPs of the training, counted from the K measured during it",
    "samples": "images seen in training, repeats included",
    "utilization_entropy": "H / ln N of the experts' load on the validation split, its mean over"
    " layers, 0 to 1",
    "layer_entropy": "H of each layer, in nats",
    "router_entropy": "entropy of a token's gates, in nats, its mean over tokens and layers",
    "effective_experts": "exp(H), its sum over layers",
    "dead_experts": "experts that no validation image uses, in all layers",
    "information": "mutual information of experts and classes less that of chance, in nats, its"
    " mean over layers",
    "gradient_noise": "simple noise scale over the training (arXiv 1812.06162), in images: the"
    " ratio of the next two",
    "gradient_trace": "trace of the covariance of the gradients of single images, its mean over"
    " the points of the curve",
    "gradient_squared_norm": "squared norm of the mean gradient, its mean over the points of the"
    " curve",
    "training_seconds": "wall time of the training on one core",
    "curve": "the learning curve, a list of points: fraction (of the training), samples (images"
    " seen), flops (spent), loss (validation, nats), accuracy (validation, 0 to 1), gradient_trace"
    " and gradient_squared_norm",
}
"""What a training is described by, and in what unit."""

# The same for all rows, or not of images: not worth a column of the file, but others ask for it.
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
    """What is recorded of one schedule.

    Parameters
    ----------
    schedule : Schedule
    trainings : DataFrame
        A row a block, with the columns of `COLUMNS`.
    low, high : float
        The 95 % interval of `loss`, from the noise pooled over the whole table.
    """

    schedule: Schedule
    trainings: pd.DataFrame
    low: float
    high: float

    @property
    def losses(self) -> tuple[float, ...]:
        """The validation loss of each block, in nats."""
        return tuple(self.trainings["validation_loss"].tolist())

    @property
    def loss(self) -> float:
        """Their mean."""
        return float(self.trainings["validation_loss"].mean())

    @property
    def means(self) -> pd.Series:
        """The mean over blocks of everything that is a number."""
        return self.trainings[list(_MEANS)].mean()

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve, its mean over blocks: a row a point, see `COLUMNS`."""
        curves = [pd.DataFrame(curve) for curve in self.trainings["curve"]]
        return sum(curves[1:], start=curves[0]) / len(curves)


@dataclass(frozen=True, eq=False)
class Bench:
    """Every schedule of a space, each trained from the same seeds.

    Parameters
    ----------
    name : str
    runs : DataFrame
        A row a training, with the columns of `COLUMNS`, and those others of
        `Study.training_runs` with which leaderboards and plots take it for a study.
    study : str
        The study file that was run, as JSON.
    data : str
        The fingerprint of the data.
    versions : mapping of str to str
        Of what the trainings were made with, and the commit.
    """

    name: str
    runs: pd.DataFrame
    study: str
    data: str
    versions: Mapping[str, str]

    @classmethod
    def of(
        cls, name: str, trainings: pd.DataFrame, study: str, data: str, versions: Mapping[str, str]
    ) -> Bench:
        """A bench of trainings with the columns of `COLUMNS`."""
        constants: dict[str, object] = {**_CONSTANT, "candidate": trainings["schedule"]}
        runs = trainings.assign(**constants)
        runs.attrs = {"objectives": ["loss"], "pruner": "none", "changes": []}
        return cls(name, runs, study, data, versions)

    @cached_property
    def schedules(self) -> tuple[Schedule, ...]:
        """All of them, in lexicographic order."""
        return tuple(sorted(self._rows))

    @cached_property
    def noise(self) -> Noise:
        """The noise of one training's validation loss, pooled over schedules."""
        return pooled_noise(self.runs["validation_loss"], self.runs["schedule"])

    @cached_property
    def means(self) -> pd.DataFrame:
        """A row a schedule, its index: the means of everything that is a number."""
        return self.runs.groupby("schedule")[list(_MEANS)].mean()

    @cached_property
    def losses(self) -> pd.DataFrame:
        """The validation losses: a row a schedule, in their order, and a column a block."""
        losses = self.runs.pivot(index="schedule", columns="block", values="validation_loss")
        return losses.loc[[str(schedule) for schedule in self.schedules]]

    def ask(self, schedule: Schedule | str | Sequence[int]) -> Answer:
        """What is recorded of a schedule: nothing is trained.

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
                " brings weights of the layers to a total"
            )
        trainings = self.runs.iloc[rows]
        width = float(half_width(self.noise, len(rows)))
        loss = float(trainings["validation_loss"].mean())
        return Answer(schedule, trainings[list(COLUMNS)], max(0.0, loss - width), loss + width)

    @cached_property
    def _rows(self) -> dict[Schedule, list[int]]:
        rows = self.runs.groupby("schedule").indices
        return {Schedule.parse(str(text)): places.tolist() for text, places in rows.items()}

    def _space(self) -> str:
        counts = [count for schedule in self.schedules for count in schedule]
        first = self.schedules[0]
        return (
            f"holds the {len(self.schedules)} schedules of {first.depth} layers that share"
            f" {first.total} experts, {min(counts)} to {max(counts)} a layer"
        )
