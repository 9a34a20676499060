"""The local engine: one process per worker; those that die are replaced."""

from __future__ import annotations

import signal
import sys
import time
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.heartbeat import new_worker
from dynamoe_search.log.storage import LOG_ERRORS, reason_of
from dynamoe_search.run.processes import Flag, end_with_parent, worker_context
from dynamoe_search.run.progress import Overview, interrupts
from dynamoe_search.run.worker import Job, Worker, one_thread

_SECONDS_BETWEEN_LOOKS = 0.25  # at the workers
_SECONDS_BETWEEN_READINGS = 2.0  # of the log
# A worker that cannot even start will not start the next time either.
_DEATHS_WITHOUT_PROGRESS = 4


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


class _Workers:
    def __init__(self, job: Job, overview: Overview, count: int) -> None:
        self.job, self.overview = job, overview
        self.context = context = worker_context()
        self.finish, self.abort = Flag(context), Flag(context)
        self.fractions: Any = context.RawArray("d", count)
        self.complaints: SimpleQueue[str] = context.SimpleQueue()
        self.processes: dict[int, tuple[ForkServerProcess, str]] = {}

    def run(self) -> bool:
        """Start the workers, replace those that die, and wait for the last to end."""
        under_way, read_at = 0.0, 0.0
        with interrupts(self.finish, self.abort):
            for index in range(len(self.fractions)):
                self._start(index)
            while True:
                ended = self._ended()
                for index, status in ended.items():
                    if status != 0:
                        self._replace(index)
                before, under_way = under_way, sum(self.fractions)
                # A run that is no longer under way has been recorded.
                recorded = bool(ended) or under_way < before
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
                sentinels = [process.sentinel for process, _ in self.processes.values()]
                wait(sentinels, _SECONDS_BETWEEN_LOOKS)

    def end(self) -> None:
        """Stop the workers that are left, as there are where something went wrong."""
        self.finish.set()
        self.abort.set()
        for process, _ in self.processes.values():
            process.join()

    def _start(self, index: int) -> None:
        name = new_worker()
        arguments = (
            self.job,
            name,
            index,
            self.finish,
            self.abort,
            self.fractions,
            self.complaints,
        )
        process = self.context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        self.processes[index] = process, name

    def _ended(self) -> dict[int, int | None]:
        """The exit statuses of workers that have ended, by index; these are then forgotten."""
        ended = dict[int, int | None]()
        for index, (process, name) in list(self.processes.items()):
            if process.is_alive():
                continue
            del self.processes[index]
            self.fractions[index] = 0.0
            ended[index] = process.exitcode
            if process.exitcode != 0:
                self.overview.release(name.__eq__)
        return ended

    def _replace(self, index: int) -> None:
        """Start a worker where one has died, unless that would not help."""
        deaths = self.overview.count_death()
        if not self.complaints.empty():
            raise RunFailed(self.complaints.get())
        if deaths >= _DEATHS_WITHOUT_PROGRESS:
            raise RunFailed(
                f"{deaths} workers died one after another without finishing a run; try"
                " --workers 1. A script must call run() below: if __name__ == '__main__'"
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
    complaints: SimpleQueue[str],
) -> None:
    # An interrupt from the terminal reaches every process; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    one_thread()
    try:
        worker = Worker(job, name)
        with worker.heartbeat():
            worker.work(
                finish.is_set,
                abort.is_set,
                lambda fraction: fractions.__setitem__(index, fraction),
            )
    except (InvalidInput, RunFailed) as error:
        complaints.put(str(error))
        sys.exit(1)
    except LOG_ERRORS as error:
        complaints.put(
            f"the log {job.storage} cannot be written: {reason_of(error, job.storage)}. Nothing"
            " recorded is lost; make room or mend it, then run the same command again"
        )
        sys.exit(1)
