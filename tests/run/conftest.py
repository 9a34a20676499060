"""One fork server for all tests of this folder, whichever of them comes first."""

from multiprocessing import forkserver

import pytest

import tests.processes  # noqa: F401  # which says what it imports


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    forkserver.ensure_running()
