"""README.md and docs/agents.md say what the suite runs. These tests need no framework and no vLLM."""

from __future__ import annotations

import ast
import re

import pytest

from tests.frameworks.recipes import PAGE, missing, recipes, sections
from tests.frameworks.table import CASES, SECTIONS, markdown, script, versions
from tests.house.files import REPOSITORY

SCRIPTS = {case.framework: script(case.framework).read_text(encoding="utf-8") for case in CASES}


def test_all_eight_are_run() -> None:
    assert set(SCRIPTS) == set(versions()) == set(SECTIONS)
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions().values())


def test_every_function_of_a_script_is_run() -> None:
    for case in CASES:
        (served,) = re.findall(r"^    serve\((.*)\)$", SCRIPTS[case.framework], re.MULTILINE)
        run = {each.function for each in CASES if each.framework == case.framework}
        assert {name.partition("=")[0] for name in served.split(", ")} == run


def test_the_readme_shows_the_table() -> None:
    assert f"\n\n{markdown()}\n" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("framework", SECTIONS)
def test_a_recipe_is_of_lines_that_are_run(framework: str) -> None:
    recipe = recipes()[SECTIONS[framework]]
    assert recipe.count("base_url") + recipe.count("api_base") > 0
    assert missing(recipe, SCRIPTS[framework]) == []


def test_a_recipe_that_is_not_run_is_found_out() -> None:
    script = "from a import B\nb = B(base_url=base_url, api_key=api_key)\n"
    assert missing("from a import B\nb = B(api_key=api_key)\n", script) == []
    assert missing("from a import B, C\n", script) == ["import a.C"]
    assert missing("b = B(url=base_url)\n", script) == ["b = B(url=base_url)"]
    assert missing("b = {'url': base_url}\n", script) == ["b = {'url': base_url}"]


def test_every_python_block_of_the_page_is_a_recipe() -> None:
    assert set(recipes()) == set(SECTIONS.values())
    assert PAGE.count("```python") == len(recipes())
    for block in recipes().values():
        ast.parse(block)


def test_every_link_of_the_page_leads_somewhere() -> None:
    anchors = {title.lower().replace(" ", "-").replace("?", "") for title in sections()}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (REPOSITORY / "docs" / target).exists(), target
