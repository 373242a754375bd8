from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rolltrace_store.interface import Durability, Store
from rolltrace_store.lmdb_store import StoreOptions, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    options = StoreOptions(durability=Durability.PROCESS, max_db_size=1 << 30)
    opened = open_store(tmp_path / "data", options, proxy=True)
    yield opened
    await opened.close()
