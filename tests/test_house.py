"""The import order of the design: each part knows only those before it."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import dynamoe_search.analysis
import pytest

import dynamoe_search

PACKAGE = Path(dynamoe_search.__file__).parent
LEVELS = [
    {"errors", "forking", "optimizer"},
    {"schedules"},
    {"specification"},
    {"budgets"},
    {"routing"},
    {"balance"},
    {"models", "data"},
    {"checkpoint", "evaluation"},
    {"training"},
    {"analysis"},
    {"bench"},
    {"search"},
    {"preload"},
    {"report"},
    {"plots"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}
KNOWS_NOTHING_OF = {"schedules": {"torch", "optuna"}, "budgets": {"torch", "optuna"}}


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for module in imports_of(path):
        outside, _, rest = module.partition(".")
        if outside == "dynamoe_search" and rest:
            other = rest.split(".")[0]
            assert other == part or LEVEL[other] < LEVEL[part], f"{part} imports {other}"
        if part not in ("search", "preload"):
            assert outside != "optuna", f"only search knows optuna, {path} imports it"
        assert outside not in KNOWS_NOTHING_OF.get(part, set())


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_no_file_is_two_ideas(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


@pytest.mark.parametrize("package", [dynamoe_search, dynamoe_search.analysis])
def test_the_public_names_are_those_that_are_listed(package: ModuleType) -> None:
    assert sorted(package._HOME_OF) == sorted(package.__all__)
    for name in package.__all__:
        # A submodule of that name would take the place of the function as soon as it is imported.
        assert not isinstance(getattr(package, name), ModuleType)
        assert importlib.util.find_spec(f"{package.__name__}.{name}") is None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
