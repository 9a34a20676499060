"""One worker: a process that claims trainings and carries them out, one after another."""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

import optuna
import torch

from dynamoe_search import __version__
from dynamoe_search.budgets import active_parameters, flops_per_token, parameter_count
from dynamoe_search.data import ImageData, load_images
from dynamoe_search.search.assignment import Assignment, next_assignment
from dynamoe_search.search.plan import Plan, make_plan
from dynamoe_search.search.records import FailureKind, record_failure, record_result
from dynamoe_search.search.storage import locked, open_study
from dynamoe_search.search.study_file import StudyFile
from dynamoe_search.training import Interrupted, NonFiniteLoss, TrainingResult, train

CLAIM_LOCK = "claim.lock"
WORKERS_LOCK = "workers.lock"


class Fractions(Protocol):
    """A shared array: how far each worker's current training is, from 0 to 1."""

    def __setitem__(self, index: int, value: float, /) -> None: ...


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told.

    Parameters
    ----------
    run : str
        What tells this run from others of the study.
    folder : Path
        The study's folder.
    study_file : StudyFile
    data_directory : Path or None
    device : str
        The torch device to train on.
    """

    run: str
    folder: Path
    study_file: StudyFile
    data_directory: Path | None
    device: str


def work(job: Job, index: int, finish: Event, abort: Event, fractions: Fractions) -> None:
    """Carry out trainings until there are none left, or until told to finish.

    Parameters
    ----------
    job : Job
    index : int
        This worker's place in `fractions`.
    finish : Event
        Set to end after the current training.
    abort : Event
        Set to end at the next epoch; the trial is recorded as interrupted.
    fractions : shared array of float
    """
    # An interrupt from the terminal reaches every process; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        stack.enter_context(locked(job.folder / WORKERS_LOCK, shared=True))
        data = load_images(
            job.study_file.data.name, job.data_directory, job.study_file.data.seed, job.device
        )
        plan = make_plan(job.study_file, data.inputs, data.classes)
        study = open_study(job.folder)
        while not finish.is_set():
            with locked(job.folder / CLAIM_LOCK):
                assignment = next_assignment(study, plan, os.getpid(), job.run)
            if assignment is None:
                return
            _carry_out(study, plan, data, assignment, index, abort, fractions)
            fractions[index] = 0.0


def _carry_out(
    study: optuna.Study,
    plan: Plan,
    data: ImageData,
    assignment: Assignment,
    index: int,
    abort: Event,
    fractions: Fractions,
) -> None:
    settings = plan.study.training
    all_samples = settings.epochs * len(data.train)
    cpu_start = time.process_time()
    try:
        training = train(
            plan.network_with(assignment.schedule),
            data,
            settings,
            assignment.claim.seed,
            on_evaluation=lambda p: fractions.__setitem__(index, p.samples / all_samples),
            should_stop=abort.is_set,
        )
    except Interrupted as error:
        record_failure(study, assignment.trial, "interrupted", str(error))
    except NonFiniteLoss as error:
        record_failure(study, assignment.trial, "diverged", str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        record_failure(study, assignment.trial, "out of memory", str(error))
    except Exception as error:
        # A RuntimeError is also how torch reports that the CPU's memory is exhausted.
        exhausted = "can't allocate memory" in str(error)
        kind: FailureKind = "out of memory" if exhausted else "error"
        record_failure(study, assignment.trial, kind, f"{type(error).__name__}: {error}")
    else:
        result = _result(plan, data, assignment, training)
        result["cpu_seconds"] = time.process_time() - cpu_start
        record_result(study, assignment.trial, result)


def _result(
    plan: Plan, data: ImageData, assignment: Assignment, training: TrainingResult
) -> dict[str, Any]:
    """What is kept of a training, as JSON."""
    network = plan.network_with(assignment.schedule)
    mean_active = training.validation.mean_active
    return {
        "validation_loss": training.validation.loss,
        "validation_accuracy": training.validation.accuracy,
        "mean_active": list(mean_active),
        "training_mean_active": list(training.mean_active),
        "total_parameters": parameter_count(network).total,
        "active_parameters": active_parameters(network, mean_active).expected,
        "flops_per_token": flops_per_token(network, mean_active).expected,
        "training_flops": training.flops,
        "samples": training.samples,
        "seconds": training.seconds,
        "curve": [asdict(point) for point in training.curve],
        "data": data.fingerprint,
        "versions": {
            "dynamoe_search": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that happened."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
