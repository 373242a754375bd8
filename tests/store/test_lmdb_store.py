"""The contract, on LMDB: commits on the loop, and in the thread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rolltrace_store import Store, open_store
from tests.store.completeness import CompletenessContract
from tests.store.contract import StoreContract
from tests.store.policy_contract import PolicyContract
from tests.store.processes import options
from tests.store.short_calls import ShortCallsContract


class TestLmdbStore(StoreContract, CompletenessContract, ShortCallsContract, PolicyContract):
    @pytest.fixture(params=["process", "power"])
    async def store(self, request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Store]:
        store = open_store(path, options(request.param), proxy=True)
        yield store
        await store.close()
