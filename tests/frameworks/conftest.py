"""A real vLLM that calls tools, two pairs in front of it, and the frameworks' agents beside them.

VLLM_URL names a vLLM that runs already, started by tests/vllm/server/serve.sh with the model tool-calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from rolltrace_client import Client
from tests.faults.processes import Supervised
from tests.frameworks.scripts import Script, Seen, installed
from tests.frameworks.table import Case
from tests.servers import free_port, running
from tests.vllm.conftest import HOME, SERVE

MODEL = "tiny"
TOKEN = "the-admin-token-of-these-tests-0123456789"


@dataclass(frozen=True)
class Gateway:
    """The agent's side and the trainer's side."""

    url: str
    client: Client


@pytest.fixture(scope="session")
def worker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if url := os.environ.get("VLLM_URL"):
        yield url
        return
    if not (HOME / "models" / "tool-calls" / "config.json").exists():
        pytest.skip(f"no vLLM with the model 'tool-calls' in {HOME}: `make test-frameworks` installs it")
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("vllm") / "vllm.log"
    with running([str(SERVE), "tool-calls", str(port)], f"{url}/health", log, patience=400):
        yield url


@pytest.fixture(scope="session")
def gateway(worker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that asks for no keys."""
    pair = Supervised(tmp_path_factory.mktemp("pair"), worker_url)
    yield from _running(pair, "")


@pytest.fixture(scope="session")
def guarded(worker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that lets nobody in without a key."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(TOKEN)
    pair = Supervised(folder, worker_url, auth="token", admin_token_file=folder / "token")
    yield from _running(pair, TOKEN)


def _running(pair: Supervised, token: str) -> Iterator[Gateway]:
    pair.start()
    try:
        with Client(pair.target, token=token or None) as client:
            yield Gateway(pair.url, client)
    finally:
        pair.up.stop()


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Script]]:
    """Gives the running script of a framework; skips where the framework is not installed."""
    scripts: dict[str, Script] = {}

    def running_script(framework: str) -> Script:
        if not installed(framework):
            pytest.skip(f"no .frameworks/{framework}: `make test-frameworks` installs it")
        if framework not in scripts:
            scripts[framework] = Script(framework, tmp_path_factory.mktemp("agent") / "log")
        return scripts[framework]

    yield running_script
    for script in scripts.values():
        script.close()


@pytest.fixture(scope="session")
def direct(agent: Callable[[str], Script], worker_url: str) -> Callable[[Case, bool], list[Seen]]:
    """What the agent sees without anything between it and vLLM."""
    seen: dict[tuple[Case, bool], list[Seen]] = {}

    def run(case: Case, stream: bool) -> list[Seen]:
        if (case, stream) not in seen:
            seen[case, stream] = agent(case.framework).run(
                case, f"{worker_url}/v1", "unused", model=MODEL, stream=stream
            )
        return seen[case, stream]

    return run
