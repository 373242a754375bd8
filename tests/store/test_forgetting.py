"""Tombstones end, the log's beginning goes, and what is kept keeps all that comes after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import LogState, Record, SessionDeletedError, Store, WriteView, open_store, schema
from rolltrace_store.check import check
from rolltrace_store.check_tables import Finding
from rolltrace_store.inspection import snapshot
from rolltrace_store.schema import meta
from rolltrace_store.trimming import trimmable
from tests.store import samples
from tests.store.processes import options

LONG_AGO, NOW = 1_000, 2_000


class Clock:
    """Nanoseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = LONG_AGO

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(path: Path, clock: Clock) -> AsyncIterator[Store]:
    store = open_store(path, options(), clock=clock)
    yield store
    await store.close()


async def forget(store: Store, before: int = NOW, most: int = 1000) -> int:
    return await store.write(lambda view: view.forget(before, most))


async def state(store: Store) -> LogState:
    return await store.read(lambda view: view.log_state())


async def left(store: Store) -> list[int]:
    return await store.read(lambda view: [record.sequence for record in view.events(0)])


def seal(view: WriteView, session_id: str) -> None:
    view.begin_seal(session_id, None, cancel=False, deadline=0)
    view.finish_seal(session_id)


async def live_and_die(store: Store, session_id: str) -> None:
    """A session of one call, sealed and deleted: three events, of which the first one goes with it."""
    await store.append_trace(samples.trace(session_id))
    await store.write(lambda view: seal(view, session_id))
    await store.write(lambda view: view.delete_session(session_id))


async def test_what_is_over_goes_with_its_tombstone(store: Store) -> None:
    await live_and_die(store, "s")
    assert await left(store) == [2, 3]
    assert await forget(store) == 3
    assert await left(store) == []
    assert await state(store) == LogState((await state(store)).epoch, earliest=4, head=3, compacted=3)
    assert await store.read(lambda view: view.deleted("s")) is None
    assert (await store.append_trace(samples.trace("s"))).sequence == 4


async def test_a_deletion_stays_while_its_tombstone_does(store: Store, clock: Clock) -> None:
    await live_and_die(store, "old")
    clock.now = NOW
    await live_and_die(store, "new")
    assert await forget(store) == 3
    assert await left(store) == [5, 6]
    assert (await state(store)).compacted == 3
    with pytest.raises(SessionDeletedError):
        await store.append_trace(samples.trace("new"))
    assert await forget(store) == 0
    assert await forget(store, NOW + 1) == 3


async def test_an_old_seal_stays_while_the_tombstone_of_its_session_does(store: Store, clock: Clock) -> None:
    await store.append_trace(samples.trace("s"))
    await store.write(lambda view: seal(view, "s"))
    clock.now = NOW
    await store.write(lambda view: view.delete_session("s"))
    assert await forget(store) == 0
    assert await left(store) == [2, 3]
    assert await forget(store, NOW + 1) == 3


async def test_a_session_that_is_kept_keeps_all_that_came_after(store: Store) -> None:
    await live_and_die(store, "before")
    await store.append_trace(samples.trace("kept"))
    await live_and_die(store, "after")
    assert await forget(store) == 4  # two tombstones, and the events of the first
    assert await left(store) == [4, 6, 7]
    await store.write(lambda view: seal(view, "kept"))
    assert await forget(store) == 0
    await store.write(lambda view: view.delete_session("kept"))
    assert await forget(store) == 5
    assert await left(store) == []
    assert await state(store) == LogState((await state(store)).epoch, earliest=10, head=9, compacted=9)


async def test_the_seal_of_an_empty_session_that_is_kept_stays(store: Store) -> None:
    await store.write(lambda view: view.create_session(Session(session_id="kept")))
    await store.write(lambda view: seal(view, "kept"))
    assert await forget(store) == 0
    assert await left(store) == [1]


async def test_a_tombstone_that_was_lifted_keeps_nothing(store: Store) -> None:
    await live_and_die(store, "s")
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    assert await forget(store) == 0  # the session is there
    await store.write(lambda view: view.delete_session("s"))
    assert await forget(store) == 4


async def test_no_more_rows_go_at_once_than_asked_for(store: Store) -> None:
    for number in range(5):
        await live_and_die(store, f"s-{number}")
    removed = [await forget(store, most=4) for _ in range(5)]
    assert removed == [4, 4, 4, 3, 0]
    assert await left(store) == []


async def test_workers_wait_for_a_later_event_that_is_old(store: Store) -> None:
    await store.write(lambda view: view.put_worker(Worker(worker_id="w", url="http://w")))
    assert await forget(store) == 0
    await live_and_die(store, "s")
    await store.write(lambda view: view.remove_worker("w"))
    assert await forget(store) == 4
    assert await left(store) == [5]
    assert await store.read(lambda view: view.workers_revision()) == 5


async def test_very_many_workers_events_need_not_wait(store: Store) -> None:
    for _ in range(7):
        await store.write(lambda view: view.put_worker(Worker(worker_id="w", url="http://w")))
    assert await forget(store, most=7) == 0
    assert await forget(store, most=3) == 3
    assert (await state(store)).compacted == 3


async def test_a_trimmed_environment_is_sound(store: Store, path: Path) -> None:
    await live_and_die(store, "s")
    await store.append_trace(samples.trace("kept"))
    await forget(store)
    await store.close()
    findings: list[Finding] = []
    with snapshot(path) as found:
        assert found.get(schema.NUMBERS.name, meta.COMPACTED.encode()) is not None
        check(found, findings.append, lambda: None)
    assert findings == []


KINDS = st.tuples(st.sampled_from(["worker", "deleted", "sealed", "trace"]), st.sampled_from("ab"))


def record(sequence: int, kind: str, session_id: str, time: int) -> Record:
    if kind == "deleted":
        deleted = event.SessionDeleted(session_id=session_id)
        deleted.delete_time.FromNanoseconds(time)
        return Record(sequence, event.EVENT_KIND_SESSION_DELETED, deleted.SerializeToString())
    if kind == "sealed":
        sealed = event.SessionSealed(session=Session(session_id=session_id))
        sealed.session.seal_time.FromNanoseconds(time)
        return Record(sequence, event.EVENT_KIND_SESSION_SEALED, sealed.SerializeToString())
    number = event.EVENT_KIND_TRACE if kind == "trace" else event.EVENT_KIND_WORKER_CHANGED
    return Record(sequence, number, b"")


@given(st.lists(KINDS, max_size=12), st.sets(st.sampled_from("ab")), st.integers(0, 12), st.integers(1, 12))
@settings(max_examples=200)
def test_only_a_beginning_goes_and_nothing_that_is_needed(
    kinds: list[tuple[str, str]], kept: set[str], before: int, most: int
) -> None:
    log = [record(place, kind, name, place) for place, (kind, name) in enumerate(kinds)]
    gone = trimmable(iter(log), lambda name, time: time < before and name not in kept, most)
    assert gone == list(range(len(gone)))
    assert len(gone) <= most
    for place in gone:
        kind, name = kinds[place]
        assert kind == "worker" or (kind != "trace" and name not in kept and place < before)
    if gone and len(gone) < most:
        assert kinds[gone[-1]][0] != "worker"
