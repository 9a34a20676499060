"""The plan of a confirmation: the candidates to train on fresh blocks, and their reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from dynamoe_search.budgets import dense_baseline, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.baselines import is_pattern
from dynamoe_search.plan.candidate import DenseBaseline
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import Dense
from dynamoe_search.statistics.sequential import Looks

FINALISTS = 3
SEEDS = 8
MOST_SEEDS = 64
"""As `SEEDS`, of a confirmation until all is decided."""
_SEEDS_BETWEEN_LOOKS = 4
_MOST_PLANNED = 1000  # the boundaries are computed look by look
DENSE = {"active": "dense, active parameters", "total": "dense, total parameters"}
"""The dense baselines: networks of as many active, or total, parameters as uniform."""

Until = Literal["seeds", "decided"]
"""How a confirmation ends: with a fixed number of seeds, or when each comparison is decided."""


@dataclass(frozen=True)
class Contender:
    """A candidate of a confirmation.

    Parameters
    ----------
    candidate : str
    name : str
        As it is shown, such as "descending"; empty for a schedule without a name.
    group : {"pattern", "uniform", "dense", "searched"}
    baselines : tuple of str
        The names of the baselines that it equals: patterns, "uniform", or one of `DENSE`.
    """

    candidate: str
    name: str = ""
    group: str = "searched"
    baselines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Confirmation:
    """What is confirmed; fixed before its first run.

    Parameters
    ----------
    reference : str
        The search's best candidate, with which the others are compared.
    contenders : tuple of Contender
        The reference among them.
    margin : float
        The difference of losses that does not matter, in nats.
    seeds : tuple of int
        Each number of seeds that was asked for, in order; the most seeds where it goes on until all
        is decided.
    settings : dict
        The study file without its section search. It must not change any more.
    until : {"seeds", "decided"}
    seeds_per_block : int
        How many seeds a training run has.
    """

    reference: str
    contenders: tuple[Contender, ...]
    margin: float
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    until: Until = "seeds"
    seeds_per_block: int = 1

    @property
    def blocks(self) -> int:
        """The most blocks that a candidate is trained on."""
        return -(-self.seeds[-1] // self.seeds_per_block)

    @property
    def looks(self) -> Looks | None:
        """When it looks at the results; None where it has a fixed number of seeds."""
        if self.until == "seeds":
            return None
        return Looks(_seeds_between_looks(self.seeds_per_block), self.seeds[0], self.seeds[-1])

    @property
    def title(self) -> str:
        """The reference, with its name."""
        name = self.names[self.reference]
        return f"{name} ({self.reference})" if name else self.reference

    @property
    def names(self) -> dict[str, str]:
        """What each candidate is called."""
        return {one.candidate: one.name for one in self.contenders}

    @staticmethod
    def read(content: dict[str, Any]) -> Confirmation:
        """A confirmation from the log."""
        return _CONFIRMATION.validate_python(content)

    def dump(self) -> dict[str, Any]:
        """A confirmation for the log."""
        return asdict(self)


_CONFIRMATION: TypeAdapter[Confirmation] = TypeAdapter(Confirmation)


def plan_confirmation(
    begun: Confirmation | None,
    plan: Plan,
    leaders: Sequence[str],
    mean_active: Mapping[str, Sequence[float]],
    seeds: int | None,
    margin: float | None,
    until: Until | None = None,
    most_seeds: int | None = None,
) -> Confirmation:
    """What is confirmed: as it was fixed before, perhaps with more seeds; else the search's best.

    Parameters
    ----------
    begun : Confirmation or None
        From the log; None where none has begun.
    plan : Plan
    leaders : sequence of str
        The candidates of the search, the best first.
    mean_active : mapping of str to sequence of float
        The measured K per layer, by candidate.
    seeds : int, optional
        At least 2, in whole blocks; 8 where it is None.
    margin : float, optional
        That of the study file where it is None.
    until : {"seeds", "decided"}, optional
        As it was fixed before, or else "seeds", where it is None.
    most_seeds : int, optional
        Where it goes on until all is decided: the most seeds, 64 where it is None. It is rounded up
        to a whole number of looks.

    Raises
    ------
    InvalidInput
        Where no run is complete yet, or what was fixed is to be changed.
    """
    if until is None:
        until = "seeds" if begun is None else begun.until
    seeds_per_block = plan.study.training.seeds if begun is None else begun.seeds_per_block
    seeds = _checked_seeds(seeds, until, most_seeds, seeds_per_block)
    settings = plan.study.definition()
    del settings["search"]
    if begun is None:
        seeds = seeds or (SEEDS if until == "seeds" else MOST_SEEDS)
        chosen = _choose(plan, leaders, mean_active, seeds, margin, settings)
        return replace(chosen, until=until, seeds_per_block=seeds_per_block)
    if changed := [key for key in settings if not _agree(begun.settings.get(key), settings[key])]:
        raise InvalidInput(
            f"the study file was changed since its confirmation began ({', '.join(changed)}):"
            " its runs cannot be compared with new ones; begin another study with --name"
        )
    if margin is not None and margin != begun.margin:
        raise InvalidInput(
            f"--margin is {margin:g}, and the confirmation was begun with {begun.margin:g}; a"
            " margin must not be chosen after the results were seen"
        )
    if until != begun.until:
        ends = {"seeds": "with a fixed number of seeds", "decided": "until all is decided"}
        raise InvalidInput(
            f"the confirmation was begun {ends[begun.until]}, and must end so: how it ends must not"
            " be chosen after results were seen; leave --until out"
        )
    raised = (seeds,) if seeds is not None and seeds > begun.seeds[-1] else ()
    return replace(begun, seeds=(*begun.seeds, *raised))


def _agree(before: Any, now: Any) -> bool:
    """Whether settings are as they were; before, there may have been fewer keys."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(now.get(key) == value for key, value in before.items())
    return bool(before == now)


def _checked_seeds(
    seeds: int | None, until: Until, most_seeds: int | None, seeds_per_block: int
) -> int | None:
    """The number of seeds that is asked for, fixed or the most; None where none is."""
    if until == "seeds":
        if most_seeds is not None:
            raise InvalidInput(
                "--most-seeds is for a confirmation that ends when all is decided: add --until"
                " decided before its first run, or give --seeds"
            )
        if seeds is not None and seeds < 2:
            raise InvalidInput(f"seeds is {seeds}; it must be at least 2, to see how results vary")
        return seeds
    if seeds is not None:
        raise InvalidInput(
            "--seeds is a fixed number, and this confirmation ends when all is decided: give"
            " --most-seeds"
        )
    if most_seeds is None:
        return None
    every = _seeds_between_looks(seeds_per_block)
    if not every <= most_seeds <= _MOST_PLANNED:
        raise InvalidInput(
            f"--most-seeds is {most_seeds}; give {every}, the seeds up to the first look at the"
            f" results, to {_MOST_PLANNED:,}"
        )
    return -(-most_seeds // every) * every


def _seeds_between_looks(seeds_per_block: int) -> int:
    """At least 4, in whole blocks: with fewer, Student's t decides next to nothing."""
    return -(-_SEEDS_BETWEEN_LOOKS // seeds_per_block) * seeds_per_block


def loss_alone(study_file: StudyFile) -> StudyFile:
    """The study file of a confirmation, in which only the loss counts."""
    search = {"objectives": ("loss",), "constraints": (), "pruner": "none", "measure": ()}
    return study_file.model_copy(update={"search": study_file.search.model_copy(update=search)})


def _choose(
    plan: Plan,
    leaders: Sequence[str],
    mean_active: Mapping[str, Sequence[float]],
    seeds: int,
    margin: float | None,
    settings: dict[str, Any],
) -> Confirmation:
    if not leaders:
        raise InvalidInput(
            "no training run of this study is complete yet; finish it with: dynamoe-search run"
        )
    margin = plan.study.search.margin if margin is None else margin
    if not 0 < margin < math.inf:
        raise InvalidInput(f"--margin is {margin:g}; give the loss that does not matter, above 0")
    contenders = {candidate: Contender(candidate) for candidate in leaders[:FINALISTS]}
    for name in filter(is_pattern, plan.baselines):
        candidate = str(plan.baselines[name])
        same = (*contenders.get(candidate, Contender(candidate)).baselines, name)
        group = "uniform" if "uniform" in same else "pattern"
        contenders[candidate] = Contender(candidate, " = ".join(same), group, same)
    for dense in _dense_baselines(plan, mean_active):
        contenders[dense.candidate] = dense
    return Confirmation(leaders[0], tuple(contenders.values()), margin, (seeds,), settings)


def _dense_baselines(plan: Plan, mean_active: Mapping[str, Sequence[float]]) -> list[Contender]:
    """The dense networks of as many active, and as many total, parameters as uniform."""
    uniform = plan.baselines["uniform"]
    network = plan.network_with(uniform)
    measured = mean_active.get(str(uniform))
    found: dict[str, Contender] = {}
    for match, name in DENSE.items():
        dense = dense_baseline(network, "active" if match == "active" else "total", measured)
        assert isinstance(dense.blocks, Dense)
        candidate = str(DenseBaseline(dense.blocks.hidden))
        shown = f"{name} ({parameter_count(dense).total:,})"
        same = found.get(candidate, Contender(candidate)).baselines
        found[candidate] = Contender(candidate, shown, "dense", (*same, name))
    return list(found.values())
