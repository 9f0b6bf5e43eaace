"""Every test that docs/reliability.md names exists, and one to be asked for is marked there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import recsae

REPOSITORY = Path(recsae.__file__).parents[1]
PAGE = REPOSITORY / "docs" / "reliability.md"
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`( †)?")


def functions_of(path: Path) -> dict[str, str]:
    """Name -> decorators of every test of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name: " ".join(ast.unparse(one) for one in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize(
    ("file", "test", "marked"), sorted(set(TEST.findall(PAGE.read_text("utf-8"))))
)
def test_the_page_names_tests_that_exist(file: str, test: str, marked: str) -> None:
    found = functions_of(REPOSITORY / "tests" / file)
    assert test in found
    assert not marked or "fault" in found[test]


def test_every_row_of_a_promise_names_a_test() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row != "| promise | test |"]
    assert len(promises) >= 25
    assert [row for row in promises if not TEST.search(row)] == []
