"""The recipes of docs/agents.md, held against the agent scripts, which the suite runs.

A recipe has values where a script has names. Each of its calls stands in the script with at least the same
arguments, and what it imports is imported there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.files import REPOSITORY

PAGE = (REPOSITORY / "docs" / "agents.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VALUES = (
    (r'"http://127\.0\.0\.1:9090/sessions/my-session(/v1)?"', "base_url"),
    (r'"unused"', "api_key"),
    (r'"my-model"', "model"),
    (r'"(\w+/)my-model"', r'f"\1{model}"'),
)


def sections() -> dict[str, str]:
    """Title and text of each section."""
    return {match[1]: match[2] for match in SECTION.finditer(PAGE)}


def recipes() -> dict[str, str]:
    """Title of a section and its Python, with the scripts' names instead of values."""
    found: dict[str, str] = {}
    for title, text in sections().items():
        for block in PYTHON.findall(text):
            for value, name in VALUES:
                block = re.sub(value, name, block)
            found[title] = block
    return found


def missing(recipe: str, script: str) -> list[str]:
    """The lines of the recipe that the script lacks."""
    wanted, there = ast.parse(recipe), ast.parse(script)
    imports, calls = set(_imports(there)), list(_calls(there))
    lacking = [f"import {name}" for name in _imports(wanted) if name not in imports]
    values = {ast.dump(node) for node in ast.walk(there) if isinstance(node, ast.expr)}
    for statement in wanted.body:
        if isinstance(statement, ast.Assign):
            outer = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
            if isinstance(outer, ast.Call):
                found = any(_within(outer, call) for call in calls)
            else:
                found = ast.dump(outer) in values
            lacking += [] if found else [ast.unparse(statement)]
    return lacking


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _within(call: ast.Call, other: ast.Call) -> bool:
    """Whether `other` is the same call, with the same arguments or more."""

    def arguments(of: ast.Call) -> set[str]:
        return {*map(ast.dump, of.args), *map(ast.dump, of.keywords)}

    return ast.dump(call.func) == ast.dump(other.func) and arguments(call) <= arguments(other)
