from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rolltrace_client import AsyncClient, Client

from .both import awaited
from .canned import Canned
from .canned_state import State


@pytest.fixture
def server() -> Iterator[Canned]:
    server = Canned()
    yield server
    server.stop()


@pytest.fixture
def state(server: Canned) -> State:
    return server.state


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: Canned) -> AsyncIterator[AsyncClient]:
    """Either client, to be used as the async one."""
    if request.param == "sync":
        with Client(server.target) as client:
            yield awaited(client)
    else:
        async with AsyncClient(server.target) as client:
            yield client
