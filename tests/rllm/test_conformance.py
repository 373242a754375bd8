"""The published clients see the same on Rolltrace as on rLLM's own gateway, but for what is listed.

Both gateways are real processes in front of one demo worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from tests.house.files import REPOSITORY
from tests.rllm.compare import Place, Steps, places
from tests.rllm.differences import DIFFERENCES
from tests.servers import free_port, running

pytestmark = pytest.mark.rllm

PEER = REPOSITORY / ".peers" / "rllm-model-gateway" / "bin"
WALK = Path(__file__).parent / "client" / "walk.py"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    """All places in which the walks differ."""
    if not (PEER / "python").exists():
        pytest.fail("rllm-model-gateway is not installed: `make test-rllm` does it")
    folder = tmp_path_factory.mktemp("rllm")
    with ExitStack() as stack:

        def served(name: str, *command: str) -> str:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            command = (*command, "--port", str(port))
            stack.enter_context(running(command, f"{url}/health", folder / f"{name}.log", PATIENCE))
            return url

        worker = served("worker", sys.executable, "-m", "rolltrace_demo", "worker")
        up = f"--control-port {free_port()} --db-path {folder / 'data'} --worker {worker}".split()
        ours = served("ours", sys.executable, "-m", "rolltrace_client", "up", *up)
        store = (
            f"--host 127.0.0.1 --worker {worker}/v1 --store sqlite --db-path {folder / 'traces.db'}".split()
        )
        theirs = served("theirs", str(PEER / "rllm-model-gateway"), *store)
        yield places(walked(theirs, worker), walked(ours, worker))


def walked(gateway: str, worker: str) -> Steps:
    command = [str(PEER / "python"), str(WALK), gateway, worker]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return cast("Steps", json.loads(done.stdout))


def test_no_difference_is_unlisted(found: list[Place]) -> None:
    unlisted = [place for place in found if not any(each.covers(place) for each in DIFFERENCES)]
    assert unlisted == []


def test_every_listed_difference_is_seen(found: list[Place]) -> None:
    listed = [(each, pattern) for each in DIFFERENCES for pattern in each.where]
    unseen = [pattern for each, pattern in listed if not any(each.matches(place, pattern) for place in found)]
    assert unseen == []
