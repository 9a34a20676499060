"""The order of the house: imports point one way, and libraries are used by their public names."""

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path
from tokenize import (
    COMMENT,
    DEDENT,
    ENCODING,
    ENDMARKER,
    INDENT,
    NEWLINE,
    NL,
    generate_tokens,
)

import pytest

import dynamoe_search

PACKAGE = Path(dynamoe_search.__file__).parent
ROOT = PACKAGE.parent
# From bottom to top, as docs/ARCHITECTURE.md has it: each part knows only those before it.
PARTS = (
    *("errors", "untrusted", "files", "schedules", "specification", "budgets", "models", "data"),
    *("training", "statistics", "bounds", "measure", "interop", "decision", "plan", "log"),
    *("search", "run", "bench", "claims", "report", "plots", "trackers", "study", "cli"),
    "__main__",
)
LEVEL = {part: level for level, part in enumerate(PARTS)}
ONLY_SEARCH_KNOWS_OPTUNA = ("search", "report")  # and the dashboard, which serves Optuna's own
WITHOUT_TORCH = ("schedules", "specification", "budgets", "statistics", "bounds", "decision", "log")
FILES = sorted(PACKAGE.rglob("*.py"))
# What IPython and numpy ask objects for: public, though they begin with a line.
PUBLIC = re.compile(r"__\w+__|_repr_\w+_")


def nodes_of(path: Path) -> Iterator[ast.AST]:
    """What stands in a file, but for what only type checkers read."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                waiting.append(child)


def imports_of(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The modules that a file imports, and the names from each."""
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    for module, _ in imports_of(path):
        outside, _, rest = module.partition(".")
        if outside == "dynamoe_search" and rest:
            other = rest.split(".")[0]
            assert other == part or LEVEL[other] < LEVEL[part], f"{part} imports {other}"
        if outside == "optuna":
            assert part in (*ONLY_SEARCH_KNOWS_OPTUNA, "bench"), f"{path} imports optuna"
        if part in WITHOUT_TORCH:
            assert outside not in ("torch", "optuna")
        if part in ("statistics", "bounds"):
            assert outside != "sklearn"


def private(name: str) -> bool:
    return name.startswith("_") and not PUBLIC.fullmatch(name)


def own_names(tree: ast.AST) -> set[str]:
    """The private names that a file defines: functions, classes, attributes, fields."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def foreign_private_names(source: str) -> list[str]:
    """Private attributes and modules of others that a source uses."""
    tree = ast.parse(source)
    own, found = own_names(tree), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not (of_self or node.attr in own):
                found.append(ast.unparse(node))
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom):
            modules = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [part for alias in node.names for part in alias.name.split(".")]
        found += [name for name in modules if private(name)]
    return found


OTHERS = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").glob("*.py")]


@pytest.mark.parametrize("path", [*FILES, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_name_of_another_package_is_used(path: Path) -> None:
    assert foreign_private_names(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "study._storage",
        "from optuna.storages._rdb import models",
        "import optuna._imports",
        "from optuna.trial import _trial",
        "atexit._run_exitfuncs()",
        "trial.study._study_id",
    ],
)
def test_a_private_name_would_be_found(source: str) -> None:
    assert foreign_private_names(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def f(self): self._a = 1\n    def g(self, other): return other._a",
        "class A:\n    def _repr_html_(self): return B()._repr_html_()",
        "A.__new__(A)",
    ],
)
def test_own_and_public_names_are_not(source: str) -> None:
    assert foreign_private_names(source) == []


TRICKS = re.compile(r"\b(gc\.|os\._exit|atexit|sys\.argv|setrecursionlimit|sys\.setswitchinterval)")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_there_are_no_tricks(path: Path) -> None:
    """With garbage, exits or arguments."""
    assert TRICKS.findall(path.read_text()) == []


def test_cores_are_counted_in_one_place() -> None:
    """Not every system can say on which cores a process may run."""
    counting = re.compile(r"\b(cpu_count|sched_getaffinity)\b")
    found = {name_of(path) for path in FILES if counting.search(path.read_text())}
    assert found == {"run/processes.py"}


NO_CODE = {COMMENT, NL, NEWLINE, INDENT, DEDENT, ENCODING, ENDMARKER}


def lines_of_code(source: str) -> int:
    """The lines that are neither blank nor only a comment or a docstring."""
    lines: set[int] = set()
    for token in generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_lines_of_code_are_counted() -> None:
    source = """\"\"\"A docstring
of two lines.\"\"\"

# A comment.
def function():
    \"\"\"Another.\"\"\"
    text = 'no' \\
        'docstring'
    return text  # code, and a comment
"""
    assert lines_of_code(source) == 4


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_two_ideas(path: Path) -> None:
    assert lines_of_code(path.read_text()) <= 350
