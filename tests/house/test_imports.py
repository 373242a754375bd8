"""What each process loads before it can work: most of its start, and a good part of its memory.

A count of modules stands for the time, since it is the same on a busy machine. Who needs one more raises the
budget; who needs far fewer lowers it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

LOADED = "import sys; {}; print(*sys.modules)"
RARE = {"yaml", "importlib.metadata", "http.client", "argparse"}
"""For a config file, for a version to be shown, for a server of another kind, for flags."""


@dataclass(frozen=True, slots=True)
class Budget:
    statement: str
    modules: int
    without: frozenset[str]


BUDGETS = {
    "a trainer's package": Budget(
        "import rolltrace_client", 80, frozenset({"grpc", "google.protobuf", "asyncio", "dataclasses"})
    ),
    "a trainer's client": Budget(
        "from rolltrace_client import Client", 275, frozenset({*RARE, "numpy", "zstandard", "hashlib"})
    ),
    "up": Budget(
        "import rolltrace_client.__main__, rolltrace_client.commands.up",
        205,
        frozenset({*RARE, "grpc", "google.protobuf", "aiohttp", "lmdb"} - {"argparse"}),
    ),
    "control": Budget(
        "import rolltrace_control.__main__", 405, frozenset({*RARE, "aiohttp", "rolltrace_client"})
    ),
    "proxy": Budget(
        "import rolltrace_proxy.__main__",
        455,  # http.client is prometheus_client's
        frozenset(
            {*RARE, "grpc", "aiohttp", "rolltrace_client", "rolltrace_proxy.dialects.messages"}
            - {"http.client"}
        ),
    ),
}


def loaded(statement: str) -> set[str]:
    command = [sys.executable, "-c", LOADED.format(statement)]
    return set(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split())


@pytest.mark.parametrize("process", BUDGETS)
def test_a_process_loads_what_it_uses(process: str) -> None:
    budget = BUDGETS[process]
    modules = loaded(budget.statement)
    assert not modules & budget.without
    assert len(modules) <= budget.modules, f"{process} loads {len(modules)} modules"
    assert 3 * len(modules) > 2 * budget.modules, f"lower the budget of {process}"
