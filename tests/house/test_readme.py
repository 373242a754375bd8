"""Whoever follows the README from top to bottom gets what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.files import REPOSITORY
from tests.house.readme import BY_CI, NOT_RUN, README, RUN, Reader, blocks


@pytest.mark.timeout(180)
def test_every_command_block_runs(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        for block in blocks():
            if block.language in RUN:
                reader.follow(block)
    finally:
        reader.close()


def test_every_block_is_of_a_kind_that_is_known() -> None:
    assert {block.language for block in blocks()} <= {*RUN, *NOT_RUN}
    assert README.count("\n```") == 2 * len(list(blocks())), "a fence that is not closed, or is indented"


def test_what_is_not_run_here_is_run_by_ci() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    commands = {line for block in blocks() if block.language == "bash" for line in block.text.splitlines()}
    for command in BY_CI:
        assert command in commands
        assert f"step {command}\n" in script


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (REPOSITORY / target).exists(), target
