"""The targets of the Makefile, and what CI runs of them."""

from __future__ import annotations

import os
import re
import subprocess

from tests.house.files import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
PROMISED = {
    *("setup", "run", "demo", "test", "check", "stubs"),
    *(
        "check-stubs",
        "faults",
        "bench",
        "bench-micro",
        "bench-peers",
        "bounds",
        "soak",
        "test-vllm",
        "test-engines",
        "test-rllm",
        "test-frameworks",
        "fuzz",
        "clean",
        "help",
    ),
}


def listed() -> dict[str, str]:
    """Target and its line of help, as `make help` shows them."""
    shown = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, check=True, text=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in shown.splitlines() if line.startswith("  make ")]
    return {row[1]: row[2] for row in rows}


def test_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
    assert sorted(listed()) == sorted(targets) == sorted(PROMISED)


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert sorted(phony[1].split()) == sorted(listed())


def test_ci_runs_the_checks_and_the_tests() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    steps = re.findall(r"^step (.*)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert steps == ["make check", "make check-stubs", "make test"]
