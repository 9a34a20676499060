"""The fork server, in interpreters of its own: that of the tests may have been started before."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from dynamoe_search.log.heartbeat import new_worker
from dynamoe_search.log.storage import storage_of
from dynamoe_search.run.processes import end_with_parent, worker_count
from dynamoe_search.run.worker import Job, Worker
from tests.conftest import edit

pytestmark = pytest.mark.slow

PACKAGE = "dynamoe_search"

ASK = """
import json, os, signal, sys
from dynamoe_search.run.processes import worker_context

if __name__ == "__main__":
    context = worker_context()
    {meanwhile}
    import tests.run.test_processes
    receiving, sending = context.Pipe(duplex=False)
    task = getattr(tests.run.test_processes, "{task}")
    process = context.Process(target=task, args=(sending, *sys.argv[1:]), daemon=True)
    process.start()
    print(json.dumps(receiving.recv()), flush=True)
    {afterwards}
"""


def ask(
    task: Callable[..., None], *arguments: Any, meanwhile: str = "", afterwards: str = ""
) -> subprocess.Popen:
    code = ASK.format(task=task.__name__, meanwhile=meanwhile, afterwards=afterwards)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"},
    )


def answer_of(process: subprocess.Popen) -> Any:
    output, complaints = process.communicate(timeout=120)
    assert process.returncode == 0, complaints
    assert not complaints
    return json.loads(output)


def describe_itself(sending: Connection) -> None:
    deaf = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    sending.send([os.environ["OMP_NUM_THREADS"], deaf])


def test_workers_have_one_thread_and_no_ear_for_interrupts() -> None:
    unchanged = (
        "assert 'OMP_NUM_THREADS' not in os.environ;"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler;"
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])"
    )
    assert answer_of(ask(describe_itself, meanwhile=unchanged)) == ["1", True]


def test_cores_are_counted_on_systems_that_bind_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= worker_count(None) <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert 1 <= worker_count(None) <= (os.cpu_count() or 1)
    assert worker_count(3) == 3


@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("dynamoe-search"))], [sys.executable, "-m", PACKAGE]],
    ids=["script", "module"],
)
def test_no_module_of_the_current_folder_is_run(small_study: Path, command: list[str]) -> None:
    for name in ("random", "types", "queue", "pandas", "torch", "selectors"):
        (small_study.parent / f"{name}.py").write_text("raise RuntimeError('not for you')")
    edit(small_study, ("epochs = 2", "epochs = 1"), ("runs = 14", "runs = 2"))
    done = subprocess.run(
        [*command, "run", str(small_study), "--workers", "1"],
        cwd=small_study.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")


SCRIPT = """
import threading
import dynamoe_search as ds

study = ds.Study("study.toml")
endings = []
{call}
print(endings)
"""


@pytest.mark.parametrize(
    "call",
    [
        "endings.append(study.run(workers=1, progress=False))",
        "t = threading.Thread(target=lambda: endings.append(study.run(1, progress=False)));"
        " t.start(); t.join()",
    ],
    ids=["main", "thread"],
)
@pytest.mark.parametrize("way", ["script.py", pytest.param("-", marks=pytest.mark.long)])
def test_a_script_needs_no_guard(small_study: Path, way: str, call: str) -> None:
    edit(small_study, ("epochs = 2", "epochs = 1"), ("runs = 14", "runs = 2"))
    script = small_study.with_name("script.py")
    script.write_text(SCRIPT.format(call=call))
    done = subprocess.run(
        [sys.executable, way],
        cwd=small_study.parent,
        input=script.read_text() if way == "-" else "",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("['finished']\n", "")


def test_an_interrupt_while_it_imports_does_no_harm() -> None:
    interrupt = (
        "signal.signal(signal.SIGINT, lambda number, frame: None); os.killpg(0, signal.SIGINT)"
    )
    assert answer_of(ask(describe_itself, meanwhile=interrupt))[0] == "1"


INTERRUPT_EARLY = """
import os, signal
from multiprocessing import forkserver

def begin(ensure_running):
    def interrupted():
        os.killpg(0, signal.SIGINT)
        ensure_running()
        os.killpg(0, signal.SIGINT)
    return interrupted

forkserver.ensure_running = begin(forkserver.ensure_running)
from dynamoe_search.run.processes import worker_context

if __name__ == "__main__":
    try:
        worker_context()
    except KeyboardInterrupt:
        print("heard", os.waitpid(-1, os.WNOHANG)[0])
"""


def test_an_interrupt_while_the_server_starts_is_heard_by_the_parent_alone() -> None:
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPT_EARLY],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=120,
    )
    assert (process.stdout, process.stderr) == ("heard 0\n", "")


INTERRUPT_ANOTHER_THREAD = """
import os, signal, threading, time
from dynamoe_search.run.processes import interrupts_put_off

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
try:
    with interrupts_put_off():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        print("put off")
except KeyboardInterrupt:
    print("heard")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def test_an_interrupt_that_another_thread_receives_is_put_off_too() -> None:
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPT_ANOTHER_THREAD], capture_output=True, text=True
    )
    assert (process.stdout, process.stderr) == ("put off\nheard\n", "")


def train_one(sending: Connection, path: str) -> None:
    before = set(sys.modules)
    job = Job("session", storage_of(Path(path)), "search", Path(), None, "cpu")
    trained = Worker(job, new_worker()).train_next(abort=lambda: False)
    sending.send([trained, sorted(set(sys.modules) - before)])


def test_a_worker_finds_imported_what_takes_long(small_study: Path) -> None:
    # Not at the top of this module, which the worker imports before it looks what it has.
    from tests.run.processes import begin

    begin(small_study)
    trained, imported = answer_of(ask(train_one, small_study.parent))
    assert trained
    # What torch itself imports with the first optimizer is left to each worker.
    late = ("optuna", "alembic", "sqlalchemy.orm", "scipy", "pandas", "dynamoe_search")
    assert [module for module in imported if module.startswith(late)] == []


def stay(sending: Connection) -> None:
    end_with_parent()
    sending.send([os.getpid(), os.getppid()])
    time.sleep(3600)


def test_a_killed_parent_leaves_nothing_behind() -> None:
    process = ask(stay, afterwards="process.join()")
    assert process.stdout is not None
    worker_and_server = json.loads(process.stdout.readline())
    assert all(Path(f"/proc/{number}").exists() for number in worker_and_server)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{number}").exists() for number in worker_and_server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
