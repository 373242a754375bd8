"""Who commits: the event loop what costs it nothing, the thread what may take its time; and what waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_store import (
    AlreadyExistsError,
    Commit,
    Durability,
    Store,
    StoreOptions,
    open_store,
    write_view,
    writer,
)
from rolltrace_store.gate import Gate
from tests.store import samples
from tests.store.completeness import running
from tests.store.contract import full
from tests.store.machines import large

LONG = 3600.0


class Clock:
    """Notes which threads ask it; new sessions do, inside their transaction."""

    def __init__(self) -> None:
        self.asked_by: list[int] = []

    def __call__(self) -> int:
        self.asked_by.append(threading.get_ident())
        return time.time_ns()

    def on_loop(self) -> list[bool]:
        """Since it was asked last: whether it was this thread, for each time."""
        asked_by, self.asked_by = self.asked_by, []
        return [ident == threading.get_ident() for ident in asked_by]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(path: Path, clock: Clock, durability: Durability = Durability.PROCESS) -> Store:
    return open_store(path, StoreOptions(durability=durability), proxy=True, clock=clock)


@pytest.fixture
async def inline(path: Path, clock: Clock) -> AsyncIterator[Store]:
    store = opened(path, clock)
    yield store
    await store.close()


@contextmanager
def shut(path: Path) -> Generator[None]:
    """Another process is in the gate, but for no longer than a test should take."""
    gate = Gate(path)
    with gate.passed():
        late = threading.Timer(5.0, gate.leave)
        late.start()
        yield
        late.cancel()
    gate.close()


def fresh() -> pb.Trace:
    """A trace of a session of its own."""
    trace = samples.trace("s")
    trace.session_id = trace.trace_id
    return trace


async def test_a_call_is_committed_on_the_loop(inline: Store, clock: Clock) -> None:
    await inline.append_trace(fresh())
    await inline.admit(samples.admission("s"), 1)
    assert clock.on_loop() == [True, True]


async def test_with_a_sync_to_wait_for_it_is_committed_in_the_thread(path: Path, clock: Clock) -> None:
    store = opened(path, clock, Durability.POWER)
    await store.append_trace(fresh())
    assert clock.on_loop() == [False]
    await store.close()


async def test_other_work_and_large_calls_are_the_threads(inline: Store, clock: Clock) -> None:
    await inline.write(lambda view: view.create_session(Session(session_id="s")))
    await inline.append_trace(large("t", writer.INLINE_BYTES))
    assert clock.on_loop() == [False, False]


async def test_the_loop_waits_for_no_other_process(inline: Store, path: Path, clock: Clock) -> None:
    with shut(path):
        first = inline.append_trace(fresh())
        await asyncio.sleep(0.05)
        later = [inline.append_trace(fresh()) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in (first, *later))
    commits = await asyncio.gather(first, *later)
    assert [commit.sequence for commit in commits] == [1, 2, 3, 4, 5, 6]
    assert clock.on_loop()[0] is False
    await inline.append_trace(fresh())
    assert clock.on_loop() == [True]


async def test_what_comes_while_the_thread_is_at_it_follows_in_order(inline: Store, clock: Clock) -> None:
    slow = asyncio.create_task(inline.write(lambda view: time.sleep(0.05)))
    await asyncio.sleep(0.01)
    commits = await asyncio.gather(*[inline.append_trace(fresh()) for _ in range(100)])
    assert slow.done()
    assert [commit.sequence for commit in commits] == list(range(1, 101))


async def test_after_a_commit_that_took_long_the_thread_has_them(
    inline: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(writer, "SLOW", 0)
        await inline.append_trace(fresh())
    await inline.append_trace(fresh())
    assert clock.on_loop() == [True, False]


async def test_one_that_fails_harms_nobody_of_its_batch_and_the_thread_finds_out_which(
    inline: Store, clock: Clock
) -> None:
    known = fresh()
    await inline.append_trace(known)
    clock.on_loop()
    others = [fresh(), fresh()]
    results = await asyncio.gather(
        *[inline.append_trace(trace) for trace in (others[0], known, others[1])], return_exceptions=True
    )
    assert [type(result) for result in results] == [Commit, AlreadyExistsError, Commit]
    first, *again = clock.on_loop()
    assert first
    assert not any(again)
    for trace in others:
        assert await full(inline, trace.session_id) == [trace]


@pytest.fixture
def no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def admit(*_: object) -> None:
        raise AssertionError("a row was written for a call")

    monkeypatch.setattr(write_view.LmdbWriteView, "admit", admit)


@pytest.mark.parametrize("durability", Durability)
async def test_a_call_that_ends_soon_has_no_row(
    path: Path, clock: Clock, durability: Durability, no_rows: None
) -> None:
    store = opened(path, clock, durability)
    calls = [fresh() for _ in range(10)]
    admitted = [store.admit(samples.admission(of=trace), 1) for trace in calls]
    await asyncio.sleep(0)
    await asyncio.gather(*map(store.append_trace, calls))
    assert [future.exception() for future in admitted] == [None] * 10
    assert store.queued_bytes() == 0
    await store.close()


async def test_a_call_that_ends_while_the_gate_is_shut_has_no_row(
    inline: Store, path: Path, no_rows: None
) -> None:
    with shut(path):
        waiting = inline.append_trace(fresh())
        await asyncio.sleep(0.01)
        trace = fresh()
        admitted = inline.admit(samples.admission(of=trace), 1)
        ended = inline.append_trace(trace)
        await asyncio.sleep(writer.ADMISSION_DELAY * 2)
    await asyncio.gather(waiting, admitted, ended)


async def test_admissions_wait_for_company_and_no_longer(
    inline: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(writer, "ADMISSION_DELAY", LONG)
        one = inline.admit(samples.admission("s"), 1)
        await asyncio.sleep(0.05)
        assert not one.done()
        assert inline.queued_bytes() > 0
        await inline.append_trace(fresh())
        assert one.done()
        other = inline.admit(samples.admission("s"), 1)
        inline.hurry()
        await other
    inline.hurry()
    assert inline.queued_bytes() == 0


async def test_closing_commits_an_admission_that_waits(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ADMISSION_DELAY", LONG)
    store = opened(path, clock)
    admitted = store.admit(samples.admission("s"), 1)
    await store.close()
    assert admitted.exception() is None


async def test_an_admission_is_what_its_trace_was_when_it_is_written(inline: Store) -> None:
    trace = samples.admission("s")
    admitted = inline.admit(trace, 1)
    trace.worker_id = "w-1"
    await admitted
    trace.worker_id = "w-2"
    [call] = await inline.read(lambda view: list(view.running("s")))
    assert call.trace.worker_id == "w-1"


def test_a_store_serves_one_loop_after_the_other(path: Path, clock: Clock) -> None:
    store = opened(path, clock)

    async def leave() -> None:
        store.admit(samples.admission("s"), 1)

    async def go_on() -> None:
        await asyncio.wait_for(store.admit(samples.admission("s"), 1), 10)
        assert len(await running(store)) == 2
        await store.close()

    asyncio.run(leave())
    asyncio.run(go_on())
