"""Processes that carry out a study, found and killed while they do."""

import os
import pkgutil
import resource
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event
from dynamoe_search.log.heartbeat import GRACE, new_worker
from dynamoe_search.log.jsonlines import JsonLinesLog
from dynamoe_search.log.runs import Stage
from dynamoe_search.log.sql import SqlLog
from dynamoe_search.run.progress import Snapshot
from dynamoe_search.run.worker import Job, Worker, one_thread
from dynamoe_search.study import Study
from tests.processes import (
    SECONDS_TO_WAIT,
    another_process,
    context,
    die,
    replace,
    wait_for,
)
from tests.report import made_up

KEY = ["candidate", "block"]


def begin(path: Path, url: str | None = None, name: str | None = None) -> Study:
    """Begin a study, and train nothing."""
    return made_up.begin(path, name, url)


def job_of(
    path: Path,
    url: str | None = None,
    session: str = "session",
    grace: float = GRACE,
    stage: Stage = "search",
) -> Job:
    """What the workers of a session are told."""
    study = Study(path, url)
    return Job(session, study.storage, stage, study.folder, None, "cpu", grace)


def carry_out(
    path: Path,
    url: str | None = None,
    session: str = "session",
    prepare: Callable[[], object] = lambda: None,
    grace: float = GRACE,
    stage: Stage = "search",
) -> None:
    """Work on a study in this process until nothing is left."""
    one_thread()
    prepare()
    worker = Worker(job_of(path, url, session, grace, stage), new_worker())
    with worker.log, worker.heartbeat():
        worker.work(finish=lambda: False, abort=lambda: False)


def dies(*arguments: Any, **options: Any) -> bool:
    """Whether another process dies, as its `prepare` may make it, that does `carry_out`."""
    with another_process(carry_out, *arguments, **options) as process:
        process.join(SECONDS_TO_WAIT)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


def die_at_append(number: int, before: bool, noted_in: Path) -> None:
    """Kill this process right before, or right after, an append to the log, by its number from 1.

    The kind of that event is added to a file.
    """
    left = number

    def counted(append: Callable[..., None]) -> Callable[..., None]:
        @wraps(append)
        def count(log: SqlLog | JsonLinesLog, *events: Event) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                with noted_in.open("a") as file:
                    file.write(f"{'before' if before else 'after'} {events[0].kind}\n")
            if left == 0 and before:
                die()
            append(log, *events)
            if left == 0:
                die()

        return count

    for log in (SqlLog, JsonLinesLog):
        setattr(log, "append", counted(log.append))  # noqa: B010


def live_elsewhere(folder: Path) -> None:
    """Be as on another machine, where the locks of this one cannot be seen."""
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder)


def hang_elsewhere(folder: Path) -> None:
    """As if elsewhere, begin a training run that never ends."""
    live_elsewhere(folder)
    replace("dynamoe_search.run.worker.train", lambda *arguments, **options: time.sleep(1e6))


def stop_before(name: str, when: Callable[..., bool] = lambda *arguments: True) -> None:
    """Stop this process before a function is called, but not in the middle of a heartbeat.

    A process that is stopped while it writes to a file keeps all others from writing. Nor does it
    wait long for another that is stopped.
    """
    call, heartbeat = pkgutil.resolve_name(name), threading.Lock()

    def apart(beat: Callable[..., None]) -> Callable[..., None]:
        def wait_and_beat(*arguments: Any) -> None:
            with heartbeat:
                beat(*arguments)

        return wait_and_beat

    def stopped(*arguments: Any, **options: Any) -> Any:
        if when(*arguments):
            with heartbeat:
                os.kill(os.getpid(), signal.SIGSTOP)
        return call(*arguments, **options)

    replace(name, stopped)
    replace("dynamoe_search.run.worker.SECONDS_TO_DECIDE", 0.2)
    for log in (SqlLog, JsonLinesLog):
        setattr(log, "beat", apart(log.beat))  # noqa: B010


def stop_elsewhere(folder: Path, before: str) -> None:
    """As if elsewhere, stop before a function is called."""
    live_elsewhere(folder)
    stop_before(before)


@dataclass(frozen=True)
class Call:
    """A call of a method of `Study` in a process of its own, which leads a process group."""

    process: Any
    receiving: Connection

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def ending(self) -> Any:
        """What the method gives, or raises."""
        assert self.receiving.poll(SECONDS_TO_WAIT), "it goes on and on"
        ending = self.receiving.recv()
        self.process.join()
        if isinstance(ending, Exception):
            raise ending
        return ending

    def is_over(self) -> bool:
        """Whether the method has ended."""
        return self.receiving.poll()

    def kill(self) -> None:
        """Kill it and all its workers at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.join()


@contextmanager
def call(path: Path, url: str | None = None, method: str = "run", **options: Any) -> Iterator[Call]:
    """Call a method of a study elsewhere; what still runs at the end of the block is killed.

    Parameters
    ----------
    path : Path
    url : str, optional
    method : {"run", "confirm", "work"}
        `work` does not read the study file.
    options
        For the method; ``file_size`` limits the files that the process writes, in bytes.
    """
    receiving, sending = context.Pipe(duplex=False)
    with another_process(_call, sending, path, url, method, options) as process:
        sending.close()  # so that the other end is told if the process dies
        started = Call(process, receiving)
        # Until it leads a group of its own, it is in that of the tests.
        wait_for(lambda: not process.is_alive() or os.getpgid(process.pid) == process.pid)
        try:
            yield started
        finally:
            started.kill()


def _call(
    sending: Connection, path: Path, url: str | None, method: str, options: dict[str, Any]
) -> None:
    os.setpgid(0, 0)
    # The fork server of the tests may not listen to interrupts.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file_size = options.pop("file_size", -1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    options = {"workers": 1, "progress": False} | options
    if options.get("resources") is not None:
        del options["workers"]
    try:
        if method == "work":
            study = Study.at(url or f"sqlite:///{path.with_name('study.db')}")
        else:
            study = Study(path, url)
        sending.send(getattr(study, method)(**options))
    except Exception as error:
        sending.send(error)


def acting(*acts: Callable[[], object]) -> Callable[[Snapshot], None]:
    """What a study's progress is told to, to do something each time it is told."""
    left = list(acts)

    def act(snapshot: Snapshot) -> None:
        if left:
            left.pop(0)()

    return act


def pid_of(worker: str) -> int | None:
    """The process that holds a worker's lock: the workers of all engines do while they train."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if link.readlink().name == worker:
                return int(link.parts[2])
    return None


def parent_of(process: int) -> int:
    """What has started a process; 0 where it is gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def wait_for_runs(
    study: Study, count: int, state: str = "complete", stage: Stage = "search"
) -> None:
    """Wait until so many training runs, or more, are in that state."""

    def reached() -> bool:
        with suppress(InvalidInput):
            return (study.training_runs(stage)["state"] == state).sum() >= count
        return False

    wait_for(reached)


def training(study: Study, of: int | None = None, retries: bool = True) -> dict[str, int]:
    """The workers that are in the middle of a training run, and their processes.

    Parameters
    ----------
    study : Study
    of : int, optional
        Only those that this process has named, and started.
    retries : bool
        Whether runs that are tried again count.
    """
    with suppress(InvalidInput):
        runs = study.training_runs()
        under_way = (runs["state"] == "running") & (retries | ~runs.duplicated(KEY))
        found = {}
        for worker in runs.loc[under_way, "worker"]:
            if (of is None or f"-{of}-" in worker) and (process := pid_of(worker)):
                found[worker] = process
        return found
    return {}


def wait_for_training(study: Study, of: int | None = None) -> None:
    """Wait until a process is in the middle of a training run."""
    wait_for(lambda: training(study, of))


def kill_in_training(study: Study, of: int | None = None) -> None:
    """Kill a process in the middle of a training run that no worker has died of yet."""

    def killed() -> bool:
        # A run that kills twice in one session is given up.
        for worker, process in training(study, of, retries=False).items():
            with suppress(ProcessLookupError):
                # Its run may have ended just now.
                os.kill(process, signal.SIGSTOP)
                still = worker in training(study, of)
                os.kill(process, signal.SIGKILL if still else signal.SIGCONT)
                return still
        return False

    wait_for(killed)


def assert_accounted_for(study: Study, count: int) -> pd.DataFrame:
    """As many runs as asked for, none of them twice, none left over; gives all attempts."""
    runs = study.training_runs()
    done = runs[runs["state"] == "complete"]
    assert len(done) == count
    assert not done.duplicated(KEY).any()
    assert (done["block"] < study.file.search.blocks).all()
    assert (runs["state"] != "running").all()
    return runs
