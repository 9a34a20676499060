"""The pages of docs/ are current, and what they show runs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dynamoe_search.plan.study_file import StudyFile

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    specification = importlib.util.spec_from_file_location("reference", DOCS / "make_reference.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["study-file.md", "command-line.md"])
def test_a_reference_page_is_what_the_code_says(reference: ModuleType, name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == reference.PAGES[name](), "make it anew: python docs/make_reference.py"


def test_every_key_of_a_study_file_is_described(reference: ModuleType) -> None:
    page = reference.study_file_page()
    for section, field in StudyFile.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            found = re.search(rf"^\| `{key}` \| .* \| .* \| \S+|^## `\[.*\.{key}\]`", page, re.M)
            assert found, f"{section}.{key}"


def test_every_command_is_described(reference: ModuleType) -> None:
    page = reference.command_line_page()
    for command in ("run", "worker", "leaderboard", "confirm", "bounds", "analyze", "data prepare"):
        assert f"\n## `dynamoe-search {command}`\n" in page
    assert "| `--storage` |" in page


@pytest.mark.parametrize("page", ["extending.md"])
def test_examples_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S)
    assert blocks
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("3-4-6-7\n")
