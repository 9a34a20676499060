"""The Ray engine: every training run is a task of a cluster."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.log.heartbeat import FailureDetector, new_worker
from dynamoe_search.run.progress import Overview, interrupts
from dynamoe_search.run.worker import Job, Worker, one_thread

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 30.0
_SECONDS_TO_ANSWER = 10.0
_DEATHS_WITHOUT_PROGRESS = 8


@dataclass(frozen=True)
class RayCluster:
    """A cluster, and what one training run takes of it.

    Parameters
    ----------
    address : str, optional
        As `ray.init` takes it; a cluster of this machine alone is started where it is None.
    cpus, gpus : float
        The cores and devices that one training run takes; fractions share them.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0


def run_on_ray(job: Job, overview: Overview, cluster: RayCluster) -> bool:
    """Keep a cluster busy until nothing is left to do or the user stops it.

    Parameters
    ----------
    job : Job
    overview : Overview
    cluster : RayCluster

    Returns
    -------
    bool
        False where the user stopped it.

    Raises
    ------
    InvalidInput
        Where Ray is not installed, the cluster does not answer, or its nodes cannot reach the log.
    RunFailed
        Where tasks cannot go on.
    """
    ray = _import_ray()
    try:
        _call(cluster.address)
        ray.init(
            address=cluster.address,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"--address: no Ray cluster at {cluster.address}: {error}") from error
    try:
        nodes = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        if job.storage.kind == "sqlite" and len(nodes) > 1:
            raise InvalidInput(
                f"SQLite ({job.storage}) cannot be shared by {len(nodes)} machines; give --storage"
                " postgresql://... or, on a file system that all of them mount, jsonl:///FILE"
            )
        _say_where_nothing_fits(ray, cluster)
        return _Tasks(ray, job, overview, cluster).run()
    finally:
        ray.shutdown()


def _say_where_nothing_fits(ray: Any, cluster: RayCluster) -> None:
    """Say that the command waits, where no node has what one training run takes."""
    wanted = {"CPU": cluster.cpus, "GPU": cluster.gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0.0) >= share for name, share in wanted.items()) for node in nodes):
        return
    missing = f"no node has {cluster.cpus:g} cores and {cluster.gpus:g} devices for a run"
    if cluster.address is None:
        raise InvalidInput(f"{missing}; lower --run-cpus or --run-gpus")
    print(f"dynamoe-search: {missing}; waiting for one to join the cluster", flush=True)


class _Tasks:
    def __init__(self, ray: Any, job: Job, overview: Overview, cluster: RayCluster) -> None:
        self.ray, self.job, self.overview, self.cluster = ray, job, overview, cluster
        self.train = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=0)(
            train_one
        )
        self.job_on_ray = ray.put(job)
        self.pending: dict[Any, str] = {}
        self.detector = FailureDetector(job.grace)

    def run(self) -> bool:
        """Hand out runs as long as there are any, and wait for the last to end."""
        finish, abort = threading.Event(), threading.Event()
        nothing_to_start = False
        with interrupts(finish, abort):
            while True:
                progress = self.overview.read()
                if progress.retries:
                    nothing_to_start = False
                if not finish.is_set() and not nothing_to_start:
                    self._submit()
                self.overview.report(0.0, len(self.pending), finish.is_set())
                self._end_the_stopped()
                if self.pending and abort.is_set():
                    self._cancel()
                    return False
                if self.pending:
                    nothing_to_start |= not self._collect()
                elif finish.is_set() or not progress.running:
                    return not finish.is_set() or self.overview.is_over()
                else:
                    self._wait_for_others()

    def _submit(self) -> None:
        while len(self.pending) < self._room():
            name = new_worker()
            self.pending[self.train.remote(self.job_on_ray, name)] = name

    def _room(self) -> int:
        """How many runs the cluster has room for; at least one, which may wait for a node."""
        resources = self.ray.cluster_resources()
        wanted = {"CPU": self.cluster.cpus, "GPU": self.cluster.gpus}
        rooms = [
            int(resources.get(name, 0.0) / share + 1e-9) for name, share in wanted.items() if share
        ]
        return max(1, min(rooms, default=1))

    def _collect(self) -> bool:
        """Collect tasks that have ended; False where one found nothing to train."""
        ended, _ = self.ray.wait(list(self.pending), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
        found = True
        for task in ended:
            name = self.pending.pop(task)
            try:
                found &= self.ray.get(task)
            except self.ray.exceptions.RayTaskError as error:
                cause = error.cause
                if isinstance(cause, InvalidInput | RunFailed):
                    raise RunFailed(str(cause)) from error
                raise RunFailed(f"a Ray task failed: {cause}") from error
            except self.ray.exceptions.RayError as error:
                self._bury(name, error)
        return found

    def _end_the_stopped(self) -> None:
        """End the processes of tasks that give no heartbeats: Ray would wait for them."""
        self.detector.look(self.overview.log.heartbeats())
        for task, name in self.pending.items():
            if self.detector.stands_still(name):
                self.ray.cancel(task, force=True)

    def _wait_for_others(self) -> None:
        """Release the runs of dead workers outside this cluster: they are tried again here."""
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        self.overview.release(self.detector.is_dead)

    def _bury(self, name: str, error: Exception) -> None:
        """Release the run of a task that has died with its process or its node."""
        self.overview.release(name.__eq__)
        deaths = self.overview.count_death()
        if deaths >= _DEATHS_WITHOUT_PROGRESS:
            raise RunFailed(
                f"{deaths} Ray tasks died one after another without finishing a run; the last:"
                f" {error}"
            )

    def _cancel(self) -> None:
        """Interrupt the tasks, which record it."""
        for task in self.pending:
            self.ray.cancel(task, force=False)
        self.ray.wait(list(self.pending), num_returns=len(self.pending), timeout=_SECONDS_TO_END)


_kept: dict[str, Worker] = {}


def train_one(job: Job, name: str) -> bool:
    """Start a run and carry it out; False where there is none now.

    Ray uses a process for one task after another: data and plan are kept for the next.
    """
    if job.session not in _kept:
        one_thread()
        _kept.clear()
        _kept[job.session] = Worker(job, name)
    worker = _kept[job.session]
    worker.name = name
    # Ray would raise an interrupt at any place in a canceled task, also where a run has just been
    # started, or is being ended, and could then not be recorded.
    canceled = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: canceled.set())
    try:
        with worker.heartbeat():
            return worker.train_next(abort=canceled.is_set)
    finally:
        signal.signal(signal.SIGINT, before)


def _call(address: str | None) -> None:
    """Check that an address answers; Ray itself would wait for it without end."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()


def _import_ray() -> Any:
    # Ray would otherwise report its use over the network.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InvalidInput(
            "the engine ray needs Ray; install the extra: pip install 'dynamoe-search[ray]'"
        ) from None
    return ray
