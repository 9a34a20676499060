"""A `map` by several processes, for work that comes in pieces: results keep their order."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, Protocol, TypeVar

from dynamoe_search.errors import RunFailed
from dynamoe_search.run.processes import (
    end_with_parent,
    interrupts_put_off,
    start_environment,
    without_the_script,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

# Processes take longer to start than this process takes for a few items.
_ITEMS_HERE = 8
_AHEAD = 2  # items per process that are read before the first of their results is taken


class Map(Protocol):
    """What `map` does with one iterable."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """The function of each item, in the order of the items."""


@contextmanager
def map_in_processes(workers: int) -> Iterator[Map]:
    """A `map` by this number of processes, which end with the block.

    Results come in the order of the items, whatever the number of processes. The first few are made
    here, so that little work starts no process. At most two items per process are under way, so
    that memory does not grow with their number. The function is sent to each process once.

    Parameters
    ----------
    workers : int
        At least 1; with 1 it is `map` itself.

    Raises
    ------
    RunFailed
        In the block, if a process dies. What the function raises is raised in the block, too.

    Examples
    --------
    >>> with map_in_processes(2) as in_processes:
    ...     list(in_processes(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    if workers == 1:
        yield map
        return
    with ExitStack() as stack:

        def in_processes(
            function: Callable[[Item], Result], items: Iterable[Item], /
        ) -> Iterator[Result]:
            remaining = iter(items)
            yield from map(function, islice(remaining, _ITEMS_HERE))
            pool = _Pool(workers, multiprocessing.get_context("spawn"), _begin, (function,))
            stack.callback(pool.shutdown, cancel_futures=True)
            pending: deque[Future[Result]] = deque()
            try:
                for item in remaining:
                    pending.append(pool.submit(_apply, item))
                    if len(pending) == _AHEAD * workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            except BrokenProcessPool as error:
                raise RunFailed(
                    "a process died, perhaps for want of memory; try --workers 1"
                ) from error

        yield in_processes


class _Pool(ProcessPoolExecutor):
    """Its processes never hear interrupts from the terminal, and do not run the user's script."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ever; this may start a process."""
        # This one first: started later, it would unblock interrupts.
        resource_tracker.ensure_running()
        with interrupts_put_off(), without_the_script(), start_environment():
            return super().submit(function, *args, **kwargs)


_function: Callable[[Any], Any]  # what a process was begun with


def _begin(function: Callable[[Any], Any]) -> None:
    global _function
    end_with_parent()
    _function = function


def _apply(item: Any) -> Any:
    return _function(item)
