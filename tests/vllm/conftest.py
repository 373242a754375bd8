"""A real vLLM with one of two tiny models, and the pair in front of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from openai import OpenAI

from rolltrace_client import Client
from tests.faults.processes import Supervised
from tests.servers import free_port, running

HOME = Path(os.environ.get("REAL_VLLM_HOME", Path.home() / ".cache" / "real-vllm"))
SERVE = Path(__file__).parent / "server" / "serve.sh"
MODELS = ("random", "tool-calls")


@dataclass(frozen=True)
class Gateway:
    """Everything that a test needs: the agent's side, the trainer's side, and vLLM itself."""

    model: str
    worker_url: str
    url: str
    client: Client
    pair: Supervised

    def agent(self, base_url: str) -> OpenAI:
        return OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="session", params=MODELS)
def vllm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """(model, URL) of a vLLM that serves it."""
    model: str = request.param
    if not (HOME / "models" / model / "config.json").exists():
        pytest.skip(f"no vLLM with the model {model!r} in {HOME}: `make test-vllm` installs it")
    port = free_port()
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with running([str(SERVE), model, str(port)], f"http://127.0.0.1:{port}/health", log, patience=400):
        yield model, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def gateway(vllm: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    model, worker_url = vllm
    pair = Supervised(tmp_path_factory.mktemp("pair"), worker_url)
    pair.start()
    try:
        with Client(pair.target) as client:
            yield Gateway(model, worker_url, pair.url, client, pair)
    finally:
        pair.up.stop()
