"""Stores in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rolltrace_store import Store, open_store
from tests.store.processes import options

OPTIONS = options()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = open_store(path, OPTIONS, proxy=True)
    yield store
    await store.close()
