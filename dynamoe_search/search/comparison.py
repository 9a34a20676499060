"""Samplers compared on recorded results: a search's own decisions, and nothing trained.

A study that has trained every schedule, several times each, knows the answer to whatever a search
may ask. So searches are replayed in a moment: each asks `next_assignment`, as every search does
(named patterns first, its leaders again in the last quarter), and is told what is recorded.

A repetition shuffles the replicates, the same for all schedules, as they share their seeds. Half of
them, rounded up, is what searches are told; the others judge what they recommend, so that none is
credited with the luck of the seeds it has seen. Regret is the loss of the recommended schedule less
that of the schedule which would be recommended if every one had been trained, both by the
replicates held out: 0 for whoever has seen everything. It is below 0 where those happen to favour
the other schedule. With one replicate there is none to hold out, and luck counts as merit.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.schedules import FAMILIES, count_schedules
from dynamoe_search.search.assignment import REPLICATION_SHARE, leaders, next_assignment
from dynamoe_search.search.definition import check_data, recorded_study_file
from dynamoe_search.search.local import _end_with_parent, _one_thread_each
from dynamoe_search.search.plan import Plan, make_plan
from dynamoe_search.search.progress import Event
from dynamoe_search.search.records import (
    claim_of,
    read_ledger,
    record_failure,
    record_result,
    state_of,
)
from dynamoe_search.search.space import suggest
from dynamoe_search.search.storage import Place, open_study, place_of
from dynamoe_search.search.study_file import StudyFile
from dynamoe_search.search.study_reader import study_path
from dynamoe_search.search.worker import load_study_data, one_thread

# The first is what the others are compared with.
COMPARED_SAMPLERS = ("random", "tpe", "qmc", "cmaes", "gp", "nsga2")
REPETITIONS = 30
MOST_TRIALS_BY_DEFAULT = 100

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
        By schedule, the validation loss of each replicate, as many for each; none where a schedule
        diverged, or ran out of memory, whenever it was trained.
    coverage : float
        The share of the schedules asked for by random search that are recorded.
    """

    plan: Plan
    losses: dict[str, tuple[float, ...]]
    coverage: float

    @property
    def replicates(self) -> int:
        """How often each schedule is recorded."""
        return max(map(len, self.losses.values()))

    @property
    def replicates_told(self) -> int:
        """How many of the replicates searches are told; the others judge them."""
        return (self.replicates + 1) // 2

    @property
    def baselines(self) -> int:
        """The schedules that every search trains first."""
        return len({str(candidate) for candidate in self.plan.baselines.values()})

    def deal(self, repetition: int) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
        """By schedule, the losses that searches are told, and the regret of recommending it."""
        generator = np.random.default_rng([self.plan.study.seed, repetition])
        order = generator.permutation(self.replicates).tolist()
        judging = order[self.replicates_told :] or order
        told: dict[str, tuple[float, ...]] = {}
        judged: dict[str, float] = {}
        for schedule, losses in self.losses.items():
            told[schedule] = tuple(losses[i] for i in order[: self.replicates_told] if losses)
            if losses:
                judged[schedule] = float(np.mean([losses[i] for i in judging]))
        # Equals go by name, as they do in a search.
        best = min(judged, key=lambda schedule: (float(np.mean(told[schedule])), schedule))
        return told, {schedule: loss - judged[best] for schedule, loss in judged.items()}


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
        As in `dynamoe_search.search.run_study`.

    Raises
    ------
    InvalidInput
        Where the study seeks more than a low loss, or schedules that searches would ask for are
        not recorded.
    """
    place = place_of(study_path(study).parent, storage, name)
    records = open_study(place)
    study_file = recorded_study_file(records, place)
    _check_that_a_table_can_answer(study_file, family)
    if family is not None:
        search = study_file.search.model_copy(update={"family": family})
        study_file = study_file.model_copy(update={"search": search})
    data = load_study_data(study_file, data_directory)
    check_data(records, data, place)
    plan = make_plan(study_file, data)
    losses = _recorded_losses(records.get_trials(deepcopy=False))
    recording = Recording(plan, losses, _coverage(plan, losses))
    _check_coverage(recording, place)
    return recording


def _check_that_a_table_can_answer(study_file: StudyFile, family: str | None) -> None:
    if family is not None and family not in FAMILIES:
        raise InvalidInput(f"unknown family {family!r}; choose from {', '.join(FAMILIES)}")
    search = study_file.search
    if search.objectives != ("loss",) or search.constraints:
        raise InvalidInput(
            "samplers are compared by the loss alone; this study has other objectives or"
            " constraints, so begin one without them"
        )
    if search.also.hidden or search.also.intervals() or study_file.budget.regime == "paper":
        raise InvalidInput(
            "samplers are compared on all schedules of a total; with search.also, or in the regime"
            " paper, not all that can be asked for can be recorded: begin a study without"
        )


def _recorded_losses(trials: list[optuna.trial.FrozenTrial]) -> dict[str, tuple[float, ...]]:
    """By schedule, the losses of the replicates that all have which have any."""
    results = read_ledger(trials).results
    common = set.intersection(*(set(replicates) for replicates in results.values()) or [set()])
    if not common:
        return {}
    losses: dict[str, tuple[float, ...]] = {
        claim.candidate: ()
        for trial in trials
        if (claim := claim_of(trial)) and state_of(trial) in ("diverged", "out of memory")
    }
    for schedule, replicates in results.items():
        losses[schedule] = tuple(replicates[i]["validation_loss"] for i in sorted(common))
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
    baselines_recorded = all(str(baseline) in losses for baseline in plan.baselines.values())
    if baselines_recorded and recording.coverage >= _COVERAGE_NEEDED:
        return
    assert plan.solution is not None  # without a total, it has been refused
    budget = plan.study.budget
    count = count_schedules(plan.solution.experts, plan.depth, budget.minimum, budget.maximum)
    raise InvalidInput(
        f"{place} has recorded {len(losses):,} of the budget's {count:,} schedules, and"
        f" {recording.coverage:.1%} of what the {plan.family.name} family asks for;"
        f" {_COVERAGE_NEEDED:.0%} and all named patterns are needed. A study with search.sampler"
        f' "exhaustive" and trials = {count:,} or a multiple of it trains every schedule, and'
        " `dynamoe-search run` goes on with one that is not done"
    )


def replay(
    recording: Recording,
    sampler: str,
    trials: int,
    repetition: int,
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[str | None], int]:
    """One search, told what is recorded in place of training.

    Parameters
    ----------
    recording : Recording
    sampler : str
    trials : int
        The trainings it may ask for.
    repetition : int
        Decides the sampler's seed, and what it is told.
    is_stopped : callable
        Asked before each training.

    Returns
    -------
    list of (str or None), length trials
        The schedule in the lead after each training; None while all have diverged. Where a search
        has nothing left to ask for, or is stopped, its last word stands.
    int
        How often it asked for a schedule that is not recorded, which is not counted as a training.
    """
    told, _ = recording.deal(repetition)
    plan = _plan_of_a_search(recording, sampler, trials, repetition)
    search = plan.study.search
    study = optuna.create_study()
    recommended: list[str | None] = []
    unknown = 0
    while len(recommended) < trials and unknown < trials and not is_stopped():
        assignment = next_assignment(study, plan, worker="", run="")
        if assignment is None:
            break
        trial, claim = assignment.trial, assignment.claim
        if claim.candidate not in told:
            unknown += 1
            trial.set_user_attr("claim", None)  # as if it had never been asked for
            study.tell(trial, state=TrialState.FAIL)
            continue
        if losses := told[claim.candidate]:
            result = {"validation_loss": losses[claim.replicate], "training_flops": 0.0}
            record_result(study, trial, claim, result, search)
        else:
            record_failure(study, trial, "diverged", "as it is recorded")
        in_order = leaders(read_ledger(study.get_trials(deepcopy=False)), search)
        recommended.append(in_order[0] if in_order else None)
    last = recommended[-1] if recommended else None
    return recommended + [last] * (trials - len(recommended)), unknown


def _plan_of_a_search(recording: Recording, sampler: str, trials: int, repetition: int) -> Plan:
    study_file = recording.plan.study
    search = study_file.search.model_copy(
        update={
            "sampler": sampler,
            "trials": trials,
            "replicates": recording.replicates_told,
            "pruner": "none",
            "minutes": None,
            "training_flops": None,
        }
    )
    sequence = np.random.SeedSequence([study_file.seed, repetition])
    seed = int(sequence.generate_state(1)[0])
    update = {"seed": seed, "search": search}
    return replace(recording.plan, study=study_file.model_copy(update=update))


def compare_samplers(
    recording: Recording,
    samplers: Sequence[str] = COMPARED_SAMPLERS,
    trials: int | None = None,
    repetitions: int = REPETITIONS,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> pd.DataFrame:
    """Replay searches by several samplers, and random search beside them.

    Of each repetition, all samplers have the same seed and are told the same losses, so they can be
    compared pair by pair. Searches go to their end without pruning.

    Parameters
    ----------
    recording : Recording
    samplers : sequence of str
        Of `COMPARED_SAMPLERS`; random search is added where it is missing.
    trials : int, optional
        The trainings of each search; where it is None, 100, or the number of schedules if lower.
    repetitions : int
        Searches by each sampler, at least 2.
    workers : int, optional
        Processes, each of one thread; one a core where it is None.
    on_progress : callable
        Told how many searches are done, and of how many.

    Returns
    -------
    DataFrame
        A row a training: ``sampler``, ``repetition`` (from 0), ``trial`` (from 1), ``recommended``
        (the schedule then in the lead; None before any result) and ``regret`` (in nats, see the
        module; NaN before any result). In ``attrs["unknown"]``, by sampler, how often a schedule
        was asked for that is not recorded.

    Raises
    ------
    InvalidInput
        For an unknown sampler, a single repetition, or so few trials that no sampler gets to choose.
    RunFailed
        Where a process dies.
    """
    if trials is None:
        trials = min(MOST_TRIALS_BY_DEFAULT, len(recording.losses))
    _check_searches(recording, samplers, trials, repetitions)
    names = list(dict.fromkeys((COMPARED_SAMPLERS[0], *samplers)))
    tasks = [(name, repetition) for repetition in range(repetitions) for name in names]
    replayed = _replay_all(recording, trials, tasks, workers, on_progress)
    tables = []
    unknown = dict.fromkeys(names, 0)
    regrets = [recording.deal(repetition)[1] for repetition in range(repetitions)]
    for (name, repetition), (recommended, asked_in_vain) in zip(tasks, replayed, strict=True):
        unknown[name] += asked_in_vain
        of_schedule = regrets[repetition]
        tables.append(
            pd.DataFrame(
                {
                    "sampler": name,
                    "repetition": repetition,
                    "trial": np.arange(1, trials + 1),
                    "recommended": recommended,
                    "regret": [
                        of_schedule.get(schedule or "", math.nan) for schedule in recommended
                    ],
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    table.attrs["unknown"] = unknown
    return table


def _check_searches(
    recording: Recording, samplers: Sequence[str], trials: int, repetitions: int
) -> None:
    if strange := [name for name in samplers if name not in COMPARED_SAMPLERS]:
        raise InvalidInput(
            f"sampler {strange[0]!r} cannot be compared; choose from {', '.join(COMPARED_SAMPLERS)}"
        )
    if repetitions < 2:
        raise InvalidInput(f"repetitions is {repetitions}; an interval takes at least 2")
    explored = 1 - REPLICATION_SHARE
    if trials * explored <= recording.baselines:
        raise InvalidInput(
            f"trials is {trials}: after the {recording.baselines} named schedules, and before the"
            " last quarter, which trains leaders again, no sampler gets to choose; give at least"
            f" {math.floor(recording.baselines / explored) + 1}"
        )


def _replay_all(
    recording: Recording,
    trials: int,
    tasks: list[tuple[str, int]],
    workers: int | None,
    on_progress: Callable[[int, int], None],
) -> list[tuple[list[str | None], int]]:
    """Each task's search, carried out by so many processes."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    workers = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, context, _begin, (recording, trials, stop)) as pool:
        try:
            with _one_thread_each(), _without_interrupts():
                futures = [pool.submit(_replay_task, *task) for task in tasks]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_progress(done, len(tasks))
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise RunFailed("a process died while it replayed searches") from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


# What a process was begun with: the recording is sent to it once, not with every task.
_replayed: tuple[Recording, int, Event]


def _begin(recording: Recording, trials: int, stop: Event) -> None:
    global _replayed
    _end_with_parent()
    one_thread()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _replayed = recording, trials, stop


def _replay_task(sampler: str, repetition: int) -> tuple[list[str | None], int]:
    recording, trials, stop = _replayed
    return replay(recording, sampler, trials, repetition, stop.is_set)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let the processes started meanwhile never be interrupted; here it is put off until after.

    An interrupt from the terminal reaches every process; only the parent decides what it means.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
