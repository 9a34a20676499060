"""What a callback is told: a training run has ended, or a study is decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dynamoe_search.log.runs import Stage
from dynamoe_search.log.table import RESULT_COLUMNS

_PARAMETERS = (
    *("candidate", "schedule", "active_schedule", "settings", "pattern", "group"),
    *("block", "seed"),
)
_TAGS = ("run", "state", "message", "feasible", "worker", "data", "commit")


@dataclass(frozen=True)
class StudyTold:
    """The study that something happened in.

    Parameters
    ----------
    name : str
        Its title.
    identity : str
        Eight hexadecimal digits, of its own for each study that was ever begun.
    settings : mapping of str to object
        The study file as the log has it, such as ``{"model.depth": 4}``, without its limits.
    """

    name: str
    identity: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class RunEnded:
    """A training run has ended for good: what one of its seeds has found.

    Parameters
    ----------
    study : StudyTold
    stage : {"search", "confirmation"}
    row : mapping of str to object
        The row of `Study.training_runs`.
    began, ended : float
        Seconds since the epoch.

    Examples
    --------
    >>> row = {"candidate": "2-1", "run": 3, "block": 0, "seed": 1, "validation_loss": 0.5}
    >>> event = RunEnded(StudyTold("digits", "0a1b2c3d", {"router.k": 1}), "search", row, 0, 60)
    >>> event.key, event.title, event.results
    ('search 3 1', '2-1 seed 1', {'validation_loss': 0.5})
    >>> event.parameters
    {'candidate': '2-1', 'block': 0, 'seed': 1, 'router.k': 1}
    """

    study: StudyTold
    stage: Stage
    row: Mapping[str, Any]
    began: float
    ended: float

    @property
    def key(self) -> str:
        """What names it in its study, always the same."""
        return f"{self.stage} {self.row['run']} {self.row['seed']}"

    @property
    def title(self) -> str:
        """The baseline's name, or the candidate, and the seed."""
        return f"{self.row.get('pattern') or self.row['candidate']} seed {self.row['seed']}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What was trained: the candidate, its seed, and the study's settings."""
        own = {name: self.row[name] for name in _PARAMETERS if name in self.row}
        return own | {name: one for name, one in self.study.settings.items() if one is not None}

    @property
    def results(self) -> dict[str, float]:
        """What it found and cost, by the column of `Study.training_runs`; what is known of it."""
        found = {name: float(self.row.get(name, math.nan)) for name in RESULT_COLUMNS}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    @property
    def tags(self) -> dict[str, str]:
        """What else is known: state, message, worker, data, and versions; no empty texts."""
        own = {
            name: str(value)
            for name, value in self.row.items()
            if (name in _TAGS or name.startswith("version_"))
            and value is not None
            and value == value
        }
        return {"stage": self.stage, **{name: text for name, text in own.items() if text}}

    @property
    def curve(self) -> list[tuple[int, float, dict[str, float]]]:
        """The learning curve: samples seen, seconds since the epoch, and what was measured then.

        The time is that of the part of the run that was done.
        """
        return [
            (
                int(point["samples"]),
                self.began + point["fraction"] * (self.ended - self.began),
                {name: point[name] for name in ("loss", "accuracy", "flops")},
            )
            for point in self.row.get("curve") or ()
        ]

    @property
    def steps(self) -> int:
        """The samples seen in all."""
        return int(self.results.get("samples", 0))


@dataclass(frozen=True)
class Conclusion:
    """What a stage of a study has found.

    Parameters
    ----------
    candidate : str
        The one to take; in a confirmation the reference.
    sentences : tuple of str
        The same in words, with how sure it is.
    numbers : mapping of str to float
        For a search, in nats, ``expected_regret``, ``regret_bound`` and ``margin``, and
        ``further_runs``: what is known of them.
    """

    candidate: str
    sentences: tuple[str, ...]
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Decided:
    """What a study has found when a session ends.

    Parameters
    ----------
    study : StudyTold
    stage : {"search", "confirmation"}
    found : Conclusion
    runs : int
        The training runs that it rests on.
    at : float
        When the last of them ended, in seconds since the epoch.
    """

    study: StudyTold
    stage: Stage
    found: Conclusion
    runs: int
    at: float

    @property
    def key(self) -> str:
        """What names it in its study, always the same."""
        return f"{self.stage} decision"


Callback = Callable[[RunEnded | Decided], None]
"""What is told of a study.

In each session it is told first what the log has from earlier ones. So a tracker that keeps what it
is told leaves out what it has, by ``study.identity`` and ``key``.
"""
