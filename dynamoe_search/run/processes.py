"""Worker processes that start at once: they are forked from one that has imported everything.

That process, the fork server of multiprocessing, trains nothing and has no threads and no device.
It ends with the last of the processes that use it, however they end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext, ForkServerContext


def worker_context() -> ForkServerContext:
    """What to start workers in, from the main thread.

    With the first call the fork server begins to import, while the caller does so itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dynamoe_search.run.worker"])
    # One thread for each worker; and no module of the current folder, where a random.py may lie.
    with _environment(OMP_NUM_THREADS="1", PYTHONSAFEPATH="1"):
        # This one first: started later, it would unblock interrupts.
        resource_tracker.ensure_running()
        with interrupts_put_off():
            forkserver.ensure_running()
    return context


def end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that happened."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class Flag:
    """An event of processes, without a lock, which a process that dies would keep.

    Parameters
    ----------
    context : BaseContext
        In which the processes are started.
    """

    def __init__(self, context: BaseContext) -> None:
        self._value = context.RawValue("b", False)

    def set(self) -> None:
        """Make it true."""
        self._value.value = True

    def is_set(self) -> bool:
        """Whether it is true."""
        return bool(self._value.value)


@contextmanager
def interrupts_put_off() -> Iterator[None]:
    """Put off interrupts until the end of the block; processes started in it never get them.

    An interrupt from the terminal reaches every process; only the parent decides about it.
    """
    heard: list[int] = []
    # The mask is for the processes that are started. This process may have threads without it, so
    # its main thread, the only one that handles an interrupt, notes it.
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:
        handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
