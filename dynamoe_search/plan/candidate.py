"""What a run trains: a schedule, its active schedule, and what is searched next to them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.untrusted import shown

_DENSE, _DEEPEST = "dense", 1024
_ACTIVE = "active"


@dataclass(frozen=True)
class Candidate:
    """A schedule, with the active schedule and other settings where these are searched.

    Parameters
    ----------
    schedule : Schedule
    settings : tuple of (str, float)
        The expert width and the router's constants: names and values in the order in which the
        study file may give them.
    active : Schedule, optional
        The active experts K_l of each layer.

    Examples
    --------
    >>> str(Candidate(Schedule((8, 4)), (("hidden", 21), ("p", 0.7))))
    '8-4 hidden=21 p=0.7'
    >>> str(Candidate(Schedule((8, 4)), active=Schedule((3, 1))))
    '8-4 active=3-1'
    """

    schedule: Schedule
    settings: tuple[tuple[str, float], ...] = ()
    active: Schedule | None = None

    def __str__(self) -> str:
        active = "" if self.active is None else f"{_ACTIVE}={self.active}"
        return " ".join(filter(None, (str(self.schedule), active, self.settings_text)))

    @property
    def settings_text(self) -> str:
        """The settings as text; empty where nothing else is searched."""
        return " ".join(f"{name}={value:g}" for name, value in self.settings)


@dataclass(frozen=True)
class DenseBaseline:
    """A dense network to compare with.

    Parameters
    ----------
    hidden : tuple of int
        The hidden width of each block.

    Examples
    --------
    >>> str(DenseBaseline((96, 96, 95)))
    'dense 96x2-95'
    """

    hidden: tuple[int, ...]

    def __str__(self) -> str:
        runs = [(width, len(list(same))) for width, same in groupby(self.hidden)]
        parts = [f"{width}x{count}" if count > 1 else str(width) for width, count in runs]
        return f"{_DENSE} " + "-".join(parts)


def parse_candidate(text: str) -> Candidate | DenseBaseline:
    """A candidate or dense baseline from its text.

    Raises
    ------
    InvalidInput
        Where the text is neither.

    Examples
    --------
    >>> parse_candidate("8-4 k=2") == Candidate(Schedule((8, 4)), (("k", 2.0),))
    True
    """
    first, *rest = text.split(" ")
    try:
        if first == _DENSE:
            parts = [run.partition("x") for run in rest[0].split("-")]
            runs = [(int(width), int(count or 1)) for width, _, count in parts]
            if sum(count for _, count in runs) > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} layers")
            return DenseBaseline(tuple(width for width, count in runs for _ in range(count)))
        schedule, active = Schedule.parse(first), None
        if rest and rest[0].startswith(f"{_ACTIVE}="):
            active = Schedule.parse(rest.pop(0).removeprefix(f"{_ACTIVE}="))
            if active.depth != schedule.depth or 0 in active:
                raise ValueError(f"{active} is no active schedule of {schedule}")
        pairs = [setting.split("=") for setting in rest]
        return Candidate(schedule, tuple((name, float(v)) for name, v in pairs), active)
    except (ValueError, IndexError) as error:
        raise InvalidInput(f"{shown(text)!r} is no candidate; write it as '8-6-4-2 k=2'") from error
