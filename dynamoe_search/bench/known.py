"""The losses of all schedules of a budget: they answer a search in place of training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
import pandas as pd

from dynamoe_search.bench import Bench
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.baselines import count_candidates
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.schedules import FAMILIES, NONE
from dynamoe_search.search.space import suggest
from dynamoe_search.statistics.intervals import CONFIDENCE
from dynamoe_search.statistics.shrinkage import PairedMeans, expected_means, paired_means

_COVERAGE_NEEDED = 0.99
_QUESTIONS = 1000  # that measure it


@dataclass(frozen=True)
class KnownLosses:
    """The losses of all schedules of a budget.

    Parameters
    ----------
    plan : Plan
        The study's, with the family that searches move in.
    losses : dict of str to tuple of float
        By schedule, the validation losses of the seeds that all schedules have; empty where a run
        of the schedule diverged or ran out of memory.
    coverage : float
        The share of the schedules that random search asks for whose losses are known.
    """

    plan: Plan
    losses: dict[str, tuple[float, ...]]
    coverage: float

    @property
    def family(self) -> str:
        """The name of the family in which searches move."""
        return (self.plan.active_family or self.plan.family).name

    @property
    def seeds(self) -> int:
        """How many losses of each schedule are known."""
        return max(map(len, self.losses.values()))

    @property
    def block_size(self) -> int:
        """How many seeds of them are one block."""
        return self.plan.study.training.seeds

    @property
    def blocks(self) -> int:
        """How many blocks of each schedule are known."""
        return self.seeds // self.block_size

    @property
    def baselines(self) -> int:
        """The schedules that every search trains first."""
        return len({str(candidate) for candidate in self.plan.baselines.values()})

    @cached_property
    def means(self) -> PairedMeans:
        """The mean losses of the schedules that have any, in the order of `losses`."""
        return paired_means([losses for losses in self.losses.values() if losses])

    @cached_property
    def regrets(self) -> dict[str, float]:
        """By how much each schedule is expected to be worse than the best, in nats.

        Of the expected true means (see `dynamoe_search.statistics.shrinkage`), so that none is
        credited with the luck of its seeds; of the recorded losses where there is one seed,
        which cannot show what was luck.
        """
        error = 0.0 if math.isnan(self.means.error) else self.means.error
        expected = expected_means(self.means.means, error)
        names = [schedule for schedule, losses in self.losses.items() if losses]
        return dict(zip(names, (expected - expected.min()).tolist(), strict=True))


def known_losses(
    runs: pd.DataFrame,
    study_file: StudyFile,
    data: ImageData | TextData,
    where: str,
    family: str | None = None,
) -> KnownLosses:
    """What a study has found of all schedules, for searches to be replayed on it.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.
    study_file : StudyFile
    data : ImageData or TextData
    where : str
        What the study is called in messages.
    family : str, optional
        The family in which searches move; the study's where it is None.

    Raises
    ------
    InvalidInput
        Where the study has other objectives than the loss, or constraints; where schedules that
        searches would propose are not known; or where nothing shows that schedules differ.
    """
    _check_that_a_table_can_answer(study_file, family)
    plan = make_plan(_moving_in(study_file, family), data)
    losses = _losses(runs)
    known = KnownLosses(plan, losses, _coverage(plan, losses))
    _check_coverage(known, where)
    _check_that_schedules_differ(known, where)
    return known


def known_losses_of_bench(
    bench: Bench, family: str | None = None, data_directory: Path | None = None
) -> KnownLosses:
    """A tabular benchmark, for searches to be replayed on it.

    Parameters
    ----------
    bench : Bench
    family : str, optional
        As for `known_losses`.
    data_directory : Path, optional
        Where data files are: the network's size depends on the data.

    Raises
    ------
    InvalidInput
        As for `known_losses`.
    """
    study_file = StudyFile.model_validate_json(bench.study)
    _check_that_a_table_can_answer(study_file, family)
    plan = make_plan(_moving_in(study_file, family), load_study_data(study_file, data_directory))
    losses = {bench.candidates[name]: tuple(row) for name, *row in bench.losses.itertuples()}
    known = KnownLosses(plan, losses, coverage=1.0)
    _check_that_schedules_differ(known, bench.name)
    return known


def _check_that_a_table_can_answer(study_file: StudyFile, family: str | None) -> None:
    if family is not None and family not in FAMILIES:
        raise InvalidInput(f"unknown family {family!r}; choose from {', '.join(FAMILIES)}")
    search = study_file.search
    if search.objectives != ("loss",) or search.constraints:
        raise InvalidInput(
            "samplers are compared by the loss alone, and this study has other objectives or"
            " constraints; begin one without them"
        )
    both = NONE not in (search.family, search.active_family)
    if search.also.hidden or search.also.intervals() or both or study_file.budget.regime == "paper":
        raise InvalidInput(
            "samplers are compared on all schedules of a total, or all active schedules of a mean"
            " K; with search.also, both families or the regime paper, not all that can be asked for"
            " can be known: begin a study without"
        )


def _moving_in(study_file: StudyFile, family: str | None) -> StudyFile:
    search = study_file.search
    moving = "family" if search.active_family == NONE else "active_family"
    moved = search.model_copy(update={moving: family or getattr(search, moving)})
    return study_file.model_copy(update={"search": moved})


def _losses(runs: pd.DataFrame) -> dict[str, tuple[float, ...]]:
    """By candidate, the losses of the seeds that all have; none where a run failed for good."""
    complete = runs[runs["state"] == "complete"]
    losses = complete.pivot(
        index="candidate", columns=["block", "seed"], values="validation_loss"
    ).sort_index(axis=1)
    found = {name: tuple(row) for name, *row in losses.dropna(axis=1).itertuples()}
    failed = runs.loc[runs["state"].isin(["diverged", "out of memory"]), "candidate"]
    return {**dict.fromkeys(failed, ()), **{k: v for k, v in found.items() if v}}


def _coverage(plan: Plan, losses: dict[str, tuple[float, ...]]) -> float:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = [str(plan.candidate(suggest(study.ask(), plan.space), {})) for _ in range(_QUESTIONS)]
    return sum(schedule in losses for schedule in asked) / _QUESTIONS


def _check_coverage(known: KnownLosses, where: str) -> None:
    plan, losses = known.plan, known.losses
    baselines_are_there = all(str(baseline) in losses for baseline in plan.baselines.values())
    if baselines_are_there and known.coverage >= _COVERAGE_NEEDED:
        return
    assert plan.solution is not None  # without a total, it has been refused
    count = count_candidates(plan.study, plan.solution.experts)
    raise InvalidInput(
        f"{where} has results of {len(losses):,} of the budget's {count:,} schedules, and"
        f" {known.coverage:.1%} of what the {known.family} family asks for;"
        f" {_COVERAGE_NEEDED:.0%}, and all named schedules, are needed. With search.sampler"
        f' "exhaustive" and runs = {count:,} or a multiple of it, `dynamoe-search run` trains'
        " every schedule, and goes on where it was"
    )


def _check_that_schedules_differ(known: KnownLosses, where: str) -> None:
    found = known.means
    if math.isnan(found.p_value) or found.p_value <= 1 - CONFIDENCE:
        return
    raise InvalidInput(
        f"nothing shows that the schedules in {where} differ (p = {found.p_value:.2f}): their means"
        f" of {known.seeds} seeds scatter by {found.means.std(ddof=1):.4f} nats, and"
        f" by noise alone would by {found.error:.4f}, so there is nothing for a search to find;"
        " record more seeds, or train for longer"
    )
