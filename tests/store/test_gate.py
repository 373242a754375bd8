"""The gate of the write transactions: one at a time, and nobody has to wait to find that out."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rolltrace_store.gate import FILE, Gate

HOLDER = """
import sys
from pathlib import Path
from rolltrace_store.gate import Gate
gate = Gate(Path(sys.argv[1]))
gate.enter(wait=True)
print("in", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / FILE).touch()
    return tmp_path


def test_one_is_in_and_the_others_can_tell(place: Path) -> None:
    one, other = Gate(place), Gate(place)
    assert one.enter(wait=False)
    assert not other.enter(wait=False)
    one.leave()
    with other.passed():
        assert not one.enter(wait=False)
    assert one.enter(wait=False)
    one.close()
    assert other.enter(wait=False)
    other.close()


def test_one_that_is_killed_inside_leaves_it_open(place: Path) -> None:
    gate = Gate(place)
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        assert not gate.enter(wait=False)
        holder.send_signal(signal.SIGKILL)
        assert gate.enter(wait=True)
    gate.close()
