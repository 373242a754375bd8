"""The shape of the house: parts, sizes, and nothing of the machine it was built on."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.house.files import PARTS, REPOSITORY, python_files, tracked

LONGEST_FILE = 400
LONGEST_FUNCTION = 40
# Tables and state machines, which are longer and read well.
LONG_FUNCTIONS = frozenset({"proxy/rolltrace_proxy/metrics.py:__init__"})


@pytest.mark.parametrize("part", PARTS)
def test_an_import_root_holds_exactly_one_package(part: str) -> None:
    within = {
        path.relative_to(REPOSITORY / part).parts
        for path in tracked()
        if path.is_relative_to(REPOSITORY / part)
    }
    assert len({parts[0] for parts in within}) == 1
    assert all(len(parts) > 1 for parts in within), "a file lies directly in the import root"


def test_the_parts_are_what_is_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package.split("/")[0] for package in packages] == list(PARTS)
    for package in packages:
        assert (REPOSITORY / package / "py.typed").is_file()


def test_no_file_is_too_long() -> None:
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in python_files()}
    assert {str(path.relative_to(REPOSITORY)): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{path.relative_to(REPOSITORY)}:{function.name}": lines
        for path in python_files()
        for function, lines in functions(path.read_text(encoding="utf-8"))
        if lines > LONGEST_FUNCTION
    }
    assert {name: lines for name, lines in too_long.items() if name not in LONG_FUNCTIONS} == {}
    assert too_long.keys() >= LONG_FUNCTIONS, "no longer too long: take it off the list"


def functions(source: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Every function with its number of lines, from `def` to its end."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, (node.end_lineno or node.lineno) - node.lineno + 1


def test_every_module_says_why_it_exists() -> None:
    silent = [
        str(path.relative_to(REPOSITORY))
        for path in python_files()
        if path.relative_to(REPOSITORY).parts[0] in PARTS
        and (source := path.read_text(encoding="utf-8").strip())
        and ast.get_docstring(ast.parse(source)) is None
    ]
    assert silent == []


def test_no_file_names_a_path_of_the_machine_it_was_made_on() -> None:
    # The lookbehind lets "/root" stand inside a longer path or a URL.
    local = re.compile(r"(?<![\w./])/(?:root|work|Users|home/\w+)/\w" + f"|{re.escape(str(REPOSITORY))}/")
    found: list[str] = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(REPOSITORY)}: {match[0]}" for match in local.finditer(text)]
    assert found == []
