from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from rolltrace_store.interface import Durability, Store
from rolltrace_store.lmdb_store import StoreOptions, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store, None]:
    options = StoreOptions(durability=Durability.PROCESS, max_db_size=1 << 30)
    opened = open_store(tmp_path / "data", options, proxy=True)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Generator[None, None, None]:
    """What agents and workers do is no error of the server: nothing below may log one."""
    yield
    complaints = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not [r.getMessage() for r in complaints if r.name.startswith(("rolltrace_proxy.http1", "asyncio"))]
