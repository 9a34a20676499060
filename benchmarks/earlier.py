"""The package as it was at an earlier commit, to measure side by side with what it is now."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "564ddfd"  # the last commit with the recipe, the initial weights and the loop of 0.1


@contextmanager
def package_at(commit: str) -> Iterator[Path]:
    """A folder with the package and the studies of a commit of this repository."""
    wanted = ("dynamoe_search", ":(glob)studies/*/study.toml")
    archive = subprocess.run(
        ["git", "archive", commit, "--", *wanted], cwd=ROOT, capture_output=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def shipped_study(root: Path, name: str) -> dict[str, Any]:
    """A study file as it is shipped with the package in a folder."""
    return tomllib.loads((root / "studies" / name / "study.toml").read_text("utf-8"))


def run_driver(code: Path, driver: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a script with the package in a folder: it reads JSON, and prints a line of it per row."""
    found = subprocess.run(
        [sys.executable, "-c", driver],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        cwd=code,
        env={"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    if found.returncode:
        raise SystemExit(found.stderr)
    return [json.loads(line) for line in found.stdout.splitlines()]
