"""What the views do beyond the contract: forgetting requests, broken chains, bounded caches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.event_pb2 import EVENT_KIND_TRACE
from rolltrace_store import (
    AlreadyExistsError,
    CorruptError,
    Durability,
    Request,
    SessionDeletedError,
    Store,
    schema,
)
from rolltrace_store.cache import ByteCache
from rolltrace_store.environment import Environment, open_environment
from rolltrace_store.expansion import Expander
from rolltrace_store.history import Histories
from rolltrace_store.rows import Rows, Transaction
from rolltrace_store.schema.codec import Table
from rolltrace_store.schema.running import RunningKey, RunningRow
from rolltrace_store.schema.session_trace import CallKey, CallRow
from rolltrace_store.write_view import REQUEST_AGE_MS, Known, LmdbWriteView
from tests.store import samples

K = TypeVar("K")
V = TypeVar("V")

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
        full = expander.expand(stored, lambda _: None, bytes)
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


def test_a_call_writes_the_rows_that_the_tables_describe(environment: Environment) -> None:
    """Appending writes bytes past Rows; what reads them is the tables' codecs."""
    histories = Histories(lambda session_id, from_index: [])
    with environment.lmdb.begin(write=True) as txn:
        view = LmdbWriteView(environment, txn, Expander(0), lambda: HOUR)
        for index, known in enumerate([Known.BEGINS, Known.RUNNING, Known.UNKNOWN]):
            trace = samples.trace("a/b")
            key = RunningKey("a/b", trace.trace_id)
            if known is not Known.BEGINS:
                view.admit(key, RunningRow("p", 1, b""))
            commit = view.append(trace, histories.encode(trace), b"d" * 32, known=known)
            assert not view.runs(key)
            assert (commit.sequence, commit.call_index) == (index + 1, index)
            call = _row(environment, txn, schema.SESSION_TRACES, CallKey("a/b", index))
            assert call == CallRow(index + 1, trace.trace_id)
            assert _row(environment, txn, schema.TRACE_IDS, trace.trace_id) == index + 1
            entry = _row(environment, txn, schema.LOG, index + 1)
            assert entry is not None
            stored = pb.Trace.FromString(entry.body)
            assert (entry.kind, stored.trace_id) == (EVENT_KIND_TRACE, trace.trace_id)
            assert (stored.sequence, stored.call_index, stored.digest) == (index + 1, index, b"d" * 32)
            counters = _row(environment, txn, schema.COUNTERS, "a/b")
            assert counters is not None
            assert (counters.calls, counters.prompt_tokens) == (index + 1, 3 * (index + 1))


def test_a_call_that_ran_is_recorded_once(environment: Environment) -> None:
    """What comes again is told that the trace is there; what lost its session, that this is gone."""
    histories = Histories(lambda session_id, from_index: [])
    with environment.lmdb.begin(write=True) as txn:
        view = LmdbWriteView(environment, txn, Expander(0), lambda: HOUR)
        trace, lost = samples.trace("s"), samples.trace("s")
        for one in (trace, lost):
            view.admit(RunningKey("s", one.trace_id), RunningRow("p", 1, b""))
        encoded = histories.encode(trace)
        view.append(trace, encoded, b"d" * 32, known=Known.RUNNING)
        for known in Known:
            with pytest.raises(AlreadyExistsError):
                view.append(trace, encoded, b"d" * 32, known=known)
        view.delete_session("s")
        for known in Known:
            with pytest.raises(SessionDeletedError):
                view.append(lost, histories.encode(lost), b"d" * 32, known=known)
            assert not view.has_trace(lost.trace_id)


def _row(environment: Environment, txn: Transaction, table: Table[K, V], key: K) -> V | None:
    return Rows(txn, environment.databases[table.name], table).get(key)
