"""Where the logs of tests are, a real PostgreSQL among them, and the command itself."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import Command, dying_with_this, wait_for

_DEBIAN = Path("/usr/lib/postgresql")


class Server:
    """A PostgreSQL server on a free port, in a folder of its own."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._databases = count()
        self._process: subprocess.Popen | None = None
        initialize = [binaries / "initdb", "--auth=trust", "--no-sync", "--username=postgres"]
        subprocess.run([*initialize, self._data], **self._options, check=True)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        program = [self.binaries / "postgres", "-D", self._data, *options.split()]
        self._process = subprocess.Popen([*dying_with_this("QUIT"), *program], **self._options)
        ready = [self.binaries / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        wait_for(lambda: subprocess.run(ready).returncode == 0)

    def stop(self) -> None:
        """Stop it as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def new_database(self) -> str:
        """The address of a database that nobody has used."""
        import psycopg

        name = f"studies_{next(self._databases)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _options(self) -> dict[str, Any]:
        # PostgreSQL refuses to run as root; its package makes a user for it.
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        quiet = {"cwd": self.folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return quiet | (user if os.getuid() == 0 else {})


@pytest.fixture(scope="session")
def _running_server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    found = [*sorted(_DEBIAN.glob("*/bin/initdb")), shutil.which("initdb")]
    binaries = next((Path(path).resolve().parent for path in found if path), None)
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    # Not below pytest's own folder: others may not enter it, and sockets need short paths.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="postgresql-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server = Server(binaries, Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def server(_running_server: Server) -> Server:
    """The PostgreSQL server of this test session; a test that stops it starts it again."""
    return _running_server


@pytest.fixture(params=["sqlite", "jsonl", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address for logs, of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("server").new_database()
    return f"{request.param}:///{tmp_path / 'log'}"


_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=_CUDA)])
def device(request: pytest.FixtureRequest) -> str:
    """Each torch device that there is."""
    return str(request.param)


@pytest.fixture
def command() -> Iterator[Command]:
    """Starts dynamoe-search; what is still running at the end of the test is killed."""
    command = Command()
    yield command
    command.end_all()
