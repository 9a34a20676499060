"""One worker: it starts training runs and carries them out, one after another."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from dynamoe_search.data import ImageData, TextData, load_data
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.events import Event, Log, Refused
from dynamoe_search.log.heartbeat import GRACE, FailureDetector, heartbeat
from dynamoe_search.log.runs import (
    FinalState,
    RunResult,
    Stage,
    Start,
    finished,
    lost,
    reported,
    started,
)
from dynamoe_search.log.state import State, catch_up, give_up_dead
from dynamoe_search.log.storage import LOG_ERRORS, Storage, open_log
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.confirmation import loss_alone
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.networks import keep_networks
from dynamoe_search.run.observation import Observation, Pruned
from dynamoe_search.run.result import make_result, pruned_result, split_result
from dynamoe_search.search.policy import ConfirmationPolicy, Policy, SearchPolicy
from dynamoe_search.training.evaluation import evaluate_seeds
from dynamoe_search.training.loop import Interrupted, NonFiniteLoss, TrainingResult, train
from dynamoe_search.training.settings import CurvePoint

# Two workers that decide at once would mostly decide the same. But nobody waits longer for a worker
# that was stopped while it decides, and only once: the log refuses a run that is started twice.
SECONDS_TO_DECIDE = 20.0
_SECONDS_ONCE_IN_VAIN = 0.5
_SECONDS_BETWEEN_READINGS = 1.0
_SECONDS_BETWEEN_QUESTIONS = 0.01  # whether to finish


@dataclass(frozen=True)
class Job:
    """What every worker gets.

    Parameters
    ----------
    session : str
        The command that the workers belong to.
    storage : Storage
        Where the log is.
    stage : {"search", "confirmation"}
        What is to be trained.
    folder : Path
        Where networks are kept, if the study file asks for it.
    data_directory : Path or None
    device : str
        The torch device to train on.
    grace : float
        Seconds without a heartbeat after which a worker elsewhere counts as dead.
    """

    session: str
    storage: Storage
    stage: Stage
    folder: Path
    data_directory: Path | None
    device: str
    grace: float = GRACE


class Worker:
    """One worker; it must train within the block of `heartbeat`.

    Parameters
    ----------
    job : Job
    name : str
        As `dynamoe_search.log.heartbeat.new_worker` gives it.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name = job, name
        self.log: Log = open_log(job.storage, create=False)
        self.state = State()
        catch_up(self.log, self.state)
        self.state.refuse_damage(job.storage)
        assert self.state.study_file is not None  # a job is of a study that was begun
        study_file = self.state.study_file
        self.data = load_study_data(study_file, job.data_directory, job.device)
        check_data(self.state, self.data, job.storage)
        confirms = job.stage == "confirmation"
        self.plan = make_plan(loss_alone(study_file) if confirms else study_file, self.data)
        self.detector = FailureDetector(job.grace)
        self._patience = SECONDS_TO_DECIDE
        self._start_over()
        self._is_ahead = False  # whether the policy may have proposed what is not in the log

    def heartbeat(self) -> AbstractContextManager[None]:
        """Give heartbeats until the block ends."""
        return heartbeat(self.log, self.name, self.detector)

    def catch_up(self) -> None:
        """Read what is new in the log."""
        catch_up(self.log, self.state, self.policy.follow)

    def start_next(self) -> Start | None:
        """Start the next run in the log; None where there is none now."""
        while True:
            with self.log.exclusive("decide", self._patience) as entered:
                self._patience = SECONDS_TO_DECIDE if entered else _SECONDS_ONCE_IN_VAIN
                if self._is_ahead:
                    self._start_over()
                self.release_the_dead()
                self._is_ahead = True
                start = self.policy.ask(self.state, self.name, self.job.session)
                if start is None:
                    return None
                try:
                    self.log.append(started(start))
                except Refused:  # another worker has just started a run
                    continue
                self.catch_up()
                self._is_ahead = False
                if start.number in self.state.stages[start.stage].running:
                    return start

    def release_the_dead(self) -> None:
        """Let the runs of dead workers be tried again."""
        self.catch_up()
        self.state.refuse_damage(self.job.storage)
        give_up_dead(self.log, self.state.stages[self.job.stage], self.detector.is_dead)
        self.catch_up()

    def a_retry_is_left(self) -> bool | None:
        """Whether a lost run must be tried again; None if that may still happen."""
        self.release_the_dead()
        progress = self.state.stages[self.job.stage]
        if progress.retries:
            return True
        return None if progress.running else False

    def work(
        self,
        finish: Callable[[], bool],
        abort: Callable[[], bool],
        on_fraction: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Carry out runs until none are left, here or with others, or until told to finish.

        Parameters
        ----------
        finish : callable
            Asked between runs: whether to end.
        abort : callable
            Asked at every step: whether to end at once; the run is recorded as interrupted.
        on_fraction : callable
            Told how far the current run is, from 0 to 1.
        """
        while not finish():
            if self.train_next(abort, on_fraction):
                continue
            # The worker of a last run may die; then a free one tries it again.
            while (is_left := self.a_retry_is_left()) is None and not finish():
                _wait(finish, _SECONDS_BETWEEN_READINGS)
            if not is_left:
                return

    def train_next(
        self,
        abort: Callable[[], bool],
        on_fraction: Callable[[float], None] = lambda fraction: None,
    ) -> bool:
        """Start a run and carry it out; False where there is none now."""
        begin = time.perf_counter(), time.process_time()
        start = self.start_next()
        if start is None:
            return False
        deciding = time.perf_counter() - begin[0], time.process_time() - begin[1]
        try:
            self.log.append(self._carry_out(start, deciding, abort, on_fraction))
        except Refused:
            print(
                f"dynamoe-search: {start.candidate}, block {start.block}: this worker gave no"
                " heartbeat, so another one has trained the same run; its result counts",
                flush=True,
            )
        on_fraction(0.0)
        return True

    def _carry_out(
        self,
        start: Start,
        deciding: tuple[float, float],
        abort: Callable[[], bool],
        on_fraction: Callable[[float], None],
    ) -> Event:
        """Train, and give the event of how that ended."""
        study_file = self.plan.study
        observation = Observation(
            study_file,
            self.data,
            start.seeds,
            lambda points: self._prunes(start, points),
            on_fraction,
        )
        try:
            network = self.plan.network_with(parse_candidate(start.candidate))
            training = train(
                network,
                self.data,
                study_file.training,
                start.seeds,
                on_evaluation=observation.look,
                should_stop=abort,
            )
            results = [
                observation.add_to(make_result(self.data, network, of_seed), place)
                for place, of_seed in enumerate(training.of_seeds)
            ]
            if start.stage == "confirmation":
                precision = study_file.training.precision
                tested = evaluate_seeds(training.model, self.data.test, precision)
                results = [
                    replace(result, **split_result("test", self.data, test))
                    for result, test in zip(results, tested, strict=True)
                ]
        except Interrupted as error:
            return lost(start, "interrupted", str(error))
        except Pruned:
            results = [pruned_result(self.data, curve) for curve in observation.curves]
            seconds = _seconds(deciding, observation, None)
            return finished(start, "pruned", [replace(one, seconds=seconds) for one in results])
        except NonFiniteLoss as error:
            return finished(start, "diverged", [RunResult(error.flops)], str(error))
        except (RunFailed, *LOG_ERRORS):
            raise  # of the log, and no fault of the run: it is tried again
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            return finished(start, _state_of(error), message=message)
        if study_file.search.keep_models:
            self._keep(training, start)
        seconds = _seconds(deciding, observation, training)
        return finished(start, "complete", [replace(one, seconds=seconds) for one in results])

    def _prunes(self, start: Start, points: Sequence[CurvePoint]) -> bool:
        search, training = self.plan.study.search, self.plan.study.training
        if search.pruner == "none" or not isinstance(self.policy, SearchPolicy):
            return False
        fraction, loss = points[0].fraction, fmean(point.loss for point in points)
        self.log.append(reported(start, round(fraction * training.evaluations), loss))
        self.catch_up()
        assert self.policy.proposer is not None  # a pruner is Optuna's
        return start.prunable and fraction < 1 and self.policy.proposer.is_unpromising(start)

    def _keep(self, training: TrainingResult, start: Start) -> None:
        number = self.state.stages[start.stage].attempts[start.key][start.attempt]
        try:
            keep_networks(training.model, self.job.folder, number, start, self.data)
        except (InvalidInput, OSError) as error:
            # No fault of the run: it is tried again.
            raise RunFailed(
                f"the network cannot be kept: {error}. Nothing recorded is lost; make room or mend"
                " it, then run the same command again"
            ) from error

    def _start_over(self) -> None:
        """Take a new policy, which follows the log, and has proposed nothing that is not in it."""
        self.policy: Policy
        if self.job.stage == "search":
            self.policy = SearchPolicy(self.plan)
        else:
            catch_up(self.log, self.state)  # a confirmation may have been extended
            assert self.state.confirmation is not None  # planned before its first worker starts
            self.policy = ConfirmationPolicy(self.plan, self.state.confirmation)
        self.state = State()
        self.catch_up()


def load_study_data(
    study_file: StudyFile, directory: Path | None, device: str = "cpu"
) -> ImageData | TextData:
    """The data that a study file names."""
    data = study_file.data
    return load_data(data.name, directory, data.seed, device, study_file.model.context)


def check_data(state: State, data: ImageData | TextData, storage: Storage) -> None:
    """`InvalidInput` where data are not those that a study was begun with."""
    if state.data != data.fingerprint:
        raise InvalidInput(
            f"data.name: {data.name} here is not the data that {storage} was begun with"
            f" (fingerprint {data.fingerprint}, was {state.data}); check --data-dir"
        )


def one_thread() -> None:
    """Compute on one thread in this process: there is one worker per core."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def _wait(finish: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not finish() and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_QUESTIONS)


def _state_of(error: Exception) -> FinalState:
    # A RuntimeError is how torch reports that the CPU's memory is exhausted.
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return "out of memory" if exhausted or "can't allocate memory" in str(error) else "error"


def _seconds(
    deciding: tuple[float, float], observation: Observation, training: TrainingResult | None
) -> dict[str, float]:
    """The wall and CPU seconds of a run's parts, of which each seed gets an equal share."""
    parts = {"deciding": deciding, "measuring": (observation.wall, observation.cpu)}
    if training is not None:
        times = training.times
        parts["training"] = times.training.wall, times.training.cpu
        parts["evaluation"] = times.evaluation.wall, times.evaluation.cpu
    return {
        f"{part}_{kind}": seconds / len(observation.seeds)
        for part, both in parts.items()
        for kind, seconds in zip(("seconds", "cpu_seconds"), both, strict=True)
    }
