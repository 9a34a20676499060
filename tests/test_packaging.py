"""What the packaging files say twice agrees, and every package that is imported is declared."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dynamoe_search

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = {
    line: Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
    if Requirement(line).name != PROJECT["name"]
}
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
}


def test_all_files_name_the_same_version() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == dynamoe_search.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == dynamoe_search.__version__


@pytest.mark.parametrize("requirement", REQUIREMENTS.values(), ids=REQUIREMENTS.keys())
def test_a_tested_version_is_within_the_bounds(requirement: Requirement) -> None:
    assert requirement.specifier, "has a lower bound"
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_every_imported_package_is_declared() -> None:
    imported = set()
    for path in (ROOT / "dynamoe_search").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    others = imported - sys.stdlib_module_names - {"dynamoe_search"}
    declared = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS.values()}
    homes = packages_distributions()
    undeclared = {
        name
        for name in others
        if not declared & {canonicalize_name(home) for home in homes.get(name, [name])}
    }
    assert {"numpy", "optuna", "sklearn"} <= others
    assert not undeclared


def test_the_hooks_before_a_commit_are_the_linters_of_ci() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = configuration["repos"]
    hooks = [hook["entry"] for hook in repository["hooks"]]
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-len(hooks) :] == hooks
