"""What the README shows is what works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.study import Study

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_it_is_short() -> None:
    assert len(README.encode()) < 12_000


@pytest.mark.slow
def test_the_library_example_runs(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    assert run.stdout.startswith("8-6-4-2\n")
    study = Study(tmp_path / "my-study")
    runs = study.training_runs()
    assert runs["state"].eq("complete").all()
    assert runs["run"].nunique() == 12
    assert len(runs) == 12 * study.file.training.seeds
    assert str(study.decision()) in run.stdout
    loss = study.network("5-4-2-1").recorded_loss
    assert loss == runs.loc[runs["candidate"] == "5-4-2-1", "validation_loss"].iloc[0]
    assert run.stdout.endswith(f"{loss} 5-4-2-1\n")


def test_the_study_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(block("toml"))
    assert read_study_file(path).search.presets == ("mola",)


@pytest.mark.parametrize("path", sorted(ROOT.glob("studies/**/study.toml")), ids=str)
def test_the_studies_are_valid(path: Path) -> None:
    read_study_file(path)
