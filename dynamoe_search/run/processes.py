"""Worker processes that start at once: they are forked from one that has imported everything.

That one, multiprocessing's fork server, has trained nothing, holds no thread and no device, and
ends with the last of the processes that know it, however they end.
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

    The first call has the fork server begin to import, while the caller does so itself: commands
    that train begin with it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dynamoe_search.run.worker"])
    # It first, as it would take the shield away from what is started after it.
    resource_tracker.ensure_running()
    with _one_thread_each(), interrupts_put_off():
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
    """An event of processes, without a lock that one of them could take to its grave.

    Parameters
    ----------
    context : BaseContext
        In which the processes are started.
    """

    def __init__(self, context: BaseContext) -> None:
        self._value = context.RawValue("b", False)

    def set(self) -> None:
        """Let it be so."""
        self._value.value = True

    def is_set(self) -> bool:
        """Whether it is so."""
        return bool(self._value.value)


@contextmanager
def interrupts_put_off() -> Iterator[None]:
    """Let this process hear of an interrupt afterwards, and those started meanwhile never.

    An interrupt from the terminal reaches every process; only the parent decides about it.
    """
    heard: list[int] = []
    # The mask is for those that are started. This process may have threads that do not share it,
    # so its main thread, which alone acts on an interrupt, takes note of it.
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
