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
from dynamoe_search.checkpoint import save_model
from dynamoe_search.data import ImageData, TextData, load_data
from dynamoe_search.search.assignment import Assignment, next_assignment
from dynamoe_search.search.plan import Plan, make_plan
from dynamoe_search.search.records import FailureKind, record_failure, record_result
from dynamoe_search.search.storage import locked, open_study
from dynamoe_search.search.study_file import StudyFile
from dynamoe_search.training import Interrupted, NonFiniteLoss, TrainingResult, train

CLAIM_LOCK = "claim.lock"
WORKERS_LOCK = "workers.lock"
MODELS = "models"


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
        Set to end at the next step; the trial is recorded as interrupted.
    fractions : shared array of float
    """
    # An interrupt from the terminal reaches every process; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        stack.enter_context(locked(job.folder / WORKERS_LOCK, shared=True))
        data = load_study_data(job.study_file, job.data_directory, job.device)
        plan = make_plan(job.study_file, data)
        study = open_study(job.folder)
        while not finish.is_set():
            with locked(job.folder / CLAIM_LOCK):
                assignment = next_assignment(study, plan, os.getpid(), job.run)
            if assignment is None:
                return
            _carry_out(job, study, plan, data, assignment, index, abort, fractions)
            fractions[index] = 0.0


def load_study_data(
    study_file: StudyFile, directory: Path | None, device: str = "cpu"
) -> ImageData | TextData:
    """The data that a study file names."""
    data = study_file.data
    return load_data(data.name, directory, data.seed, device, study_file.model.context)


def _carry_out(
    job: Job,
    study: optuna.Study,
    plan: Plan,
    data: ImageData | TextData,
    assignment: Assignment,
    index: int,
    abort: Event,
    fractions: Fractions,
) -> None:
    cpu_start = time.process_time()
    try:
        training = train(
            plan.network_with(assignment.schedule),
            data,
            plan.study.training,
            assignment.claim.seed,
            on_evaluation=lambda point: fractions.__setitem__(index, point.fraction),
            should_stop=abort.is_set,
        )
        result = _result(data, training)
        if plan.study.search.keep_models:
            _keep_model(job, training, assignment, data.fingerprint)
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
        result["cpu_seconds"] = time.process_time() - cpu_start
        record_result(study, assignment.trial, assignment.claim, result)


def _keep_model(job: Job, training: TrainingResult, assignment: Assignment, data: str) -> None:
    path = job.folder / MODELS / f"trial-{assignment.trial.number:05d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    about = {
        "study": job.folder.resolve().name,  # which may have been given as "."
        "trial": assignment.trial.number,
        "schedule": assignment.claim.schedule,
        "replicate": assignment.claim.replicate,
        "seed": assignment.claim.seed,
        "data": data,
    }
    save_model(training.model, path, about)


def _result(data: ImageData | TextData, training: TrainingResult) -> dict[str, Any]:
    """What is kept of a training, as JSON."""
    network = training.model.specification
    validation = training.validation
    mean_active = validation.mean_active
    text = {"perplexity": validation.perplexity, "bits_per_byte": validation.bits_per_byte}
    return {
        "validation_loss": validation.loss,
        "validation_accuracy": validation.accuracy,
        **(text if isinstance(data, TextData) else {}),
        "active_experts": sum(mean_active) / len(mean_active),
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
