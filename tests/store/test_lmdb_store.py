"""The contract, on LMDB."""

from __future__ import annotations

from tests.store.completeness import CompletenessContract
from tests.store.contract import StoreContract


class TestLmdbStore(StoreContract, CompletenessContract):
    pass
