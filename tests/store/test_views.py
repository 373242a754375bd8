"""What the views do beyond the contract: forgetting requests, broken chains, bounded caches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store import CorruptError, Durability, Request, Store
from rolltrace_store.cache import ByteCache
from rolltrace_store.environment import Environment, open_environment
from rolltrace_store.expansion import Expander
from rolltrace_store.write_view import REQUEST_AGE_MS, LmdbWriteView
from tests.store import samples

HOUR = 3600 * 1_000_000_000


@pytest.fixture
def environment(path: Path) -> Iterator[Environment]:
    environment = open_environment(path, Durability.PROCESS, 1 << 26)
    yield environment
    environment.close()


def test_requests_are_forgotten_after_more_than_an_hour(environment: Environment) -> None:
    now = HOUR * 1000
    old, young, new = (Request(name, "CreateSession", b"d") for name in ("old", "young", "new"))
    with environment.lmdb.begin(write=True) as txn:
        view = LmdbWriteView(environment, txn, Expander(0), lambda: now)
        view.remember(old, b"1")
        now += HOUR + 1_000_000
        view.remember(young, b"2")
        assert (view.remembered(old), view.remembered(young)) == (b"1", b"2")
        now += REQUEST_AGE_MS * 1_000_000 - HOUR
        view.remember(new, b"3")
        assert [view.remembered(request) for request in (old, young, new)] == [None, b"2", b"3"]


def test_a_request_remembered_anew_outlives_its_old_age(environment: Environment) -> None:
    now = HOUR * 1000
    request, other = Request("r", "CreateSession", b"d"), Request("o", "CreateSession", b"d")
    with environment.lmdb.begin(write=True) as txn:
        view = LmdbWriteView(environment, txn, Expander(0), lambda: now)
        view.remember(request, b"1")
        now += HOUR
        view.remember(request, b"2")
        now += REQUEST_AGE_MS * 1_000_000 - HOUR // 2
        view.remember(other, b"3")
        assert view.remembered(request) == b"2"


async def test_a_broken_chain_is_told(store: Store) -> None:
    body = pb.CompactBody(base_trace_id=samples.trace().trace_id, compression=pb.COMPRESSION_NONE)
    orphan = pb.Trace(trace_id=samples.trace().trace_id, sequence=5, compact=body)
    with pytest.raises(CorruptError, match="which is not there"):
        await store.read(lambda view: view.expand(orphan))


async def test_a_trace_that_rests_on_itself_is_told(store: Store) -> None:
    await store.append_trace(trace := samples.trace("s"))
    body = pb.CompactBody(base_trace_id=trace.trace_id, compression=pb.COMPRESSION_NONE)
    looped = pb.Trace(trace_id=trace.trace_id, sequence=1, compact=body)
    with pytest.raises(CorruptError, match="which is later"):
        await store.read(lambda view: view.expand(looped))


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_what_is_expanded_is_the_callers_own(cache_bytes: int) -> None:
    stored = pb.Trace(trace_id="t", sequence=1)
    stored.compact.body = pb.CompactPayload(request_rest=b"request").SerializeToString()
    expander = Expander(cache_bytes)
    for _ in range(2):
        full = expander.expand(stored, lambda _: None)
        assert full.request_json == b"request"
        full.request_json = b"changed"


def test_a_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    cache: ByteCache[str, int] = ByteCache(100)
    cache.put("a", 1, 40)
    cache.put("b", 2, 40)
    assert cache.get("a") == 1
    cache.put("c", 3, 60)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    cache.put("a", 4, 41)
    assert [cache.get(key) for key in "ac"] == [4, None]
    cache.put("huge", 5, 101)
    assert cache.get("huge") is None
