"""Who may import what: heavy libraries by part, and no part reaches into one above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import recsae

PACKAGE = Path(recsae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

USERS = {
    "torch": {"recommenders", "sae", "stages"},
    "safetensors": {"recommenders", "sae", "stages", "vectors"},
    "pyarrow": {"recommenders", "sae", "stages", "datasets"},
    "duckdb": {"warehouse", "cli"},
    "rich": {"cli", "report", "progress"},
    "typer": {"cli"},
    "filelock": {"warehouse", "datasets"},
}
"""Library -> parts of the package that may import it."""

BELOW = {
    "errors": set(),
    "config": {"errors"},
    "progress": {"errors"},
    "saving": set(),
    "limits": {"errors"},
    "warehouse": {"errors", "limits", "progress", "saving"},
    "datasets": {"errors", "config", "warehouse"},
    "vectors": {"errors", "config", "datasets"},
    "recommenders": {"errors", "config", "progress", "saving"},
    "sae": {"errors", "config", "progress", "recommenders", "saving"},
}
"""Part -> the other parts that it may import; parts not named here may import any but cli."""


def part(path: Path) -> str:
    """``warehouse`` for recsae/warehouse/sql.py, ``errors`` for recsae/errors.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Dotted names that a file imports, except for type checking; only those at its top."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif not (at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            pending += ast.iter_child_nodes(node)


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_heavy_libraries_are_used_where_they_belong(path: Path) -> None:
    used = {module.partition(".")[0] for module in imports(path)}
    for library, users in USERS.items():
        assert library not in used or part(path) in users, f"{name(path)} imports {library}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_part_imports_one_above_it(path: Path) -> None:
    own = part(path)
    used = {module.split(".")[1] for module in imports(path) if module.startswith("recsae.")}
    used -= {own, "__version__"}
    if own in BELOW:
        assert used <= BELOW[own], f"{name(path)} imports {sorted(used - BELOW[own])}"
    elif own not in ("cli", "__main__"):
        assert "cli" not in used


@pytest.mark.parametrize("path", [p for p in FILES if part(p) == "cli"], ids=name)
def test_commands_load_heavy_libraries_only_when_they_run(path: Path) -> None:
    used = set(imports(path, at_import=True))
    heavy = ("torch", "polars", "duckdb", "pyarrow", "numpy", "rich", "safetensors")
    assert not [m for m in used if m.partition(".")[0] in heavy]
    own = {module.split(".")[1] for module in used if module.startswith("recsae.")}
    assert own <= {"cli", "errors", "config", "limits", "progress", "__version__"}
