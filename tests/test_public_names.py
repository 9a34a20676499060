"""The names that stubs list are those that the packages have."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import dynamoe_search

PACKAGE = Path(dynamoe_search.__file__).parent
LAZY = [path.parent for path in sorted(PACKAGE.rglob("__init__.pyi"))]


@pytest.mark.parametrize("folder", LAZY, ids=lambda folder: folder.name)
def test_a_stub_lists_the_public_names(folder: Path) -> None:
    stub = ast.parse((folder / "__init__.pyi").read_text())
    imports = [node for node in ast.walk(stub) if isinstance(node, ast.ImportFrom)]
    listed = [alias.name for node in imports for alias in node.names]
    name = ".".join(folder.relative_to(PACKAGE.parent).parts)
    package = importlib.import_module(name)
    assert sorted(listed) == sorted(package.__all__) == sorted(dir(package))
    assert len(set(listed)) == len(listed)
    for public in listed:
        # A submodule of that name would replace the function as soon as it is imported.
        assert not isinstance(getattr(package, public), ModuleType)
        assert not (folder / f"{public}.py").exists()
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018
