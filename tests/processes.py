"""Real processes, started, stopped and killed by tests."""

import multiprocessing
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS_TO_WAIT = 120.0

# Forked from one process that has imported everything, so that a worker starts in no time.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([__name__, "tests.run.processes", "tests.ready", "psycopg"])


def dying_with_this(signal_name: str) -> list[str]:
    """What to put before a program so that it ends with this process, however that ends."""
    return ["setpriv", "--pdeathsig", signal_name] if shutil.which("setpriv") else []


@dataclass
class Command:
    """Starts dynamoe-search as a user would, each time in a process group of its own."""

    started: list[subprocess.Popen] = field(default_factory=list)

    def __call__(self, *arguments: object, file_size: int = -1) -> subprocess.Popen:
        """Start it with these arguments; its files cannot grow beyond a size in bytes."""
        limits = (file_size, file_size)
        process = subprocess.Popen(
            [
                *dying_with_this("KILL"),
                sys.executable,
                "-m",
                "dynamoe_search",
                *map(str, arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )
        self.started.append(process)
        return process

    def end_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                kill(process)


def output_of(process: subprocess.Popen, status: int = 0) -> str:
    """What a command has said, after it has ended with that exit status."""
    output, _ = process.communicate(timeout=SECONDS_TO_WAIT)
    assert process.returncode == status, output
    assert "Traceback" not in output, output
    return output


def kill(process: subprocess.Popen) -> None:
    """Kill a command and all its children at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@contextmanager
def another_process(
    function: Callable[..., None], *arguments: Any, **options: Any
) -> Iterator[Any]:
    """A call in another process, which is killed at the end of the block at the latest."""
    process = context.Process(target=function, args=arguments, kwargs=options)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def replace(name: str, by: Any) -> None:
    """Put something in the place of a function, or another value, of a module."""
    module, function = name.rsplit(".", 1)
    setattr(pkgutil.resolve_name(module), function, by)


def die(*arguments: Any, **options: Any) -> None:
    """Die at once, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def freeze_before(name: str) -> None:
    """Stop this process, until another continues it, before a function is called."""
    call = pkgutil.resolve_name(name)

    def frozen(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return call(*arguments, **options)

    replace(name, frozen)


def is_frozen(process: int) -> bool:
    """Whether a process is stopped by a signal."""
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def wait_for(what: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise AssertionError("it never came to that")
