"""Stores in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rolltrace_store import Durability, Store, StoreOptions, open_store

OPTIONS = StoreOptions(durability=Durability.PROCESS, max_db_size=1 << 30)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(tmp_path / "db", OPTIONS)
    yield store
    await store.close()
