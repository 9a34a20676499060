"""Results of many tasks in a file of JSON lines: the same call goes on where the last one was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.progress import track
from threadpoolctl import threadpool_limits

from dynamoe_search.run.processes import end_with_parent

Task = tuple[str | int, ...]


class Result(Protocol):
    """A dataclass of plain values."""

    @property
    def task(self) -> Task:
        """What it is the result of."""


R = TypeVar("R", bound=Result)


def read_results(path: Path, kind: Callable[..., R]) -> dict[Task, R]:
    """The results in a file, by task; a line that was not written whole is left out."""
    results: dict[Task, R] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                result = kind(**json.loads(line))
            except json.JSONDecodeError:
                continue
            results[result.task] = result
    return results


def run_rest(
    path: Path,
    work: Callable[..., Any],
    tasks: Collection[Task],
    done: Collection[Task],
    workers: int,
    minutes: float,
) -> None:
    """Carry out the tasks that are not done, in their order, and append each result at once.

    Parameters
    ----------
    path : Path
    work : callable
        Takes a task's values, and returns its `Result`.
    tasks, done : collection of tuple
    workers : int
        Processes of one thread each.
    minutes : float
        No task is begun after them.
    """
    rest = [task for task in tasks if task not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.read_text() if path.exists() else ""
    with path.open("a") as file:
        if written and not written.endswith("\n"):
            file.write("\n")
        results = _results(work, rest, workers, time.monotonic() + 60 * minutes)
        for result in track(results, "Simulate", total=len(rest)):
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()


def _results(
    work: Callable[..., Any], tasks: list[Task], workers: int, end: float
) -> Iterator[Any]:
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:
        waiting = iter(tasks)
        running = {pool.submit(work, *task) for task in islice(waiting, 2 * workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            if time.monotonic() < end:
                running |= {pool.submit(work, *task) for task in islice(waiting, len(done))}
            yield from (future.result() for future in done)


def _begin() -> None:
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"
    threadpool_limits(1)
