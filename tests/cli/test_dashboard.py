"""``dashboard`` as a command."""

import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cli.calls import error_of
from tests.processes import Command, output_of


@pytest.mark.slow
def test_it_serves_the_study_until_it_is_interrupted(finished: Path, command: Command) -> None:
    pytest.importorskip("optuna_dashboard")
    process = command("dashboard", finished, "--port", 0)
    assert process.stdout is not None
    address, _, hint = process.stdout.readline().partition(" ")
    assert hint == "(Ctrl-C ends it)\n"
    assert "reload the page to see changed estimates of earlier ones" in process.stdout.readline()
    with urlopen(address, timeout=60) as page:
        assert b"Optuna Dashboard" in page.read()
    process.send_signal(signal.SIGINT)
    assert output_of(process, status=0) == "Ended.\n"


def test_mistakes_are_told(small_study: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    assert "holds no results yet" in error_of("dashboard", small_study)
    assert "Invalid value for '--port'" in error_of("dashboard", small_study, "--port", 70000)
