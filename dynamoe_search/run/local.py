"""The local engine: one process per worker; those that die are replaced."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.heartbeat import FailureDetector, new_worker
from dynamoe_search.log.storage import LOG_ERRORS, reason_of
from dynamoe_search.run.processes import (
    Flag,
    end_with_parent,
    show_signs,
    without_the_script,
    worker_context,
)
from dynamoe_search.run.progress import Overview, interrupts
from dynamoe_search.run.worker import Job, Worker, one_thread

_SECONDS_BETWEEN_LOOKS = 0.25  # at the workers
_SECONDS_BETWEEN_READINGS = 2.0  # of the log
# A worker that gives no sign for so long is stopped, and may keep others from writing to the log.
_MOST_SECONDS_WITHOUT_A_SIGN = 30.0
# A worker that cannot even start will not start the next time either.
_DEATHS_WITHOUT_PROGRESS = 4
_LONGEST_COMPLAINT = 10_000


def run_locally(job: Job, overview: Overview, count: int) -> bool:
    """Keep that many workers busy until nothing is left to do or the user stops it.

    Parameters
    ----------
    job : Job
    overview : Overview
    count : int
        Workers, each a process of one thread.

    Returns
    -------
    bool
        False where the user stopped it.

    Raises
    ------
    RunFailed
        Where workers cannot go on.
    """
    workers = _Workers(job, overview, count)
    try:
        return workers.run()
    finally:
        workers.end()


@dataclass(frozen=True)
class _Process:
    """A worker, and how it says why it ends."""

    process: ForkServerProcess
    name: str
    complaint: Connection


class _Workers:
    def __init__(self, job: Job, overview: Overview, count: int) -> None:
        self.job, self.overview = job, overview
        self.context = context = worker_context()
        self.finish, self.abort = Flag(context), Flag(context)
        self.fractions: Any = context.RawArray("d", count)
        self.signs: Any = context.RawArray("L", count)
        self.detector = FailureDetector(min(job.grace, _MOST_SECONDS_WITHOUT_A_SIGN))
        self.processes: dict[int, _Process] = {}

    def run(self) -> bool:
        """Start the workers, replace those that die, and wait for the last to end."""
        under_way, read_at = 0.0, 0.0
        with interrupts(self.finish, self.abort):
            for index in range(len(self.fractions)):
                self._start(index)
            while True:
                has_ended = self._replace_the_dead()
                before, under_way = under_way, sum(self.fractions)
                # A run that is no longer under way has been recorded.
                recorded = has_ended or under_way < before
                if recorded or time.monotonic() - read_at > _SECONDS_BETWEEN_READINGS:
                    read_at = time.monotonic()
                    self.overview.read()
                progress, over = self.overview.progress, self.overview.is_over()
                finishing = self.finish.is_set() and not over
                self.overview.report(under_way, len(self.processes), finishing)
                if not self.processes:
                    if finishing or not progress.retries:
                        return not finishing
                    self._start(0)
                if over and not progress.running:
                    self.finish.set()  # nobody needs to wait for a run to be tried again
                self._wait()

    def end(self) -> None:
        """Stop the workers that are left, as there are where something went wrong."""
        self.finish.set()
        self.abort.set()
        while any(one.process.is_alive() for one in self.processes.values()):
            self._wait()

    def _start(self, index: int) -> None:
        name = new_worker()
        complaint, sending = self.context.Pipe(duplex=False)
        arguments = (
            self.job,
            name,
            index,
            self.finish,
            self.abort,
            self.fractions,
            self.signs,
            sending,
        )
        process = self.context.Process(target=_work, args=arguments, daemon=True)
        with without_the_script():
            process.start()
        sending.close()
        self.processes[index] = _Process(process, name, complaint)

    def _wait(self) -> None:
        """Wait a moment, or until a worker ends; those that are stopped are ended."""
        sentinels = [one.process.sentinel for one in self.processes.values()]
        wait(sentinels, _SECONDS_BETWEEN_LOOKS)
        self.detector.look({one.name: self.signs[index] for index, one in self.processes.items()})
        for one in self.processes.values():
            if self.detector.stands_still(one.name):
                one.process.kill()

    def _replace_the_dead(self) -> bool:
        """Start workers in the place of those that died; whether any has ended."""
        # A worker without a fork server ends when the last reference to its process is gone.
        ended = self._ended()
        for index, one in ended.items():
            if one.process.exitcode != 0:
                self._replace(index, one.complaint)
        return bool(ended)

    def _ended(self) -> dict[int, _Process]:
        """The workers that have ended, by index; these are then forgotten."""
        ended = dict[int, _Process]()
        for index, one in list(self.processes.items()):
            if one.process.is_alive():
                continue
            del self.processes[index]
            self.fractions[index] = 0.0
            ended[index] = one
            if one.process.exitcode != 0:
                self.overview.release(one.name.__eq__)
        return ended

    def _replace(self, index: int, complaint: Connection) -> None:
        """Start a worker where one has died, unless that would not help."""
        deaths = self.overview.count_death()
        with complaint, suppress(EOFError, OSError):
            if complaint.poll():
                raise RunFailed(complaint.recv())
        if deaths >= _DEATHS_WITHOUT_PROGRESS:
            raise RunFailed(
                f"{deaths} workers died one after another without finishing a run; try --workers 1"
            )
        if not self.finish.is_set():
            self._start(index)


def _work(
    job: Job,
    name: str,
    index: int,
    finish: Flag,
    abort: Flag,
    fractions: Any,
    signs: Any,
    complaint: Connection,
) -> None:
    # An interrupt from the terminal reaches every process; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    show_signs(lambda: signs.__setitem__(index, signs[index] + 1))
    one_thread()
    try:
        worker = Worker(job, name)
        with worker.heartbeat():
            worker.work(
                finish.is_set,
                abort.is_set,
                lambda fraction: fractions.__setitem__(index, fraction),
            )
    except Exception as error:
        # More than a pipe holds would wait for the parent, which waits for the end of this process.
        complaint.send(_reason_to_end(job, error)[:_LONGEST_COMPLAINT])
        sys.exit(1)


def _reason_to_end(job: Job, error: Exception) -> str:
    if isinstance(error, InvalidInput | RunFailed):
        return str(error)
    if isinstance(error, LOG_ERRORS):
        return (
            f"the log {job.storage} cannot be written: {reason_of(error, job.storage)}."
            " Nothing recorded is lost; make room or mend it, then run the same command again"
        )
    return f"a worker failed: {type(error).__name__}: {error}. Nothing recorded is lost"
