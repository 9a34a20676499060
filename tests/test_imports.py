"""Importing what needs no torch stays light."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "sklearn", "optuna"}
LIGHT = [
    "dynamoe_search.schedules",
    "dynamoe_search.specification",
    "dynamoe_search.budgets",
    "dynamoe_search.training.settings",
    "dynamoe_search.data.names",
    "dynamoe_search.interop.reading",
]


def imported_with(module: str) -> set[str]:
    """The top-level modules that a new interpreter has after importing one."""
    program = f"import sys, {module}; print(*sys.modules)"
    listed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    return {name.partition(".")[0] for name in listed.split()}


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert imported_with(module).isdisjoint(HEAVY)


def test_a_system_that_is_not_supported_is_told() -> None:
    program = "import sys; sys.modules['fcntl'] = None; import dynamoe_search.cli"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("on Windows, use WSL")


@pytest.mark.slow
def test_heavy_modules_are_seen() -> None:
    assert imported_with("dynamoe_search.models") >= {"torch"}
