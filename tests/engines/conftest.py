"""A real llama.cpp with a tiny model of random weights, and a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from rolltrace_store.interface import Durability, Store
from rolltrace_store.lmdb_store import StoreOptions, open_store
from tests.servers import free_port, running

HOME = Path(__file__).parents[2] / ".engines" / "llamacpp"
SERVE = Path(__file__).parent / "server" / "serve.py"


@pytest.fixture(scope="session")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL."""
    if not (HOME / ".ready").exists():
        pytest.skip(f"no llama.cpp in {HOME}: `make test-engines` installs it")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(HOME / "bin" / "python"), str(SERVE), str(HOME / "tiny.gguf"), str(port)]
    log = tmp_path_factory.mktemp("llamacpp") / "server.log"
    with running(command, f"{url}/health", log, patience=60):
        yield url


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store, None]:
    options = StoreOptions(durability=Durability.PROCESS, max_db_size=1 << 30)
    opened = open_store(tmp_path / "data", options, proxy=True)
    yield opened
    await opened.close()
