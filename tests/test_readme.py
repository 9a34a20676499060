"""What the README shows is what works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynamoe_search.budgets import parameter_count
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import LANGUAGE_SCALES, Experts, LanguageModel

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_the_library_example_runs(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "Schedule(counts=(8, 6, 4, 2))" in run.stdout
    assert (tmp_path / "routers.png").stat().st_size > 5_000


def test_the_study_file_shows_every_key(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(block("toml"))
    study = read_study_file(path)
    for name, field in StudyFile.model_fields.items():
        assert re.search(rf"\b{name}\b", block("toml"))
        for key in getattr(field.annotation, "model_fields", {}):
            assert re.search(rf"\b{key}\b", README), f"{name}.{key}"
    assert study.search.presets == ("mola",)


@pytest.mark.parametrize("path", sorted(ROOT.glob("studies/*/study.toml")), ids=str)
def test_the_studies_are_valid(path: Path) -> None:
    read_study_file(path)


def test_the_table_of_scales() -> None:
    for name, scale in LANGUAGE_SCALES.items():
        even = Schedule((scale.experts // scale.depth,) * scale.depth)
        network = LanguageModel(257, 128, scale.width, scale.heads, Experts(scale.hidden, even))
        row = [scale.depth, scale.width, scale.heads, scale.hidden, scale.experts]
        row.append(f"{parameter_count(network).total:,}")
        assert f"| `{name}` | {' | '.join(map(str, row))} |" in README
