"""A session: one command, or one call, that carries out the runs of a stage."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from dynamoe_search.data import ImageData, TextData
from dynamoe_search.decision.leaderboard import rank_candidates
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.heartbeat import GRACE, FailureDetector
from dynamoe_search.log.state import Progress, State, catch_up
from dynamoe_search.log.storage import LOG_ERRORS, Storage, open_log, reason_of
from dynamoe_search.log.table import runs_table
from dynamoe_search.models import Model
from dynamoe_search.plan.confirmation import Confirmation, Until, loss_alone, plan_confirmation
from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.local import run_locally
from dynamoe_search.run.networks import TrainedNetwork, find_run, trained_network
from dynamoe_search.run.processes import worker_count
from dynamoe_search.run.progress import Overview, Snapshot
from dynamoe_search.run.ray import RayCluster, run_on_ray
from dynamoe_search.run.worker import Job, check_data, load_study_data
from dynamoe_search.search.chooser import Chooser
from dynamoe_search.search.policy import ConfirmationPolicy, Policy, SearchPolicy
from dynamoe_search.training.settings import CurvePoint

Ending = Literal["decided", "finished", "exhausted", "interrupted"]
"""How a session ends.

Decided: the regret is below the margin. Finished: at a limit of the study file. Exhausted: every
candidate that is proposed has had all its blocks.
"""


@dataclass(frozen=True)
class Resources:
    """The processes, device and cluster that train a study.

    Parameters
    ----------
    workers : int, optional
        Processes, each of one thread; one per core where it is None.
    device : str
        The torch device to train on.
    grace : float
        Seconds without a heartbeat after which a worker elsewhere counts as dead.
    ray : RayCluster, optional
        Training runs are tasks of this cluster; they are trained in local processes where it is
        None.
    """

    workers: int | None = None
    device: str = "cpu"
    grace: float = GRACE
    ray: RayCluster | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InvalidInput(f"workers is {self.workers}; it must be at least 1")


@dataclass(frozen=True)
class Session:
    """One call that trains.

    Parameters
    ----------
    storage : Storage
        Where the log is.
    folder : Path
        Where networks are kept, if the study file asks for it.
    data_directory : Path or None
    resources : Resources
    on_progress : callable
        Called with the progress, a few times per second.
    beside : callable
        Gives the context that runs are carried out in: what goes on beside them.
    """

    storage: Storage
    folder: Path
    data_directory: Path | None
    resources: Resources
    on_progress: Callable[[Snapshot], None]
    beside: Callable[[], AbstractContextManager[None]] = nullcontext


def run_search(
    session: Session,
    study_file: StudyFile,
    allow_changes: bool,
    on_start: Callable[[Plan], None],
) -> Ending:
    """Begin a search, or go on with it; see `Study.run`."""
    data = load_study_data(study_file, session.data_directory)
    plan = make_plan(study_file, data)
    state = State()
    with open_log(session.storage, create=True) as log, _alone(log, session.storage):
        catch_up(log, state)
        begin_study(
            log,
            state,
            study_file,
            data.fingerprint,
            session.storage,
            allow_changes,
            DataShape.of(data),
        )
        check_data(state, data, session.storage)
        on_start(plan)
        return _carry_on(session, log, SearchPolicy(plan))


def run_confirmation(
    session: Session,
    seeds: int | None,
    margin: float | None,
    until: Until | None,
    most_seeds: int | None,
    on_start: Callable[[Plan, Confirmation], None],
) -> Ending:
    """Begin a confirmation, or go on with it; see `Study.confirm`."""
    with open_log(session.storage, create=False) as log, _alone(log, session.storage):
        state, study_file, data = read_study(session, log)
        state.refuse_damage(session.storage)
        plan = make_plan(loss_alone(study_file), data)
        in_order = candidates_in_order(state.search, make_plan(study_file, data))
        confirmation = plan_confirmation(
            state.confirmation,
            plan,
            in_order,
            _mean_active(state.search),
            seeds,
            margin,
            until,
            most_seeds,
        )
        if confirmation != state.confirmation:
            log.append(Event("confirmation", confirmation.dump()))
        on_start(plan, confirmation)
        return _carry_on(session, log, ConfirmationPolicy(plan, confirmation))


def run_scale(
    session: Session,
    study_file: StudyFile,
    data: ImageData | TextData,
    confirmation: Confirmation,
    on_start: Callable[[Plan, Confirmation], None],
) -> Ending:
    """Begin one scale of a ladder, or go on with it: a study with a confirmation and no search.

    What was begun stays: of `confirmation` only a larger number of seeds counts then.
    """
    plan, state = make_plan(study_file, data), State()
    with open_log(session.storage, create=True) as log, _alone(log, session.storage):
        catch_up(log, state)
        shape = DataShape.of(data)
        begin_study(log, state, study_file, data.fingerprint, session.storage, shape=shape)
        check_data(state, data, session.storage)
        begun = state.confirmation
        if begun is not None:
            more = tuple(seeds for seeds in confirmation.seeds if seeds > begun.seeds[-1])
            confirmation = replace(begun, seeds=(*begun.seeds, *more))
        if confirmation != begun:
            log.append(Event("confirmation", confirmation.dump()))
        on_start(plan, confirmation)
        return _carry_on(session, log, ConfirmationPolicy(plan, confirmation))


def help_along(session: Session, on_start: Callable[[Plan], None]) -> Ending:
    """Help with a search, or with its confirmation where that has begun; see `Study.work`."""
    with open_log(session.storage, create=False) as log:
        state, study_file, data = read_study(session, log)
        state.refuse_damage(session.storage)
        policy: Policy = SearchPolicy(make_plan(study_file, data))
        if state.confirmation is not None:
            plan = make_plan(loss_alone(study_file), data)
            confirms = ConfirmationPolicy(plan, state.confirmation)
            if confirms.fraction(state.stages["confirmation"]) < 1:
                policy = confirms
        on_start(policy.plan)
        return _carry_on(session, log, policy)


def network_of_study(
    session: Session,
    candidate: str | None,
    run: int | None,
    seed: int | None,
    on_start: Callable[[int, str], None],
    on_evaluation: Callable[[CurvePoint, Model], None] | None,
) -> TrainedNetwork:
    """A network of a study; see `Study.network`."""
    device = session.resources.device
    check_device(device)
    with open_log(session.storage, create=False) as log:
        state, study_file, data = read_study(session, log, device)
    plan = make_plan(study_file, data)
    leading = candidates_in_order(state.search, plan)
    found = find_run(state.search, leading[0] if leading else None, run, candidate)
    if seed is None:
        seed = found.start.seeds[0]
    elif seed not in found.start.seeds:
        seeds = ", ".join(map(str, found.start.seeds))
        raise InvalidInput(f"run {found.number} has no seed {seed}; it has {seeds}")
    return trained_network(found, seed, plan, data, session.folder, device, on_start, on_evaluation)


def read_study(
    session: Session, log: Log, device: str = "cpu"
) -> tuple[State, StudyFile, ImageData | TextData]:
    """The state of a study, its file, and its data."""
    state = State()
    catch_up(log, state)
    if state.study_file is None:
        state.refuse_damage(session.storage)
        raise InvalidInput(f"{session.storage} holds no study yet; run it first")
    data = load_study_data(state.study_file, session.data_directory, device)
    check_data(state, data, session.storage)
    return state, state.study_file, data


@contextmanager
def _alone(log: Log, storage: Storage) -> Iterator[None]:
    """Be the only command that runs a study; `RunFailed` where there is another."""
    with log.exclusive("run", 0.0) as alone:
        if not alone:
            raise RunFailed(
                f"another command is working on this study ({storage}); wait for it, or join it"
                " with: dynamoe-search worker"
            )
        yield


def _carry_on(session: Session, log: Log, policy: Policy) -> Ending:
    """Train until nothing is left to do, or until the user stops it."""
    with session.beside():
        return _train(session, log, policy)


def _train(session: Session, log: Log, policy: Policy) -> Ending:
    resources, directory = session.resources, session.data_directory
    overview = Overview(log, policy, session.on_progress)
    overview.release(FailureDetector(resources.grace).is_dead)
    if (ending := _end_of(overview)) is not None:
        overview.report(under_way=0.0, workers=0, finishing=False)
        return ending
    if resources.ray is None:
        check_device(resources.device)
    job = Job(
        uuid.uuid4().hex,
        session.storage,
        policy.stage,
        session.folder.absolute(),
        directory and directory.absolute(),
        resources.device,
        resources.grace,
    )
    try:
        if resources.ray is not None:
            to_the_end = run_on_ray(job, overview, resources.ray)
        else:
            to_the_end = run_locally(job, overview, worker_count(resources.workers))
    except LOG_ERRORS as error:
        raise RunFailed(
            f"the log {session.storage} cannot be read or written:"
            f" {reason_of(error, session.storage)}. Nothing recorded is lost; make room or mend it,"
            " then run the same command again"
        ) from error
    if not to_the_end:
        return "interrupted"
    overview.read()
    return _end_of(overview) or "exhausted"


def _end_of(overview: Overview) -> Ending | None:
    """How a stage has ended; None where something is left to do."""
    if overview.is_decided():
        return "decided"
    return "finished" if overview.is_over() else None


def candidates_in_order(progress: Progress, plan: Plan) -> list[str]:
    """The candidates that have results, best first: as the decision has them."""
    study_file = plan.study
    posterior = None
    if study_file.search.objectives == ("loss",):
        posterior = Chooser(plan).posterior(progress)
    if posterior is not None:
        return posterior.tried_in_order()
    runs = runs_table(progress.runs, study_file)
    if not (runs["state"] == "complete").any():
        return []
    return list(rank_candidates(runs, study_file.search.objectives)["candidate"])


def _mean_active(progress: Progress) -> dict[str, list[float]]:
    """The measured K per layer, by candidate."""
    return {
        candidate: [
            sum(layer) / len(layer)
            for layer in zip(
                *(one.mean_active for one in progress.results_of(candidate)), strict=True
            )
        ]
        for candidate in progress.results
    }


def check_device(device: str) -> None:
    """`InvalidInput` where torch cannot compute on a device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"--device {device} cannot be used: {reason}") from error
