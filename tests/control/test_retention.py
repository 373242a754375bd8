"""Which sessions go, that nothing else does, and that the room they leave is used again."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import grpc
import pytest

from rolltrace.v1.event_pb2 import DELETE_REASON_RETENTION, EVENT_KIND_SESSION_DELETED, SessionDeleted
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_service_pb2 import ListTracesRequest
from rolltrace_control.retention import Removed, Retention
from rolltrace_control.retention_rules import MAX_CALLS, MAX_SESSIONS, Rules, Sealed, due, rules_of
from rolltrace_settings.settings import Settings
from rolltrace_store import Store, StoreStats, WriteView, open_store
from tests import promises
from tests.control.conftest import OPTIONS, Control
from tests.control.details import failure
from tests.control.subscriber import follow, head, reaches, truth
from tests.store import samples

HOUR = 3600 * 10**9
MIB = 1 << 20
KEEP = Rules(age=0, size=0, open_age=0, tombstone_age=24 * HOUR)
AGED = Rules(age=10 * HOUR, size=0, open_age=0, tombstone_age=24 * HOUR)


class Clock:
    """Nanoseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = 1000 * HOUR

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncGenerator[Store, None]:
    store = open_store(tmp_path / "db", OPTIONS, proxy=True, clock=clock)
    yield store
    await store.close()


def stats(used: int, traces: int) -> StoreStats:
    return StoreStats(session_count=1, trace_count=traces, used_bytes=used, file_bytes=used, limit_bytes=1)


def sealed(*calls: int, at: int = 0) -> list[Sealed]:
    return [Sealed(f"s-{place}", at + place, count) for place, count in enumerate(calls)]


@pytest.mark.parametrize(
    ("rules", "used", "calls", "going"),
    [
        (KEEP, 1 << 40, [1, 1], 0),
        (AGED, 0, [1, 1, 1, 1], 3),  # at hours 0, 1, 2, 3; now is hour 13
        (AGED, 0, [], 0),
        (AGED, 0, [MAX_CALLS, 1], 1),
        (AGED, 0, [MAX_CALLS - 1, 1, 1], 2),
        (AGED, 0, [MAX_CALLS * 9, 1], 1),
        (Rules(0, 1000, 0, 0), 1000, [1, 1], 0),
        (Rules(0, 1000, 0, 0), 1001, [1, 1], 1),
        (Rules(0, 1000, 0, 0), 1250, [1, 1, 1], 2),  # a call takes 125
        (Rules(0, 1000, 0, 0), 1300, [3, 1, 1], 1),
        (Rules(0, 1000, 0, 0), 1300, [0, 0, 3, 1], 3),
        (Rules(10 * HOUR, 1000, 0, 0), 1001, [1, 1, 1, 1], 3),
    ],
)
def test_the_oldest_go_and_few_at_once(rules: Rules, used: int, calls: list[int], going: int) -> None:
    everything = [Sealed(one.session_id, place * HOUR, one.calls) for place, one in enumerate(sealed(*calls))]
    chosen = due(rules, 13 * HOUR - 1, stats(used, 10), everything)
    assert chosen == everything[:going]


def test_many_empty_sessions_do_not_go_at_once() -> None:
    assert len(due(AGED, 100 * HOUR, stats(0, 0), sealed(*[0] * 1000))) == MAX_SESSIONS


def test_the_default_keeps_sessions_and_a_day_of_tombstones() -> None:
    assert rules_of(Settings()) == KEEP


def seal(session_id: str, view: WriteView) -> None:
    view.begin_seal(session_id, None, cancel=False, deadline=0)
    view.finish_seal(session_id)


def make_and_delete(session_id: str, view: WriteView) -> None:
    view.create_session(Session(session_id=session_id))
    view.delete_session(session_id)


async def live(store: Store, session_id: str, calls: int = 1, size: int = 0, *, sealed: bool = True) -> None:
    """Makes a session with its calls, and seals it."""
    await store.write(lambda view: view.create_session(Session(session_id=session_id)))
    for _ in range(calls):
        trace = samples.trace(session_id)
        trace.request_json = os.urandom(size)
        await store.append_trace(trace)
    if sealed:
        await store.write(lambda view: seal(session_id, view))


async def names(store: Store) -> list[str]:
    return await store.read(lambda view: [session.session_id for session in view.sessions()])


async def test_sealed_sessions_go_by_age_and_others_stay(store: Store, clock: Clock) -> None:
    retention = Retention(store, AGED, clock)
    await live(store, "old", calls=3)
    await live(store, "empty", calls=0)
    await live(store, "open", sealed=False)
    clock.now += 6 * HOUR
    await live(store, "young")
    assert await retention.round() == Removed()
    clock.now += 5 * HOUR
    assert await retention.round() == Removed(sealed=2, calls=3)
    assert await names(store) == ["open", "young"]
    reasons = [
        SessionDeleted.FromString(record.body).reason
        for record in await truth(store)
        if record.kind == EVENT_KIND_SESSION_DELETED
    ]
    assert reasons == [DELETE_REASON_RETENTION] * 2
    clock.now += 1000 * HOUR
    assert (await retention.round()).sealed == 1
    assert await names(store) == ["open"]


async def test_tombstones_and_events_go_in_time(store: Store, clock: Clock) -> None:
    retention = Retention(store, AGED, clock)
    for number in range(600):
        await store.write(partial(make_and_delete, f"s-{number}"))
    clock.now += 24 * HOUR
    assert await retention.round() == Removed()
    clock.now += 1
    assert await retention.round() == Removed(rows=1200)
    assert await truth(store) == []


async def test_the_oldest_go_until_the_size_is_met(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(40):
        clock.now += 1
        await live(store, f"s-{number:02}", size=100 << 10)
    await live(store, "open", size=100 << 10, sealed=False)
    retention = Retention(store, Rules(0, 2 * MIB, 0, HOUR), clock)
    removed = await retention.round()
    used = (await store.read(lambda view: view.stats())).used_bytes
    assert MIB < used <= 2 * MIB
    assert await names(store) == ["open", *[f"s-{number:02}" for number in range(removed.sealed, 40)]]
    assert "no sealed session is left" not in caplog.text
    strict = Retention(store, Rules(0, 1, 0, HOUR), clock)
    assert (await strict.round()).sealed == 40 - removed.sealed
    assert await names(store) == ["open"]
    assert await strict.round() == Removed()
    assert caplog.text.count("no sealed session is left: seal") == 1


async def test_idle_sessions_go_only_when_told_so_and_when_nothing_runs(store: Store, clock: Clock) -> None:
    for name in ("idle", "busy", "runs", "sealing"):
        await live(store, name, calls=2, sealed=False)
    await live(store, "sealed")
    await store.write(lambda view: view.begin_seal("sealing", None, cancel=False, deadline=1 << 62))
    clock.now += 9 * HOUR
    await live(store, "young", calls=0, sealed=False)
    await store.admit(samples.admission("runs"), 0)
    call = samples.trace("busy")
    call.admit_time.FromNanoseconds(clock.now)
    await store.append_trace(call)
    clock.now += 2 * HOUR
    assert await Retention(store, KEEP, clock).round() == Removed()
    retention = Retention(store, Rules(0, 0, 10 * HOUR, 24 * HOUR), clock)
    assert await retention.round() == Removed(idle=1, calls=2)
    assert await names(store) == ["busy", "runs", "sealed", "sealing", "young"]


async def test_idle_sessions_are_found_behind_many_others(store: Store, clock: Clock) -> None:
    count = 3 * MAX_SESSIONS
    await store.write(
        lambda view: [view.create_session(Session(session_id=f"b-{number}")) for number in range(count)]
    )
    clock.now += 11 * HOUR
    await store.write(
        lambda view: [view.create_session(Session(session_id=f"a-{number}")) for number in range(count)]
    )
    retention = Retention(store, Rules(0, 0, 10 * HOUR, 24 * HOUR), clock)
    assert (await retention.round()).idle == count
    assert len(await names(store)) == count


async def test_one_that_was_made_again_meanwhile_stays(store: Store, clock: Clock) -> None:
    await live(store, "s")
    clock.now += 11 * HOUR
    retention = Retention(store, AGED, clock)

    async def write_after_it_was_remade(work: object) -> object:
        await write(lambda view: view.delete_session("s"))
        await live_again()
        return await write(work)  # type: ignore[arg-type]  # as it was given

    async def live_again() -> None:
        store.write = write  # type: ignore[method-assign]  # once
        await live(store, "s")

    write = store.write
    store.write = write_after_it_was_remade  # type: ignore[assignment, method-assign]  # a fault
    assert await retention.round() == Removed()
    assert await names(store) == ["s"]


async def test_a_reader_and_a_subscriber_see_a_clear_end(
    control: Control, store: Store, clock: Clock
) -> None:
    await live(store, "s", calls=3)
    request = ListTracesRequest(session_id="s", page_size=1)
    page = await control.traces.ListTraces(request)
    seen = await follow(control, reaches(4))
    clock.now += 11 * HOUR
    await Retention(store, AGED, clock).round()
    request.page_token = page.next_page_token
    assert (await failure(control.traces.ListTraces(request))).code == grpc.StatusCode.NOT_FOUND
    end = await head(store)
    again = await follow(control, reaches(end))
    assert again.events[-1].session_deleted.reason == DELETE_REASON_RETENTION
    for connection in (seen, again):
        promises.check([connection], await truth(store))


async def test_room_is_used_again(store: Store, clock: Clock) -> None:
    retention = Retention(store, Rules(0, 2 * MIB, 0, HOUR), clock)
    sizes: list[int] = []
    for lap in range(4):
        for number in range(40):
            await live(store, f"s-{lap}-{number}", size=100 << 10)
            clock.now += HOUR // 10
            if number % 10 == 9:
                await retention.round()
        found = await store.read(lambda view: view.stats())
        assert found.used_bytes <= 2 * MIB
        sizes.append(found.file_bytes)
    assert sizes[-1] <= sizes[0] + MIB
    assert len(await truth(store)) < 100
