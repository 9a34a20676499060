"""One worker: it claims trainings and carries them out, one after another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial

from dynamoe_search.data import ImageData, TextData, load_data
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.definition import check_data
from dynamoe_search.log.heartbeat import GRACE, Watch, living
from dynamoe_search.log.records import (
    Claim,
    FailureKind,
    Superseded,
    read_ledger,
    record_failure,
    record_pruned,
    record_result,
    settle,
)
from dynamoe_search.log.storage import STORAGE_ERRORS, Place, open_study
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.observation import Observation, Pruned
from dynamoe_search.run.result import make_result, make_spent
from dynamoe_search.search.agenda import Agenda
from dynamoe_search.search.assignment import Assignment
from dynamoe_search.search.samplers import make_pruner
from dynamoe_search.training.checkpoint import save_model
from dynamoe_search.training.loop import Interrupted, NonFiniteLoss, TrainingResult, train

MODELS = "models"
_SECONDS_BETWEEN_LOOKS = 1.0  # at the records
_SECONDS_BETWEEN_QUESTIONS = 0.01  # whether to finish


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    Parameters
    ----------
    run : str
        What tells this run from others of the study.
    place : Place
        Where the records are.
    study_file : StudyFile
    agenda : Agenda
        What is to be trained: what the search asks for, or a confirmation.
    folder : Path
        Where networks are kept, if the study file asks for it.
    data_directory : Path or None
    device : str
        The torch device to train on.
    grace : float
        Seconds without a sign of life after which a worker elsewhere counts as dead.
    """

    run: str
    place: Place
    study_file: StudyFile
    agenda: Agenda
    folder: Path
    data_directory: Path | None
    device: str
    grace: float = GRACE


class Worker:
    """What one worker needs at hand; `living` must hold while it trains.

    Parameters
    ----------
    job : Job
    name : str
        As `dynamoe_search.log.heartbeat.new_worker` gives it.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.data = load_study_data(job.study_file, job.data_directory, job.device)
        self.plan = make_plan(job.study_file, self.data)
        search, training = job.study_file.search, job.study_file.training
        self.study = open_study(job.place, make_pruner(search.pruner, training.evaluations))
        self.watch = Watch(job.grace)
        check_data(self.study, self.data, job.place)

    def living(self) -> AbstractContextManager[None]:
        """Be seen to be alive until the block ends."""
        return living(self.study, self.name, self.watch)

    def next_assignment(self) -> Assignment | None:
        """Claim the next training; None where there is none now."""
        with self.job.place.claim_lock():
            trials = self.settle_the_dead()
            return self.job.agenda.next(self.study, trials, self.plan, self.name, self.job.run)

    def settle_the_dead(self) -> list[FrozenTrial]:
        """End what dead workers have left; the caller holds the claim lock.

        Returns
        -------
        list of FrozenTrial
            All trials of the study, as they are then.
        """
        return settle(self.study, self.plan.study.search, self.watch.is_dead)

    def retry_turns_up(self) -> bool | None:
        """Whether a training of another worker must be tried again; None if it may still."""
        with self.job.place.claim_lock():
            trials = self.settle_the_dead()
        ledger = read_ledger(trials)
        if ledger.retries:
            return True
        return None if ledger.running else False

    def work(
        self,
        finish: Callable[[], bool],
        abort: Callable[[], bool],
        on_fraction: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Carry out trainings until none are left, here or with others, or until told to finish.

        Parameters
        ----------
        finish : callable
            Asked between trainings: whether to end.
        abort : callable
            Asked at every step: whether to end at once; the trial is recorded as interrupted.
        on_fraction : callable
            Told how far the current training is, from 0 to 1.
        """
        while not finish():
            if self.train_next(abort, on_fraction):
                continue
            # Whoever trains the last ones may die; then it is for those who are free.
            while (turned_up := self.retry_turns_up()) is None and not finish():
                _wait(finish, _SECONDS_BETWEEN_LOOKS)
            if not turned_up:
                return

    def train_next(
        self,
        abort: Callable[[], bool],
        on_fraction: Callable[[float], None] = lambda fraction: None,
    ) -> bool:
        """Claim a training and carry it out; False where there is none now."""
        start = time.perf_counter(), time.process_time()
        assignment = self.next_assignment()
        if assignment is None:
            return False
        deciding = time.perf_counter() - start[0], time.process_time() - start[1]
        record = self._carry_out(assignment, deciding, abort, on_fraction)
        try:
            # Under the lock nobody can give the trial up while its end is written.
            with self.job.place.claim_lock():
                record()
        except Superseded as error:
            print(f"dynamoe-search: {error}", flush=True)
        on_fraction(0.0)
        return True

    def _carry_out(
        self,
        assignment: Assignment,
        deciding: tuple[float, float],
        abort: Callable[[], bool],
        on_fraction: Callable[[float], None],
    ) -> Callable[[], None]:
        """Train, and give what records how that ended."""
        study, trial, claim = self.study, assignment.trial, assignment.claim
        search = self.plan.study.search
        observation = Observation(self.plan, self.data, trial, claim, on_fraction)
        try:
            training = train(
                self.plan.network_with(assignment.candidate),
                self.data,
                self.plan.study.training,
                claim.seed,
                on_evaluation=observation.look,
                should_stop=abort,
            )
            result = make_result(self.data, training) | observation.found()
            result |= self.job.agenda.also_measured(self.plan, self.data, training)
        except Interrupted as error:
            return partial(record_failure, study, trial, "interrupted", str(error))
        except Pruned:
            spent = make_spent(observation.curve, self.data)
            spent |= _times(deciding, observation, None)
            return partial(record_pruned, study, trial, spent)
        except NonFiniteLoss as error:
            return partial(record_failure, study, trial, "diverged", str(error), error.flops)
        except STORAGE_ERRORS:
            raise  # no fault of the training: it is tried again
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            return partial(record_failure, study, trial, _kind_of(error), message)
        if search.keep_models:
            self._keep_model(training, assignment)
        result |= _times(deciding, observation, training)
        return partial(record_result, study, trial, claim, result, search)

    def _keep_model(self, training: TrainingResult, assignment: Assignment) -> None:
        of = self.job.folder, self.job.agenda.stage, assignment.trial.number
        path = model_path(*of)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_model(training.model, path, about_model(*of, assignment.claim, self.data))
        except (InvalidInput, OSError) as error:
            # No fault of the training: it is tried again.
            raise RunFailed(
                f"the network cannot be kept: {error}. Nothing recorded is lost; make room or mend"
                " it, then run the same command again"
            ) from error


def model_path(folder: Path, stage: str, trial: int) -> Path:
    """Where the network of a trial is kept."""
    return folder / MODELS / f"{stage}-{trial:05d}.safetensors"


def about_model(
    folder: Path, stage: str, trial: int, claim: Claim, data: ImageData | TextData
) -> dict[str, Any]:
    """What is kept with a network, so that it can be told which it is."""
    return {
        "study": folder.resolve().name,  # which may have been given as "."
        stage: trial,
        "candidate": claim.candidate,
        "replicate": claim.replicate,
        "seed": claim.seed,
        "data": data.fingerprint,
    }


def load_study_data(
    study_file: StudyFile, directory: Path | None, device: str = "cpu"
) -> ImageData | TextData:
    """The data that a study file names."""
    data = study_file.data
    return load_data(data.name, directory, data.seed, device, study_file.model.context)


def _wait(finish: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not finish() and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_QUESTIONS)


def one_thread() -> None:
    """Let this process compute on one thread: there is one worker a core."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def _kind_of(error: Exception) -> FailureKind:
    # A RuntimeError is how torch reports that the CPU's memory is exhausted.
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return "out of memory" if exhausted or "can't allocate memory" in str(error) else "error"


def _times(
    deciding: tuple[float, float], observation: Observation, training: TrainingResult | None
) -> dict[str, Any]:
    """The wall and CPU seconds of a trial's parts."""
    parts = {"deciding": deciding, "measuring": (observation.wall, observation.cpu)}
    if training is not None:
        times = training.times
        parts["training"] = times.training.wall, times.training.cpu
        parts["evaluation"] = times.evaluation.wall, times.evaluation.cpu
    return {
        f"{part}_{kind}": seconds
        for part, both in parts.items()
        for kind, seconds in zip(("seconds", "cpu_seconds"), both, strict=True)
    }
