"""A full map, a full disk, a full queue: what fails, fails whole, and later writes succeed again."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import (
    Commit,
    Durability,
    Store,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreOptions,
    open_store,
    write_view,
)
from rolltrace_store.schema.counters import Counters
from tests.store import samples
from tests.store.machines import large

KIB = 1 << 10


async def fill(store: Store) -> list[Trace]:
    """Records traces, each in its own session, until there is no room."""
    recorded: list[Trace] = []
    while True:
        trace = large(f"s-{len(recorded)}")
        try:
            await store.append_trace(trace)
        except StoreFullError:
            return recorded
        recorded.append(trace)


async def delete(store: Store, trace: Trace) -> int:
    return await store.write(lambda view: view.delete_session(trace.session_id))


async def count(store: Store) -> int:
    return (await store.read(lambda view: view.stats())).trace_count


async def small_store(path: Path) -> Store:
    return open_store(path, StoreOptions(durability=Durability.POWER, max_db_size=2 << 20))


async def test_a_full_map_heals_when_sessions_are_deleted(path: Path) -> None:
    store = await small_store(path)
    recorded = await fill(store)
    assert len(recorded) > 10
    with pytest.raises(StoreFullError, match="max_db_size"):
        await store.append_trace(large("s"))
    assert await count(store) == len(recorded)
    for trace in recorded[:5]:
        assert await delete(store, trace) == 1
    commit = await store.append_trace(large("again"))
    assert commit.sequence == len(recorded) + 6
    await store.close()


async def test_a_map_full_of_small_records_heals(path: Path) -> None:
    store = open_store(path, StoreOptions(durability=Durability.PROCESS, max_db_size=4 << 20))
    results: list[Commit | BaseException] = []
    while not any(isinstance(result, StoreFullError) for result in results):
        traces = [large(f"s-{number % 20}", 2000) for number in range(100)]
        results = await asyncio.gather(*map(store.append_trace, traces), return_exceptions=True)
    with pytest.raises(StoreFullError):
        await store.write(lambda view: view.create_session(Session(session_id="new")))
    before = await count(store)
    deleted = await store.write(lambda view: view.delete_session("s-3"))
    assert await count(store) == before - deleted
    await store.append_trace(large("s-4", 2000))
    await store.close()


async def test_a_deletion_gets_through_a_crowd_of_writes_that_find_no_room(path: Path) -> None:
    store = await small_store(path)
    first, *rest = await fill(store)
    crowd = [store.append_trace(large("crowd")) for _ in range(20)]
    assert await delete(store, first) == 1
    results = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(result, (Commit, StoreFullError)) for result in results)
    recorded = [result for result in results if isinstance(result, Commit)]
    assert await count(store) == len(rest) + len(recorded)
    await store.close()


@contextmanager
def no_file_grows_beyond(size: int) -> Generator[None]:
    """A disk without room, as far as this process can see."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_heals_when_there_is_room(store: Store, path: Path) -> None:
    await store.append_trace(samples.trace("s"))
    with no_file_grows_beyond((path / "data.mdb").stat().st_size):
        results = await asyncio.gather(
            *[store.append_trace(large("s", 400 * KIB)) for _ in range(3)], return_exceptions=True
        )
        assert {type(result) for result in results} == {StoreFullError}
        assert await count(store) == 1
    assert (await store.append_trace(large("s"))).sequence == 2
    assert store.queued_bytes() == 0


async def test_a_full_queue_pushes_back(path: Path) -> None:
    store = open_store(path, StoreOptions(durability=Durability.PROCESS, write_queue_size=100 * KIB))
    results = await asyncio.gather(
        *[store.append_trace(large("s", 30 * KIB)) for _ in range(10)], return_exceptions=True
    )
    assert [type(result) for result in results] == [Commit] * 3 + [StoreBusyError] * 7
    assert await count(store) == 3
    assert store.queued_bytes() == 0
    assert (await store.append_trace(large("s", 300 * KIB))).call_index == 3
    await store.close()


async def test_a_trace_is_recorded_whatever_numbers_its_worker_reports(store: Store) -> None:
    most = 2**64 - 1
    for _ in range(2):
        trace = samples.trace("s")
        trace.usage.prompt_tokens = trace.usage.completion_tokens = most
        await store.append_trace(trace)
    session = await store.read(lambda view: view.session("s"))
    assert session is not None
    assert session.call_count == 2
    assert (session.prompt_token_count, session.completion_token_count) == (most, most)


async def test_what_nobody_foresaw_is_an_error_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Counters:
        raise OverflowError("too large")

    with monkeypatch.context() as patched:
        patched.setattr(write_view, "counted", broken)
        with pytest.raises(StoreError, match="too large"):
            await store.append_trace(samples.trace("s"))
    await store.append_trace(samples.trace("s"))
    assert await count(store) == 1
