"""The repository as its tests see it: the tracked files."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PARTS = ("proto", "settings", "store", "client", "control", "proxy", "demo", "embedded")


@cache
def tracked() -> tuple[Path, ...]:
    """Every file under version control, and every new one that is not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    return tuple(path for path in (REPOSITORY / name for name in listed if name) if path.is_file())


def python_files() -> list[Path]:
    """Tracked Python but for the generated stubs."""
    return [path for path in tracked() if path.suffix == ".py" and "_pb2" not in path.name]
