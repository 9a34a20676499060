"""Real processes that carry out a study, found and killed while they do."""

import multiprocessing
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import pandas as pd
from dynamoe_search.log.definition import record_study_file
from dynamoe_search.run.results import load_trials
from dynamoe_search.run.run import directions_of
from dynamoe_search.search.agenda import SearchAgenda
from optuna.storages import JournalStorage, _CachedStorage

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.heartbeat import GRACE, new_worker
from dynamoe_search.log.storage import place_of
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run.worker import Job, Worker, one_thread

SECONDS_TO_WAIT = 120.0
WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
)

# Forked from one process that has imported everything, so that a worker starts in no time.
_LAZILY_IMPORTED = ["optuna.storages._rdb.models", "alembic.script", "psycopg"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, *_LAZILY_IMPORTED])


def dying_with_this(signal_name: str) -> list[str]:
    """What to put before a program that shall not outlive this process, however that is ended."""
    return ["setpriv", "--pdeathsig", signal_name] if shutil.which("setpriv") else []


@dataclass
class Command:
    """Starts dynamoe-search as a user would, each time in a process group of its own."""

    started: list[subprocess.Popen] = field(default_factory=list)

    def __call__(self, *arguments: object, file_size: int = -1) -> subprocess.Popen:
        """Start it with these arguments; its files cannot grow beyond a size in bytes."""
        limits = (file_size, file_size)
        process = subprocess.Popen(
            [
                *dying_with_this("KILL"),
                sys.executable,
                "-m",
                "dynamoe_search",
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )
        self.started.append(process)
        return process

    def end_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                kill(process)


def output_of(process: subprocess.Popen, status: int = 0) -> str:
    """What a command has said, after it has ended with that exit status."""
    output, _ = process.communicate(timeout=SECONDS_TO_WAIT)
    assert process.returncode == status, output
    assert "Traceback" not in output
    return output


def kill(process: subprocess.Popen) -> None:
    """Kill a command and all its children at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def begin(path: Path, url: str | None = None, name: str | None = None) -> None:
    """Begin a study, and train nothing."""
    place, study_file = place_of(path.parent, url, name), read_study_file(path)
    record_study_file(begin_study(place, directions_of(study_file)), study_file, place)


def job_of(path: Path, url: str | None = None, run: str = "run", grace: float = GRACE) -> Job:
    """What the workers of a run are told."""
    study_file = read_study_file(path)
    place, agenda = place_of(path.parent, url), SearchAgenda(study_file.search)
    return Job(run, place, study_file, agenda, path.parent, None, "cpu", grace)


def carry_out(
    path: Path,
    url: str,
    run: str = "run",
    prepare: Callable[[], object] = lambda: None,
    grace: float = GRACE,
) -> None:
    """Work on a study in this process until nothing is left."""
    one_thread()
    prepare()
    worker = Worker(job_of(path, url, run, grace), new_worker())
    with worker.living():
        worker.work(finish=lambda: False, abort=lambda: False)


@contextmanager
def another_process(
    function: Callable[..., None], *arguments: Any, **options: Any
) -> Iterator[Any]:
    """A call in another process, which is killed at the end of the block at the latest."""
    process = _context.Process(target=function, args=arguments, kwargs=options)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def dies(*arguments: Any, **options: Any) -> bool:
    """Whether another process dies, as its `prepare` may have it, that does `carry_out`."""
    with another_process(carry_out, *arguments, **options) as process:
        process.join(SECONDS_TO_WAIT)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


def die_before_write(number: int) -> None:
    """Kill this process before it writes to the records of trials for that time."""
    left = number

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(write)
        def count(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                die()
            return write(*arguments, **options)

        return count

    for storage in (JournalStorage, _CachedStorage):
        for name in WRITES:
            setattr(storage, name, counted(getattr(storage, name)))


def replace(name: str, by: Callable[..., Any]) -> None:
    """Put something in the place of a function of a module."""
    module, function = name.rsplit(".", 1)
    setattr(pkgutil.resolve_name(module), function, by)


def die(*arguments: Any, **options: Any) -> None:
    """Die at once, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def freeze_before(name: str) -> None:
    """Stand still, until somebody goes on with this process, before a function is called."""
    call = pkgutil.resolve_name(name)

    def frozen(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return call(*arguments, **options)

    replace(name, frozen)


def live_elsewhere(folder: Path) -> None:
    """Be as on another machine, where the locks of this one cannot be seen."""
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder)


def hang_elsewhere(folder: Path) -> None:
    """As if elsewhere, begin a training that takes for ever."""
    live_elsewhere(folder)
    replace("dynamoe_search.run.worker.train", lambda *arguments, **options: time.sleep(1e6))


def pid_of(worker: str) -> int | None:
    """The process that holds a worker's life lock: all engines' workers do while they train."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if link.readlink().name == f"{worker}.lock":
                return int(link.parts[2])
    return None


def descends(process: int, ancestor: int) -> bool:
    """Whether a process was started by another, or by one that it started."""
    while process > 1:
        if process == ancestor:
            return True
        process = parent_of(process)
    return False


def parent_of(process: int) -> int:
    """What has started a process; 0 where it is gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def wait_for(what: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def wait_for_trials(
    path: Path, count: int, state: str = "complete", url: str | None = None
) -> None:
    """Wait until so many trials of a candidate, or more, are in that state."""

    def reached() -> bool:
        with suppress(InvalidInput):
            trials = load_trials(path, url)
            return ((trials["state"] == state) & (trials["candidate"] != "")).sum() >= count
        return False

    wait_for(reached)


def training(
    path: Path, url: str | None, of: subprocess.Popen | None, retries: bool = True
) -> dict[str, int]:
    """The workers, of one command, that are in the middle of a training, and their processes."""
    with suppress(InvalidInput):
        trials = load_trials(path, url)
        under_way = (trials["state"] == "running") & trials["validation_loss"].isna()
        under_way &= retries | ~trials.duplicated(["candidate", "replicate"])
        found = {}
        for trial in trials[under_way & (trials["candidate"] != "")].to_dict("records"):
            process = pid_of(trial["worker"])
            if process and (of is None or descends(process, of.pid)):
                found[trial["worker"]] = process
        return found
    return {}


def wait_for_training(
    path: Path, url: str | None = None, of: subprocess.Popen | None = None
) -> None:
    """Wait until a process, of one command, is in the middle of a training."""
    wait_for(lambda: training(path, url, of))


def kill_in_training(
    path: Path, url: str | None = None, of: subprocess.Popen | None = None
) -> None:
    """Kill a process, of one command, in the middle of a training that nobody has died of yet."""

    def killed() -> bool:
        # A training that kills twice in one run is given up.
        for worker, process in training(path, url, of, retries=False).items():
            with suppress(ProcessLookupError):
                # Its training may just have ended.
                os.kill(process, signal.SIGSTOP)
                still = worker in training(path, url, of)
                os.kill(process, signal.SIGKILL if still else signal.SIGCONT)
                return still
        return False

    wait_for(killed)


def assert_accounted_for(path: Path, count: int, url: str | None = None) -> pd.DataFrame:
    """As many trainings as asked for, none of them twice, none left over; gives all trials."""
    trials = load_trials(path, url)
    done = trials[trials["state"] == "complete"]
    assert len(done) == count
    assert not done.duplicated(["candidate", "replicate"]).any()
    assert (done["replicate"] < read_study_file(path).search.replicates).all()
    assert (trials["state"] != "running").all()
    return trials
