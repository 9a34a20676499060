"""What needs no torch, scikit-learn or Optuna does not import it."""

import subprocess
import sys
from pathlib import Path

import pytest

import dynamoe_search

PACKAGE = Path(dynamoe_search.__file__).parent
HEAVY = {"matplotlib", "optuna", "ray", "sklearn", "tokenizers", "torch"}
# Imports the modules it is given one after another, and prints what has been imported after each.
CODE = """
import importlib, sys

import pytest
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, *{name.split(".")[0] for name in sys.modules})
"""


def modules_in(folder: str) -> list[str]:
    return [f"{folder}.{path.stem}" for path in (PACKAGE / folder).glob("[!_]*.py")]


def imported_by(modules: list[str]) -> dict[str, set[str]]:
    names = [f"dynamoe_search.{module}" for module in modules]
    command = [sys.executable, "-c", CODE, "dynamoe_search", *names]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split() for line in found.stdout.splitlines()]
    return {module: HEAVY.intersection(others) for module, *others in lines}


@pytest.mark.slow
def test_light_modules_import_nothing_heavy() -> None:
    light = [
        *("statistics", "bounds", "measure", "decision", "bench"),
        *("decision.leaderboard", "decision.regret", "measure.quantities", "measure.utilization"),
        *("bench.table", "bench.files", "claims.source", "claims.verdicts"),
        *modules_in("statistics"),
        *modules_in("bounds"),
    ]
    found = imported_by(light)
    assert len(found) == len(light) + 1 > 20
    assert {module: heavy for module, heavy in found.items() if heavy} == {}


@pytest.mark.slow
def test_the_landscape_needs_scikit_learn_and_no_torch() -> None:
    assert imported_by(["decision.landscape"])["dynamoe_search.decision.landscape"] == {"sklearn"}
