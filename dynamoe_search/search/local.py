"""The local engine: a process a worker; those that die are replaced."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.search.liveness import new_worker
from dynamoe_search.search.progress import Event, Overview, interrupts
from dynamoe_search.search.records import settle
from dynamoe_search.search.storage import STORAGE_ERRORS
from dynamoe_search.search.worker import Job, Worker, one_thread

_SECONDS_BETWEEN_LOOKS = 0.25
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
    with _one_thread_each():
        return _Workers(job, overview, count).watch()


class _Workers:
    def __init__(self, job: Job, overview: Overview, count: int) -> None:
        self.job, self.overview = job, overview
        context = multiprocessing.get_context("spawn")
        self.context = context
        self.finish, self.abort = context.Event(), context.Event()
        self.fractions: Any = context.Array("d", count)
        self.complaints: SimpleQueue[str] = context.SimpleQueue()
        self.processes: dict[int, tuple[SpawnProcess, str]] = {}

    def watch(self) -> bool:
        """Start the workers, replace those that die, and wait for the last to end."""
        deaths, trained_at_last_death = 0, -1
        with interrupts(self.finish, self.abort):
            for index in range(len(self.fractions)):
                self._start(index)
            while True:
                for index in self._ended():
                    trained = self.overview.ledger().trained
                    deaths = deaths + 1 if trained == trained_at_last_death else 1
                    trained_at_last_death = trained
                    if not self.complaints.empty():
                        self._give_up(self.complaints.get())
                    if deaths >= _DEATHS_WITHOUT_PROGRESS:
                        self._give_up(
                            f"{deaths} workers died one after another without finishing a"
                            " training; try --workers 1"
                        )
                    if not self.finish.is_set():
                        self._start(index)
                ledger = self.overview.ledger()
                finishing = self.finish.is_set()
                self.overview.report(ledger, sum(self.fractions), len(self.processes), finishing)
                if not self.processes:
                    if finishing or not ledger.retries:
                        return not finishing or self.overview.is_over(ledger)
                    self._start(0)
                time.sleep(_SECONDS_BETWEEN_LOOKS)

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

    def _ended(self) -> list[int]:
        """The places of workers that have died; of all that have ended, none is kept."""
        died = []
        for index, (process, name) in list(self.processes.items()):
            if process.is_alive():
                continue
            del self.processes[index]
            self.fractions[index] = 0.0
            if process.exitcode != 0:
                died.append(index)
                with self.job.place.claim_lock():
                    settle(self.overview.study, self.overview.plan.study.search, name.__eq__)
        return died

    def _give_up(self, reason: str) -> None:
        self.finish.set()
        self.abort.set()
        for process, _ in self.processes.values():
            process.join()
        raise RunFailed(reason)


def _work(
    job: Job,
    name: str,
    index: int,
    finish: Event,
    abort: Event,
    fractions: Any,
    complaints: SimpleQueue[str],
) -> None:
    # An interrupt from the terminal reaches every process; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    one_thread()
    try:
        worker = Worker(job, name)
        with worker.living():
            worker.work(
                finish.is_set,
                abort.is_set,
                lambda fraction: fractions.__setitem__(index, fraction),
            )
    except (InvalidInput, RunFailed) as error:
        complaints.put(str(error))
        sys.exit(1)
    except STORAGE_ERRORS as error:
        reason = str(error).splitlines()[0]
        complaints.put(
            f"the records in {job.place} cannot be written: {reason}. Nothing recorded is lost;"
            " make room or mend it, then run the same command again"
        )
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that happened."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the processes that are started meanwhile compute on one thread each."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
