"""Worker processes that start at once: they are forked from one that has imported everything.

That process, the fork server of multiprocessing, trains nothing and has no threads and no device.
It ends with the last of the processes that use it, however they end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext, ForkServerContext
from multiprocessing.util import get_temp_dir
from typing import Any

from joblib import cpu_count

from dynamoe_search.files import own
from dynamoe_search.log.alive import newcomers_take_turns

_SECONDS_BETWEEN_SIGNS = 0.5


def worker_count(workers: int | None) -> int:
    """The number of workers that is asked for; one per core of this process where none is."""
    return workers or cpu_count()


def worker_context() -> ForkServerContext:
    """What to start workers in.

    With the first call the fork server begins to import, while the caller does so itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dynamoe_search.run.worker"])
    _own_temporary_folder()
    with start_environment():
        # This one first: started later, it would unblock interrupts.
        resource_tracker.ensure_running()
        with interrupts_put_off():
            forkserver.ensure_running()
    return context


@contextmanager
def without_the_script() -> Iterator[None]:
    """Let the processes that are started meanwhile not run the user's script again.

    By default they do, which takes a guard in the script, and fails where it came from a pipe. They
    need nothing of it.
    """
    script = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {
        name: script.pop(name) for name in ("__file__", "__spec__") if name in script
    }
    script["__spec__"] = None
    try:
        yield
    finally:
        del script["__spec__"]
        script.update(hidden)


def end_with_parent() -> None:
    """End this process as soon as its parent is gone, however that happened."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def show_signs(show: Callable[[], None]) -> None:
    """Call something again and again, as long as this process is neither stopped nor dead."""

    def go_on() -> None:
        while True:
            show()
            time.sleep(_SECONDS_BETWEEN_SIGNS)

    threading.Thread(target=go_on, daemon=True).start()


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
def start_environment() -> Iterator[None]:
    """Set variables for the processes that are started meanwhile."""
    # One thread for each worker; and no module of the current folder, where a random.py may lie.
    values = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
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


def _own_temporary_folder() -> None:
    """Have the folder of the fork server's socket where it is removed after a kill, too.

    Multiprocessing makes it once for each process, and removes it only where the process ends well.
    """
    with newcomers_take_turns() as ours:
        before, tempfile.tempdir = tempfile.tempdir, str(ours)
        try:
            made = get_temp_dir()
        finally:
            tempfile.tempdir = before
        if made not in _owned:
            _owned[made] = os.open(made, os.O_RDONLY)
            own(_owned[made])


_owned: dict[str, int] = {}  # until this process ends
