"""Running a study: beginning it, and going on with it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
import torch

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.definition import check_data, record_study_file
from dynamoe_search.log.heartbeat import GRACE, Watch
from dynamoe_search.log.records import settle
from dynamoe_search.log.storage import (
    STORAGE_ERRORS,
    Direction,
    Place,
    begin_study,
    place_of,
    reason_of,
)
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file, study_path
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.local import run_locally
from dynamoe_search.run.progress import Overview, Progress
from dynamoe_search.run.ray import RayCluster, run_on_ray
from dynamoe_search.run.results import trials_of
from dynamoe_search.run.worker import Job, load_study_data
from dynamoe_search.search.agenda import SearchAgenda
from dynamoe_search.statistics.pareto import OBJECTIVES


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    plan : Plan
    place : Place
        Where its records are.
    reason : {"finished", "exhausted", "interrupted"}
        Exhausted: every candidate that is asked for has had all its replicates.
    study : Study
        The records themselves.
    """

    plan: Plan
    place: Place
    reason: str
    study: optuna.Study

    def trials(self) -> pd.DataFrame:
        """All trials of the study, as `Study.training_runs` gives them."""
        return trials_of(self.study, self.place)


@dataclass(frozen=True)
class Resources:
    """What trains a study, and where.

    Parameters
    ----------
    workers : int, optional
        Processes, each of one thread; one a core where it is None.
    data_directory : Path, optional
        Where data files are; see `dynamoe_search.data.load_data`.
    device : str
        The torch device to train on.
    grace : float
        Seconds without a sign of life after which a worker elsewhere counts as dead.
    ray : RayCluster, optional
        Trials are tasks of this cluster; they are trained in local processes where it is None.
    """

    workers: int | None = None
    data_directory: Path | None = None
    device: str = "cpu"
    grace: float = GRACE
    ray: RayCluster | None = None


def run_study(
    path: Path | str,
    resources: Resources = Resources(),
    storage: str | None = None,
    name: str | None = None,
    allow_changes: bool = False,
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Begin a study, or go on with it, until a limit of its file is reached.

    Interrupting the process (SIGINT) once ends the run after the current trainings, twice at once;
    either way nothing that is recorded is lost, and the same call goes on.

    Parameters
    ----------
    path : Path or str
        The study file, or its folder.
    resources : Resources
        What trains it: workers, device, data.
    storage : str, optional
        The address of the records; ``study.db`` beside the study file where it is None.
    name : str, optional
        The study's name there; see `dynamoe_search.log.storage.place_of`.
    allow_changes : bool
        Whether to go on though the study file has changed.
    on_start : callable
        Called with the plan before the first training.
    on_progress : callable
        Called a few times a second.

    Raises
    ------
    InvalidInput
        For a mistake in the study file, or one that differs from the study that was begun.
    RunFailed
        Where another command works on the study, records cannot be written, or trials fail one
        after another.
    """
    path = study_path(path)
    study_file = read_study_file(path)
    place = place_of(path.parent, storage, name)
    data = load_study_data(study_file, resources.data_directory)
    plan = make_plan(study_file, data)
    with place.run_lock():
        study = begin_study(place, directions_of(study_file))
        record_study_file(study, study_file, place, allow_changes)
        check_data(study, data, place)
        on_start(plan)
        agenda = SearchAgenda(study_file.search)
        overview = Overview(study, plan, agenda, on_progress)
        return carry_on(overview, place, results_folder(path, name), resources)


def results_folder(study: Path | str, name: str | None) -> Path:
    """Where networks and tables of a study go: beside its file, or below it by another name."""
    folder = study_path(study).parent
    return folder if name is None else folder / name


def carry_on(overview: Overview, place: Place, folder: Path, resources: Resources) -> Outcome:
    """Train until there is nothing left to do, or until the user stops it."""
    plan = overview.plan
    with place.claim_lock():
        settle(overview.study, plan.study.search, Watch(resources.grace).is_dead)
    ledger = overview.ledger()
    if overview.is_over(ledger):
        overview.report(ledger, under_way=0.0, workers=0, finishing=False)
        return Outcome(plan, place, "finished", overview.study)
    if resources.ray is None:
        check_device(resources.device)
    directory = resources.data_directory
    job = Job(
        uuid.uuid4().hex,
        place,
        plan.study,
        overview.agenda,
        folder.absolute(),
        directory and directory.absolute(),
        resources.device,
        resources.grace,
    )
    try:
        if resources.ray is not None:
            to_the_end = run_on_ray(job, overview, resources.ray)
        else:
            count = resources.workers or len(os.sched_getaffinity(0))
            to_the_end = run_locally(job, overview, count)
    except STORAGE_ERRORS as error:
        raise RunFailed(
            f"the records in {place} cannot be read or written: {reason_of(error)}. Nothing"
            " recorded is lost; make room or mend it, then run the same command again"
        ) from error
    if not to_the_end:
        return Outcome(plan, place, "interrupted", overview.study)
    reason = "finished" if overview.is_over(overview.ledger()) else "exhausted"
    return Outcome(plan, place, reason, overview.study)


def check_device(device: str) -> None:
    """`InvalidInput` where torch cannot compute on a device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"--device {device} is not to be had: {reason}") from error


def directions_of(study_file: StudyFile) -> list[Direction]:
    """Optuna's word for each objective."""
    objectives = [OBJECTIVES[name] for name in study_file.search.objectives]
    return ["minimize" if objective.minimize else "maximize" for objective in objectives]
