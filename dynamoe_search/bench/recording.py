"""What a study has recorded of all schedules: a table that answers in place of training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna

from dynamoe_search.bench import Bench
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.definition import check_data, recorded_study_file
from dynamoe_search.log.records import claim_of, read_ledger, state_of
from dynamoe_search.log.storage import Place, open_study, place_of
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import study_path
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.schedules import FAMILIES, count_schedules
from dynamoe_search.search.space import suggest
from dynamoe_search.statistics.intervals import CONFIDENCE
from dynamoe_search.statistics.shrinkage import PairedMeans, expected_means, paired_means

_COVERAGE_NEEDED = 0.99
_QUESTIONS = 1000  # that measure it


@dataclass(frozen=True)
class Recording:
    """What a study has recorded of its schedules.

    Parameters
    ----------
    plan : Plan
        The study's, with the family in which searches shall move.
    losses : dict of str to tuple of float
        By schedule, the validation losses of the blocks that all schedules have; none where a
        schedule diverged, or ran out of memory, whenever it was trained.
    coverage : float
        The share of the schedules asked for by random search that are recorded.
    """

    plan: Plan
    losses: dict[str, tuple[float, ...]]
    coverage: float

    @property
    def blocks(self) -> int:
        """How often each schedule is recorded."""
        return max(map(len, self.losses.values()))

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
        credited with the luck of its seeds; of the recorded losses where there is one block,
        and luck cannot be told from merit.
        """
        error = 0.0 if math.isnan(self.means.error) else self.means.error
        expected = expected_means(self.means.means, error)
        names = [schedule for schedule, losses in self.losses.items() if losses]
        return dict(zip(names, (expected - expected.min()).tolist(), strict=True))


def load_recording(
    study: Path,
    family: str | None = None,
    data_directory: Path | None = None,
    storage: str | None = None,
    name: str | None = None,
) -> Recording:
    """Read what a study has recorded, for searches to be replayed on it.

    Parameters
    ----------
    study : Path
        The study file, or its folder.
    family : str, optional
        The family in which searches shall move; the study's where it is None.
    data_directory : Path, optional
        Where data files are; see `dynamoe_search.data.load_data`. Nothing is trained on them: they
        say what networks the budget buys.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.

    Raises
    ------
    InvalidInput
        Where the study seeks more than a low loss, schedules that searches would ask for are not
        recorded, or nothing shows that schedules differ.
    """
    place = place_of(study_path(study).parent, storage, name)
    records = open_study(place)
    study_file = recorded_study_file(records, place)
    _check_that_a_table_can_answer(study_file, family)
    data = load_study_data(study_file, data_directory)
    check_data(records, data, place)
    plan = make_plan(_moving_in(study_file, family), data)
    losses = _recorded_losses(records.get_runs(deepcopy=False))
    recording = Recording(plan, losses, _coverage(plan, losses))
    _check_coverage(recording, place)
    _check_that_schedules_differ(recording, str(place))
    return recording


def bench_recording(
    bench: Bench, family: str | None = None, data_directory: Path | None = None
) -> Recording:
    """A tabular benchmark, for searches to be replayed on it.

    Parameters
    ----------
    bench : Bench
    family, data_directory
        As in `load_recording`.

    Raises
    ------
    InvalidInput
        As `load_recording`.
    """
    study_file = StudyFile.model_validate_json(bench.study)
    _check_that_a_table_can_answer(study_file, family)
    plan = make_plan(_moving_in(study_file, family), load_study_data(study_file, data_directory))
    losses = {name: tuple(row) for name, *row in bench.losses.itertuples()}
    recording = Recording(plan, losses, coverage=1.0)
    _check_that_schedules_differ(recording, bench.name)
    return recording


def _check_that_a_table_can_answer(study_file: StudyFile, family: str | None) -> None:
    if family is not None and family not in FAMILIES:
        raise InvalidInput(f"unknown family {family!r}; choose from {', '.join(FAMILIES)}")
    search = study_file.search
    if search.objectives != ("loss",) or search.constraints:
        raise InvalidInput(
            "samplers are compared by the loss alone, and this study has other objectives or"
            " constraints; begin one without them"
        )
    if search.also.hidden or search.also.intervals() or study_file.budget.regime == "paper":
        raise InvalidInput(
            "samplers are compared on all schedules of a total; with search.also, or in the regime"
            " paper, not all that can be asked for can be recorded: begin a study without"
        )


def _moving_in(study_file: StudyFile, family: str | None) -> StudyFile:
    search = study_file.search.model_copy(update={"family": family or study_file.search.family})
    return study_file.model_copy(update={"search": search})


def _recorded_losses(runs: list[optuna.trial.FrozenTrial]) -> dict[str, tuple[float, ...]]:
    results = read_ledger(runs).results
    if not results:
        return {}
    common = sorted(set.intersection(*(set(blocks) for blocks in results.values())))
    if not common:
        return {}
    losses: dict[str, tuple[float, ...]] = {
        claim.candidate: ()
        for run in runs
        if (claim := claim_of(run)) and state_of(run) in ("diverged", "out of memory")
    }
    for schedule, blocks in results.items():
        losses[schedule] = tuple(blocks[i]["validation_loss"] for i in common)
    return losses


def _coverage(plan: Plan, losses: dict[str, tuple[float, ...]]) -> float:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = [
        str(plan.candidate(suggest(study.ask(), plan.family, plan.depth), {}))
        for _ in range(_QUESTIONS)
    ]
    return sum(schedule in losses for schedule in asked) / _QUESTIONS


def _check_coverage(recording: Recording, place: Place) -> None:
    plan, losses = recording.plan, recording.losses
    baselines_are_there = all(str(baseline) in losses for baseline in plan.baselines.values())
    if baselines_are_there and recording.coverage >= _COVERAGE_NEEDED:
        return
    assert plan.solution is not None  # without a total, it has been refused
    budget = plan.study.budget
    count = count_schedules(plan.solution.experts, plan.depth, budget.minimum, budget.maximum)
    raise InvalidInput(
        f"{place} has recorded {len(losses):,} of the budget's {count:,} schedules, and"
        f" {recording.coverage:.1%} of what the {plan.family.name} family asks for;"
        f" {_COVERAGE_NEEDED:.0%}, and all named schedules, are needed. With search.sampler"
        f' "exhaustive" and runs = {count:,} or a multiple of it, `dynamoe-search run` trains'
        " every schedule, and goes on where it was"
    )


def _check_that_schedules_differ(recording: Recording, where: str) -> None:
    found = recording.means
    if math.isnan(found.p_value) or found.p_value <= 1 - CONFIDENCE:
        return
    raise InvalidInput(
        f"nothing shows that the schedules in {where} differ (p = {found.p_value:.2f}): their means"
        f" of {recording.blocks} blocks scatter by {found.means.std(ddof=1):.4f} nats, and"
        f" by noise alone would by {found.error:.4f}, so there is nothing for a search to find;"
        " record more blocks, or train for longer"
    )
