"""The client runs beside both ends of the range of versions that pyproject.toml promises.

Each end has an environment of its own in .compat/, made once; without a package index the tests skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.control import running_control

ROOT = Path(__file__).parents[2]
ENDS = {
    "oldest": ["grpcio==1.62.3", "protobuf==3.20.3"],
    "newest": ["grpcio", "protobuf"],
}
# The oldest grpcio has no wheel for later ones.
OLD_PYTHONS = ("python3.11", "python3.12")


def environment(end: str) -> Path:
    """The interpreter of an environment that has the packages of `end`."""
    folder = ROOT / ".compat" / end
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([base_python(), "-m", "venv", folder], check=True, capture_output=True)
    install = [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:", *ENDS[end]]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot install {' '.join(ENDS[end])} (offline?): {done.stderr.strip()[-200:]}")
    ready.touch()
    return python


def base_python() -> str:
    if sys.version_info < (3, 13):
        return sys.executable
    for name in OLD_PYTHONS:
        found = shutil.which(name)
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"the oldest grpcio needs one of {', '.join(OLD_PYTHONS)}")


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[str]:
    """HOST:PORT of a control service that has traces in session "recorded"."""
    with running_control(tmp_path, "recorded") as control:
        yield control.target


@pytest.mark.timeout(300)  # the first time it installs
@pytest.mark.parametrize("end", ENDS)
def test_a_round_trip(end: str, recorded: str) -> None:
    python = environment(end)
    paths = os.pathsep.join(str(ROOT / part) for part in ("proto", "client", "settings"))
    done = subprocess.run(
        [python, ROOT / "tests" / "compat" / "round_trip.py", recorded],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if end == "oldest":
        assert done.stdout.startswith("grpcio 1.62.3, protobuf 3.20.3, against ")
