"""The pages of docs/ are current, what they show runs, and no link is broken."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import dynamoe_search as ds
from dynamoe_search.budgets import parameter_count
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import LANGUAGE_SCALES
from tests.test_house import PARTS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
PAGES += sorted([*DOCS.glob("*.md"), *(ROOT / "studies").glob("*/*.md")])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


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
    assert page == reference.PAGES[name](), "make it again: python docs/make_reference.py"


def test_every_key_of_a_study_file_is_described(reference: ModuleType) -> None:
    page = reference.study_file_page()
    for section, field in StudyFile.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            found = re.search(rf"^\| `{key}` \| .* \| .* \| \S+|^## `\[.*\.{key}\]`", page, re.M)
            assert found, f"{section}.{key}"


def test_choices_are_named(reference: ModuleType) -> None:
    page = reference.study_file_page()
    assert "| `name` | `none`, `switch`, `bias` |" in page
    assert "| `precision` | `float32`, `bfloat16` |" in page
    assert "| `regime` | `paper`, `parameters`, `compute` |" in page


def test_every_command_is_described(reference: ModuleType) -> None:
    page = reference.command_line_page()
    for command in ("run", "worker", "leaderboard", "confirm", "bounds", "analyze", "data prepare"):
        assert f"\n## `dynamoe-search {command}`\n" in page
    assert "| `--storage` |" in page
    assert page.index("| `--debug` |") < page.index("\n## ")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["extending.md"])
def test_examples_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S)
    assert blocks
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("3-4-6-7\n")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_broken(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        target = link.partition("#")[0]
        if not target.startswith(("http:", "https:")) and target:
            assert (page.parent / target).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    """Files of the repository, by their paths; a changelog may name what is gone."""
    if page.name == "CHANGELOG.md":
        return
    named = re.findall(
        r"`((?:dynamoe_search|tests|benchmarks|docs|notebooks)/[\w./-]+)`", page.read_text()
    )
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in readme


def test_the_parts_of_the_package_are_in_order() -> None:
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page[page.index("| part |") : page.index("## A study's way")]
    listed = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", table, re.MULTILINE)
    assert listed == [part for part in PARTS if part not in ("errors", "__main__")]


def test_the_events_of_the_log_are_listed() -> None:
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    written = set()
    for path in (ROOT / "dynamoe_search").rglob("*.py"):
        written |= set(re.findall(r'\bEvent\(\s*"(\w+)"', path.read_text()))
    assert set(re.findall(r"^\| `(\w+)` \|", page[page.index("## The log") :], re.M)) == written


def test_the_table_of_scales() -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    for name, scale in LANGUAGE_SCALES.items():
        even = ds.Schedule((scale.experts // scale.depth,) * scale.depth)
        experts = ds.Experts(scale.hidden, even)
        network = ds.LanguageModel(257, 128, scale.width, scale.heads, experts)
        row = [scale.depth, scale.width, scale.heads, scale.hidden, scale.experts]
        row.append(f"{parameter_count(network).total:,}")
        assert f"| `{name}` | {' | '.join(map(str, row))} |" in page


# Without digits: the README's first command runs it again.
@pytest.mark.parametrize("study", ["mnist", "fashion-mnist", "cifar10", "text-tiny"])
def test_the_table_of_studies(study: str) -> None:
    page = (DOCS / "studies.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| \[{study}\].*", page, re.MULTILINE)
    board = pd.read_parquet(ROOT / "studies" / study / "leaderboard.parquet")
    study_file = read_study_file(ROOT / "studies" / study / "study.toml")
    names = board["pattern"].where(board["pattern"] != "", board["candidate"])
    loss = board.set_index(names)["loss"]
    _, _, _, runs, candidates, taken, uniform, bound, margin, _ = row.split(" | ")
    assert int(runs) == board["seeds"].sum() / study_file.training.seeds
    assert int(candidates) == len(board)
    name, own = taken.split(": ")
    assert (own, uniform) == (f"{loss[name]:.3f}", f"{loss['uniform']:.3f}")
    assert float(bound) <= float(margin) == study_file.search.margin
