"""Running a study: workers are started, watched and replaced; the records do the rest."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import optuna

from dynamoe_search.errors import RunFailed
from dynamoe_search.search.assignment import fraction_done
from dynamoe_search.search.plan import Plan, make_plan, names_of
from dynamoe_search.search.records import Ledger, read_ledger, settle
from dynamoe_search.search.storage import locked, open_study
from dynamoe_search.search.study_file import read_study_file, study_path
from dynamoe_search.search.worker import (
    CLAIM_LOCK,
    WORKERS_LOCK,
    Job,
    load_study_data,
    work,
)

RUN_LOCK = "run.lock"
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_FOR_ORPHANS_TO_END = 10.0
# A worker that cannot even start will not start the next time either.
_DEATHS_WITHOUT_PROGRESS = 4


@dataclass(frozen=True)
class Progress:
    """How a study stands.

    Parameters
    ----------
    ledger : Ledger
        The sum of its records.
    fraction : float
        The part done, towards the first limit; current trainings count in part.
    best : tuple of (str, float, int), optional
        The schedule of lowest mean validation loss, that loss, and its replicates.
    best_pattern : tuple of (str, float, int), optional
        The same among the study's baselines, by name.
    workers : int
        Workers alive.
    finishing : bool
        Whether it was told to end after the current trainings.
    """

    ledger: Ledger
    fraction: float
    best: tuple[str, float, int] | None
    best_pattern: tuple[str, float, int] | None
    workers: int
    finishing: bool


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    plan : Plan
    reason : {"finished", "exhausted", "interrupted"}
        Exhausted: every schedule that the sampler asks for has had all its replicates.
    """

    plan: Plan
    reason: str


def run_study(
    path: Path,
    workers: int | None = None,
    data_directory: Path | None = None,
    device: str = "cpu",
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Begin a study, or go on with it, until a limit of its file is reached.

    Interrupting the process (SIGINT) once ends the run after the current trainings, twice at once;
    either way nothing that is recorded is lost, and the same call goes on.

    Parameters
    ----------
    path : Path
        The study file, or its folder.
    workers : int, optional
        Processes, each of one thread; one a core where it is None.
    data_directory : Path, optional
        Where data files are; see `dynamoe_search.data.load_data`.
    device : str
        The torch device to train on.
    on_start : callable
        Called with the plan before the first training.
    on_progress : callable
        Called a few times a second.

    Raises
    ------
    InvalidInput
        For a mistake in the study file, or one that differs from the study that was begun.
    RunFailed
        Where another command works on the study, or trials fail one after another.
    """
    path = study_path(path)
    study_file = read_study_file(path)
    job = Job(uuid.uuid4().hex, path.parent, study_file, data_directory, device)
    plan = make_plan(study_file, load_study_data(study_file, data_directory))
    with locked(job.folder / RUN_LOCK, seconds=0):
        study = open_study(job.folder, study_file.definition())
        # Workers of a run that was killed notice it at once; their trials are free after that.
        with locked(job.folder / WORKERS_LOCK, seconds=_SECONDS_FOR_ORPHANS_TO_END):
            _settle(study, job.folder)
        on_start(plan)
        return _Run(job, study, plan, on_progress).to_the_end(workers or len(_cores()))


class _Run:
    """The workers of one run."""

    def __init__(
        self,
        job: Job,
        study: optuna.Study,
        plan: Plan,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.job = job
        self.study = study
        self.plan = plan
        self.on_progress = on_progress
        self.context = multiprocessing.get_context("spawn")
        self.finish = self.context.Event()
        self.abort = self.context.Event()
        self.workers: dict[int, SpawnProcess] = {}

    def to_the_end(self, count: int) -> Outcome:
        """Keep that many workers busy until the study is over or the user stops it."""
        self.fractions: Any = self.context.Array("d", count)
        ledger = read_ledger(self.study.get_trials(deepcopy=False))
        if self._is_over(ledger):
            self._report(ledger)
            return Outcome(self.plan, "finished")
        with _one_thread_each(), self._interrupts():
            for index in range(count):
                self._start(index)
            return self._watch()

    def _watch(self) -> Outcome:
        deaths, trained_at_last_death = 0, -1
        while True:
            for index, worker in list(self.workers.items()):
                if worker.is_alive():
                    continue
                del self.workers[index]
                self.fractions[index] = 0.0
                if worker.exitcode == 0:
                    continue
                assert worker.pid is not None
                _settle(self.study, self.job.folder, worker.pid)
                trained = read_ledger(self.study.get_trials(deepcopy=False)).trained
                deaths = deaths + 1 if trained == trained_at_last_death else 1
                trained_at_last_death = trained
                if deaths >= _DEATHS_WITHOUT_PROGRESS:
                    self._end_workers()
                    raise RunFailed(
                        f"{deaths} workers ended one after another without finishing a training,"
                        f" the last with status {worker.exitcode}; see the messages above, or try"
                        " --workers 1"
                    )
                if not self.finish.is_set():
                    self._start(index)
            ledger = read_ledger(self.study.get_trials(deepcopy=False))
            self._report(ledger)
            if not self.workers:
                if self._is_over(ledger):
                    return Outcome(self.plan, "finished")
                if self.finish.is_set():
                    return Outcome(self.plan, "interrupted")
                if not ledger.retries:
                    return Outcome(self.plan, "exhausted")
                self._start(0)
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _is_over(self, ledger: Ledger) -> bool:
        return not ledger.retries and fraction_done(ledger, self.plan.study.search) >= 1

    def _start(self, index: int) -> None:
        worker = self.context.Process(
            target=work,
            args=(self.job, index, self.finish, self.abort, self.fractions),
            daemon=True,
        )
        worker.start()
        self.workers[index] = worker

    def _end_workers(self) -> None:
        self.finish.set()
        self.abort.set()
        for worker in self.workers.values():
            worker.join()

    def _report(self, ledger: Ledger) -> None:
        means = ledger.mean_losses()
        names = names_of(self.plan.baselines)

        def best(schedules: list[str]) -> tuple[str, float, int] | None:
            if not schedules:
                return None
            leader = min(schedules, key=means.__getitem__)
            return leader, means[leader], len(ledger.losses[leader])

        best_pattern = best([schedule for schedule in means if schedule in names])
        if best_pattern is not None:
            leader, loss, replicates = best_pattern
            best_pattern = (names[leader], loss, replicates)
        limits = self.plan.study.search
        under_way = sum(self.fractions) / limits.trials if limits.trials else 0.0
        self.on_progress(
            Progress(
                ledger=ledger,
                fraction=min(1.0, max(fraction_done(ledger, limits), 0.0) + under_way),
                best=best(list(means)),
                best_pattern=best_pattern,
                workers=len(self.workers),
                finishing=self.finish.is_set(),
            )
        )

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """The first interrupt finishes the current trainings, the second stops them."""

        def handle(number: int, frame: object) -> None:
            if self.finish.is_set() or number == signal.SIGTERM:
                self.abort.set()
            self.finish.set()

        before = {
            number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _settle(study: optuna.Study, folder: Path, *processes: int) -> None:
    with locked(folder / CLAIM_LOCK):
        settle(study, processes or None)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the processes that are started meanwhile compute on one thread each."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _cores() -> set[int]:
    """The cores that this process may use."""
    return os.sched_getaffinity(0)
