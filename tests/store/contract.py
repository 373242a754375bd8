"""What every store must do, over a fixture `store` (an interface.Store, empty).

It asks only through the interface, so that it can run on any engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, SESSION_STATE_SEALING, Session
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import (
    AlreadyExistsError,
    Glance,
    InvalidArgumentError,
    NotFoundError,
    ReadView,
    Record,
    Request,
    RequestReusedError,
    Store,
    StoreClosedError,
    WriteView,
)
from tests.store import samples


async def stored(store: Store, session_id: str) -> list[pb.Trace]:
    """The session's traces as stored."""
    return await store.read(lambda view: [pb.Trace.FromString(body) for body in view.traces(session_id)])


async def full(store: Store, session_id: str) -> list[pb.Trace]:
    """The session's traces, expanded, without what the store has added."""

    def expand(view: ReadView) -> list[pb.Trace]:
        return [view.expand(pb.Trace.FromString(body)) for body in view.traces(session_id)]

    traces = await store.read(expand)
    for trace in traces:
        for field in ("sequence", "call_index", "parent_trace_id", "digest"):
            trace.ClearField(field)
    return traces


async def events(store: Store, after: int = 0) -> list[Record]:
    return await store.read(lambda view: list(view.events(after)))


def ids_after(view: ReadView, after: str) -> list[str]:
    return [session.session_id for session in view.sessions(after)]


def remembered(view: ReadView, request: Request) -> bytes | None:
    return view.remembered(request)


class SessionContract:
    async def test_a_session_is_created_open_with_its_time(self, store: Store) -> None:
        made = await store.write(lambda view: view.create_session(Session(session_id="a/b:0", group_id="g")))
        assert made.state == SESSION_STATE_OPEN
        assert made.create_time.seconds > 0
        assert await store.read(lambda view: view.session("a/b:0")) == made
        assert await store.read(lambda view: view.session("a")) is None

    async def test_output_fields_and_base_url_are_not_stored(self, store: Store) -> None:
        given = Session(
            session_id="s", base_url="http://x", call_count=5, failed_call_count=1, incomplete=True
        )
        await store.write(lambda view: view.create_session(given))
        session = await store.read(lambda view: view.session("s"))
        assert session is not None
        assert (session.base_url, session.call_count, session.incomplete) == ("", 0, False)

    async def test_a_session_is_created_once(self, store: Store) -> None:
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        with pytest.raises(AlreadyExistsError):
            await store.write(lambda view: view.create_session(Session(session_id="s")))

    @pytest.mark.parametrize(
        "bad", ["", "/a", "a/", "a//b", "a/../b", ".", "a/v1/b", "a\n", "\x00", "x" * 401]
    )
    async def test_a_bad_session_id_is_refused_and_names_nothing(self, store: Store, bad: str) -> None:
        with pytest.raises(InvalidArgumentError):
            await store.write(lambda view: view.create_session(Session(session_id=bad)))
        with pytest.raises(InvalidArgumentError):
            await store.append_trace(samples.trace(bad))
        assert await store.read(lambda view: view.session(bad)) is None
        assert await store.read(lambda view: list(view.sessions())) == []

    async def test_sessions_come_in_the_order_of_their_bytes(self, store: Store) -> None:
        names = ["b", "a", "a/b", "a:", "é", "zz", "x" * 400, "😀"]
        await store.write(lambda view: [view.create_session(Session(session_id=name)) for name in names])
        listed = await store.read(lambda view: [session.session_id for session in view.sessions()])
        assert listed == sorted(names, key=str.encode)
        for place, name in enumerate(listed):
            rest = await store.read(partial(ids_after, after=name))
            assert rest == listed[place + 1 :]

    async def test_deleting_leaves_only_a_tombstone_in_the_log(self, store: Store) -> None:
        for trace in [*samples.conversation("s", 3), samples.trace("s2")]:
            await store.append_trace(trace)
        gone = await stored(store, "s")
        assert await store.write(lambda view: view.delete_session("s")) == 3
        assert await store.read(lambda view: view.session("s")) is None
        assert await stored(store, "s") == []
        assert await store.read(lambda view: view.trace(gone[0].trace_id)) is None
        kept, last = await events(store)
        assert (kept.sequence, last.sequence) == (4, 5)
        assert last.kind == event.EVENT_KIND_SESSION_DELETED
        tombstone = event.SessionDeleted.FromString(last.body)
        assert (tombstone.session_id, tombstone.deleted_trace_count) == ("s", 3)
        assert tombstone.delete_time.seconds > 0

    async def test_deleting_a_session_leaves_one_whose_id_begins_alike(self, store: Store) -> None:
        for name in ("s", "s/t", "s0"):
            await store.append_trace(samples.trace(name))
        await store.write(lambda view: view.delete_session("s"))
        assert len(await stored(store, "s/t")) == len(await stored(store, "s0")) == 1

    async def test_a_glance_tells_what_a_call_asks(self, store: Store) -> None:
        def glance() -> Awaitable[Glance]:
            return store.read(lambda view: view.glance("s"))

        assert await glance() == Glance(None)
        made = await store.write(lambda view: view.create_session(Session(session_id="s", group_id="g")))
        assert await glance() == Glance(made.SerializeToString())
        for status in (pb.CALL_STATUS_COMPLETED, pb.CALL_STATUS_REFUSED):
            await store.append_trace(samples.trace("s", status=status))
        seen = await glance()
        assert seen == Glance(seen.row, False, call_count=2, refused_call_count=1, token_count=10)
        assert Session.FromString(seen.row or b"") == made
        await store.write(lambda view: view.begin_seal("s", None, cancel=False, deadline=1))
        assert Session.FromString((await glance()).row or b"").state == SESSION_STATE_SEALING
        await store.write(lambda view: view.delete_session("s"))
        assert await glance() == Glance(None, deleted=True)

    async def test_deleting_nothing_is_an_error(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            await store.write(lambda view: view.delete_session("s"))

    async def test_a_session_made_again_starts_anew(self, store: Store) -> None:
        for trace in samples.conversation("s", 2):
            await store.append_trace(trace)
        await store.write(lambda view: view.delete_session("s"))
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        again = samples.conversation("s", 2)
        commits = [await store.append_trace(trace) for trace in again]
        assert [commit.call_index for commit in commits] == [0, 1]
        assert await full(store, "s") == again


class TraceContract:
    async def test_a_trace_comes_back_as_it_went(self, store: Store) -> None:
        trace = samples.trace("s")
        commit = await store.append_trace(trace)
        assert (commit.sequence, commit.call_index) == (1, 0)
        assert await full(store, "s") == [trace]

    async def test_it_is_stored_compact_with_its_place(self, store: Store) -> None:
        trace = samples.trace("s")
        await store.append_trace(samples.trace("other"))
        await store.append_trace(trace)
        body = await store.read(lambda view: view.trace(trace.trace_id))
        assert body is not None
        compact = pb.Trace.FromString(body)
        assert (compact.sequence, compact.call_index) == (2, 0)
        assert compact.HasField("compact")
        assert not compact.prompt_token_ids + compact.request_json + compact.response_json
        assert (await events(store, 1))[0] == Record(2, event.EVENT_KIND_TRACE, body)

    async def test_a_long_conversation_comes_back(self, store: Store) -> None:
        conversation = samples.conversation("s", 120)
        for trace in conversation:
            await store.append_trace(trace)
        assert await full(store, "s") == conversation
        assert [t.call_index for t in await stored(store, "s")] == list(range(120))

    async def test_traces_can_be_read_from_an_index_on(self, store: Store) -> None:
        for trace in samples.conversation("s", 5):
            await store.append_trace(trace)
        bodies = await store.read(lambda view: list(view.traces("s", 3)))
        assert [pb.Trace.FromString(body).call_index for body in bodies] == [3, 4]

    async def test_counts_follow_the_traces(self, store: Store) -> None:
        failed, endpoint = pb.CALL_STATUS_UPSTREAM_ERROR, pb.CAPTURE_GAP_KIND_ENDPOINT
        await store.append_trace(samples.trace("s"))
        await store.append_trace(samples.trace("s", status=failed, gaps=[pb.CAPTURE_GAP_KIND_LOGPROBS]))
        await store.append_trace(samples.trace("s", gaps=[endpoint]))
        session = await store.read(lambda view: view.session("s"))
        assert session is not None
        assert (session.call_count, session.failed_call_count, session.incomplete) == (3, 1, False)
        await store.append_trace(samples.trace("s", gaps=[endpoint, pb.CAPTURE_GAP_KIND_LOGPROBS]))
        await store.append_trace(samples.trace("s"))
        session = await store.read(lambda view: view.session("s"))
        assert session is not None
        assert (session.call_count, session.failed_call_count, session.incomplete) == (5, 1, True)

    async def test_many_at_once_get_places_without_gaps(self, store: Store) -> None:
        traces = [samples.trace(f"s{number % 7}") for number in range(300)]
        commits = await asyncio.gather(*[store.append_trace(trace) for trace in traces])
        assert sorted(commit.sequence for commit in commits) == list(range(1, 301))
        for name in {trace.session_id for trace in traces}:
            assert await full(store, name) == [trace for trace in traces if trace.session_id == name]

    async def test_a_trace_is_recorded_once(self, store: Store) -> None:
        first, other = samples.trace("s"), samples.trace("s")
        second = samples.trace("s", prompt=[9])
        second.trace_id = first.trace_id
        results = await asyncio.gather(
            *[store.append_trace(trace) for trace in (first, second, other)], return_exceptions=True
        )
        assert isinstance(results[1], AlreadyExistsError)
        assert await full(store, "s") == [first, other]

    async def test_a_bad_trace_id_is_refused(self, store: Store) -> None:
        trace = samples.trace("s")
        trace.trace_id = "t-1"
        with pytest.raises(InvalidArgumentError):
            await store.append_trace(trace)
        assert await store.read(lambda view: view.trace("t-1")) is None

    async def test_a_cancelled_caller_loses_nothing(self, store: Store) -> None:
        trace = samples.trace("s")
        recording = store.append_trace(trace)
        recording.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recording
        await store.write(lambda view: None)
        assert await full(store, "s") == [trace]
        assert store.queued_bytes() == 0


class WriteContract:
    async def test_work_that_raises_leaves_nothing_and_harms_nobody(self, store: Store) -> None:
        def fail(view: WriteView) -> None:
            view.create_session(Session(session_id="lost"))
            view.put_worker(Worker(worker_id="w"))
            raise LookupError("as it is")

        good, bad, also_good = await asyncio.gather(
            store.append_trace(samples.trace("a")),
            store.write(fail),
            store.append_trace(samples.trace("b")),
            return_exceptions=True,
        )
        assert isinstance(bad, LookupError)
        assert not isinstance(good, BaseException)
        assert not isinstance(also_good, BaseException)
        assert (good.sequence, also_good.sequence) == (1, 2)
        assert await store.read(lambda view: (view.session("lost"), view.worker("w"))) == (None, None)
        assert await store.read(lambda view: view.log_state().head) == 2

    async def test_work_that_raises_stop_iteration_raises(self, store: Store) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await store.write(lambda view: next(iter(())))

    async def test_a_write_sees_its_own_changes(self, store: Store) -> None:
        def work(view: WriteView) -> tuple[int, int]:
            view.create_session(Session(session_id="s"))
            view.put_worker(Worker(worker_id="w"))
            return len(list(view.sessions())), view.log_state().head

        assert await store.write(work) == (1, 1)

    async def test_requests_are_remembered(self, store: Store) -> None:
        request = Request("r-1", "CreateSession", b"digest")
        await store.write(lambda view: view.remember(request, b"answer"))
        assert await store.read(lambda view: view.remembered(request)) == b"answer"
        assert await store.read(lambda view: view.remembered(Request("r-2", "CreateSession", b""))) is None
        for other in (Request("r-1", "CreateSession", b"other"), Request("r-1", "DeleteSession", b"digest")):
            with pytest.raises(RequestReusedError):
                await store.read(partial(remembered, request=other))

    async def test_a_request_without_an_id_is_not_remembered(self, store: Store) -> None:
        request = Request("", "CreateSession", b"")
        await store.write(lambda view: view.remember(request, b"answer"))
        assert await store.read(lambda view: view.remembered(request)) is None


class WorkerContract:
    async def test_workers_are_kept_with_their_keys_and_logged_without(self, store: Store) -> None:
        worker = Worker(worker_id="b", url="http://h:1", api_key="secret")
        await store.write(lambda view: view.put_worker(worker))
        await store.write(lambda view: view.put_worker(Worker(worker_id="a")))
        assert await store.read(lambda view: view.worker("b")) == worker
        assert [w.worker_id for w in await store.read(lambda view: view.workers())] == ["a", "b"]
        record = (await events(store))[0]
        change = event.WorkerChanged.FromString(record.body)
        assert record.kind == event.EVENT_KIND_WORKER_CHANGED
        assert (change.worker.url, change.worker.api_key, change.removed) == ("http://h:1", "", False)

    async def test_every_change_has_a_revision(self, store: Store) -> None:
        seen = [await store.read(lambda view: view.workers_revision())]
        changes: list[Callable[[WriteView], None]] = [
            lambda view: view.put_worker(Worker(worker_id="a")),
            lambda view: view.put_worker(Worker(worker_id="a", weight=2)),
            lambda view: view.remove_worker("a"),
        ]
        for work in changes:
            await store.write(work)
            seen.append(await store.read(lambda view: view.workers_revision()))
        assert len(set(seen)) == 4
        await store.append_trace(samples.trace("s"))
        assert await store.read(lambda view: view.workers_revision()) == seen[-1]

    async def test_removing_a_worker_is_logged(self, store: Store) -> None:
        await store.write(lambda view: view.put_worker(Worker(worker_id="a", api_key="secret")))
        await store.write(lambda view: view.remove_worker("a"))
        assert await store.read(lambda view: view.workers()) == []
        change = event.WorkerChanged.FromString((await events(store))[-1].body)
        assert (change.worker.worker_id, change.worker.api_key, change.removed) == ("a", "", True)
        with pytest.raises(NotFoundError):
            await store.write(lambda view: view.remove_worker("a"))


class LogContract:
    async def test_an_empty_log(self, store: Store) -> None:
        state = await store.read(lambda view: view.log_state())
        assert state.epoch
        assert (state.earliest, state.head) == (1, 0)

    async def test_events_come_in_order_after_any_of_them(self, store: Store) -> None:
        for number in range(5):
            await store.append_trace(samples.trace(f"s{number}"))
        await store.write(lambda view: view.delete_session("s1"))
        everything = await events(store)
        assert [record.sequence for record in everything] == [1, 3, 4, 5, 6]
        for after in range(7):
            assert await events(store, after) == [record for record in everything if record.sequence > after]
        state = await store.read(lambda view: view.log_state())
        assert (state.earliest, state.head) == (1, 6)

    async def test_sequences_are_never_used_again(self, store: Store) -> None:
        await store.append_trace(samples.trace("s"))
        await store.write(lambda view: view.delete_session("s"))
        assert (await store.append_trace(samples.trace("s2"))).sequence == 3

    async def test_wait_returns_at_once_when_there_is_more(self, store: Store) -> None:
        await store.append_trace(samples.trace("s"))
        assert await store.wait(0, timeout=60) == 1

    async def test_wait_returns_at_a_commit(self, store: Store) -> None:
        waiting = [asyncio.create_task(store.wait(0, timeout=60)) for _ in range(3)]
        await asyncio.sleep(0.01)
        await store.append_trace(samples.trace("s"))
        assert await asyncio.gather(*waiting) == [1, 1, 1]

    async def test_wait_gives_up_in_time(self, store: Store) -> None:
        assert await store.wait(0, timeout=0.01) == 0

    async def test_stats_count(self, store: Store) -> None:
        await store.append_trace(samples.trace("a"))
        await store.append_trace(samples.trace("a"))
        await store.append_trace(samples.trace("b"))
        stats = await store.read(lambda view: view.stats())
        assert (stats.session_count, stats.trace_count) == (2, 3)
        assert 0 < stats.used_bytes <= stats.file_bytes <= stats.limit_bytes


class CloseContract:
    async def test_close_commits_what_is_queued(self, store: Store) -> None:
        tasks = [store.append_trace(samples.trace("s")) for _ in range(50)]
        await asyncio.sleep(0)
        await store.close()
        assert [commit.call_index for commit in await asyncio.gather(*tasks)] == list(range(50))

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        await store.close()
        await store.close()
        with pytest.raises(StoreClosedError):
            await store.read(lambda view: view.log_state())
        with pytest.raises(StoreClosedError):
            await store.write(lambda view: None)
        with pytest.raises(StoreClosedError):
            await store.append_trace(samples.trace("s"))
        with pytest.raises(StoreClosedError):
            await store.wait(0, timeout=1)

    async def test_close_ends_waiting(self, store: Store) -> None:
        waiting = asyncio.create_task(store.wait(0, timeout=60))
        await asyncio.sleep(0.01)
        await store.close()
        with pytest.raises(StoreClosedError):
            await waiting


class StoreContract(
    SessionContract, TraceContract, WriteContract, WorkerContract, LogContract, CloseContract
):
    """All of it."""
