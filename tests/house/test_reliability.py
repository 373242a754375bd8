"""docs/reliability.md names tests that exist, and every row of the report of faults."""

from __future__ import annotations

import ast
import re

from tests.faults.report import ROWS
from tests.house.files import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
FAULTS = sorted((REPOSITORY / "tests" / "faults").glob("test_*.py"))


def functions(file: str) -> set[str]:
    """The names of all functions and methods of a file."""
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 60
    known = {file: functions(file) for file, _ in NAMED}
    assert [f"{file}::{name}" for file, name in NAMED if name not in known[file]] == []


def test_every_test_of_a_fault_is_named() -> None:
    tests = {
        (str(file.relative_to(REPOSITORY)), name)
        for file in FAULTS
        if "fault(" in file.read_text(encoding="utf-8")
        for name in functions(str(file.relative_to(REPOSITORY)))
        if name.startswith("test_")
    }
    assert tests - set(NAMED) == set()


def test_the_page_and_the_report_have_the_same_rows() -> None:
    table = PAGE.split("## Faults")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert tuple(rows[1:]) == ROWS


def test_every_row_has_a_test() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in FAULTS)
    assert [row for row in ROWS if f'"{row}"' not in source] == []
