"""SealSession: at once, in a while, cut short, asked for again, left by its caller, found at the start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace.v1 import session_pb2
from rolltrace.v1 import session_service_pb2 as pb
from rolltrace.v1.event_pb2 import EVENT_KIND_SESSION_SEALED, SessionSealed
from rolltrace.v1.session_pb2 import IncompleteReason, Outcome, Session
from rolltrace.v1.trace_pb2 import CAPTURE_GAP_KIND_LOGPROBS, Trace
from rolltrace.v1.trace_service_pb2 import ListTracesRequest
from rolltrace_control.sealer import finish
from rolltrace_control.server import serve
from rolltrace_store import Store, StoreFullError, open_store
from tests import completeness
from tests.control.conftest import OPTIONS, SETTINGS, Control, connected, controlling
from tests.control.details import failure
from tests.control.subscriber import truth
from tests.store import samples
from tests.store.processes import output, started

PATIENCE = 30.0
OPEN, SEALED, SEALING = (
    session_pb2.SESSION_STATE_OPEN,
    session_pb2.SESSION_STATE_SEALED,
    session_pb2.SESSION_STATE_SEALING,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store, None]:
    """A store that admits calls as well."""
    store = open_store(tmp_path / "db", OPTIONS, proxy=True)
    yield store
    await store.close()


def seal_request(request_id: str = "", /, **fields: object) -> pb.SealSessionRequest:
    return pb.SealSessionRequest(session_id="s", request_id=request_id, **fields)  # type: ignore[arg-type]


async def begin_call(store: Store, session_id: str = "s") -> Trace:
    """A call that runs; the trace that it will have."""
    trace = samples.trace(session_id)
    await store.admit(samples.admission(of=trace), 1)
    return trace


async def session_of(control: Control) -> Session:
    return (await control.sessions.GetSession(pb.GetSessionRequest(session_id="s"))).session


async def until(control: Control, state: session_pb2.SessionState.ValueType) -> Session:
    async with asyncio.timeout(PATIENCE):
        while (session := await session_of(control)).state != state:
            await asyncio.sleep(0.01)
    return session


async def check(control: Control, *ended: str) -> Session:
    """Runs the checker of complete sessions; gives the session."""
    session = await session_of(control)
    listed = await control.traces.ListTraces(ListTracesRequest(session_id="s", page_size=1000))
    completeness.check(session, listed.traces, ended=ended)
    return session


async def test_a_session_without_calls_in_flight_is_sealed_at_once(control: Control, store: Store) -> None:
    traces = samples.conversation("s", 3)
    for trace in traces:
        await store.append_trace(trace)
    outcome = Outcome(status="success", reward=0.0, rewards={"format": 1.0})
    sealed = (await control.sessions.SealSession(seal_request(outcome=outcome), timeout=PATIENCE)).session
    assert (sealed.state, sealed.call_count, sealed.outcome) == (SEALED, 3, outcome)
    assert sealed.base_url
    assert not sealed.incomplete
    assert await check(control, *[trace.trace_id for trace in traces]) == sealed
    last = (await truth(store))[-1]
    assert last.kind == EVENT_KIND_SESSION_SEALED
    told = SessionSealed.FromString(last.body).session
    assert (told.digest, told.call_count, told.outcome) == (sealed.digest, 3, outcome)


async def test_an_empty_session_is_sealed_with_the_digest_of_nothing(control: Control) -> None:
    await control.sessions.CreateSession(pb.CreateSessionRequest(session=Session(session_id="s")))
    await control.sessions.SealSession(seal_request())
    assert (await check(control)).digest == "0" * 64


async def test_calls_that_run_are_awaited(control: Control, store: Store) -> None:
    first, second = await begin_call(store), await begin_call(store)
    sealing = asyncio.ensure_future(control.sessions.SealSession(seal_request()))
    session = await until(control, SEALING)
    assert (session.in_flight_call_count, session.digest) == (2, "")
    await store.append_trace(first)
    await asyncio.sleep(0.05)
    assert not sealing.done()
    began = time.monotonic()
    await store.append_trace(second)
    sealed = (await asyncio.wait_for(sealing, PATIENCE)).session
    assert time.monotonic() - began < 5
    assert (sealed.state, sealed.call_count, sealed.incomplete) == (SEALED, 2, False)
    assert await check(control, first.trace_id, second.trace_id) == sealed


async def test_what_runs_after_the_deadline_comes_late(control: Control, store: Store) -> None:
    lacking = samples.trace("s", gaps=[CAPTURE_GAP_KIND_LOGPROBS])
    await store.append_trace(lacking)
    straggler = await begin_call(store)
    timeout = Duration(nanos=50_000_000)
    sealed = (await control.sessions.SealSession(seal_request(timeout=timeout), timeout=PATIENCE)).session
    assert [(reason.kind, reason.call_count) for reason in sealed.incomplete_reasons] == [
        (session_pb2.INCOMPLETE_KIND_CAPTURE_GAPS, 1),
        (session_pb2.INCOMPLETE_KIND_IN_FLIGHT, 1),
    ]
    await store.append_trace(straggler)
    session = await check(control, lacking.trace_id, straggler.trace_id)
    assert (session.call_count, session.late_call_count, session.digest) == (1, 1, sealed.digest)


async def test_a_second_wish_cancels_and_comes_sooner(control: Control, store: Store) -> None:
    await begin_call(store)
    patient = asyncio.ensure_future(control.sessions.SealSession(seal_request()))
    await until(control, SEALING)
    [before] = await store.read(lambda view: view.sealing())
    assert not before.cancel
    hasty = seal_request(in_flight=pb.IN_FLIGHT_CALLS_CANCEL, timeout=Duration(nanos=300_000_000))
    second = asyncio.ensure_future(control.sessions.SealSession(hasty))
    async with asyncio.timeout(PATIENCE):
        while not (now := await store.read(lambda view: view.sealing()))[0].cancel:
            await asyncio.sleep(0.005)
        assert now[0].deadline < before.deadline
        assert (await second).session == (await patient).session


async def test_sealing_again_gives_the_same_unless_the_outcome_is_another(control: Control) -> None:
    await control.sessions.CreateSession(pb.CreateSessionRequest(session=Session(session_id="s")))
    sealed = await control.sessions.SealSession(seal_request("r", outcome=Outcome(reward=1.0)))
    assert await control.sessions.SealSession(seal_request("r", outcome=Outcome(reward=1.0))) == sealed
    assert await control.sessions.SealSession(seal_request("q", outcome=Outcome(reward=1.0))) == sealed
    assert await control.sessions.SealSession(seal_request()) == sealed
    failed = await failure(control.sessions.SealSession(seal_request(outcome=Outcome(reward=0.0))))
    assert failed.code == grpc.StatusCode.FAILED_PRECONDITION
    assert failed.detail(rpc.ErrorInfo).reason == "SESSION_SEALED"
    assert failed.detail(rpc.ErrorInfo).metadata["session_id"] == "s"
    failed = await failure(control.sessions.SealSession(seal_request("r", outcome=Outcome(reward=0.0))))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "request_id")


async def test_a_repeated_request_waits_as_the_first_does(control: Control, store: Store) -> None:
    trace = await begin_call(store)
    asked = [asyncio.ensure_future(control.sessions.SealSession(seal_request("r"))) for _ in range(3)]
    await until(control, SEALING)
    await store.append_trace(trace)
    first, *others = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE)
    assert first.session.state == SEALED
    assert others == [first, first]


async def test_a_caller_without_patience_is_told_that_the_seal_goes_on(
    control: Control, store: Store
) -> None:
    trace = await begin_call(store)
    failed = await failure(control.sessions.SealSession(seal_request(), timeout=1.0))
    assert failed.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert failed.detail(rpc.ErrorInfo).reason == "SESSION_SEALING"
    assert "SEALING still, 1 of its calls run" in failed.message
    assert (await session_of(control)).state == SEALING
    await store.append_trace(trace)
    await until(control, SEALED)
    await check(control, trace.trace_id)


async def test_a_caller_that_leaves_stops_nothing(control: Control, store: Store) -> None:
    trace = await begin_call(store)
    call = control.sessions.SealSession(seal_request())
    await until(control, SEALING)
    call.cancel()
    await store.append_trace(trace)
    await until(control, SEALED)


async def test_a_session_that_is_deleted_meanwhile_is_not_found(control: Control, store: Store) -> None:
    await begin_call(store)
    sealing = asyncio.ensure_future(failure(control.sessions.SealSession(seal_request())))
    await until(control, SEALING)
    await control.sessions.DeleteSession(pb.DeleteSessionRequest(session_id="s"))
    failed = await asyncio.wait_for(sealing, PATIENCE)
    assert failed.code == grpc.StatusCode.NOT_FOUND
    failed = await failure(control.sessions.GetSession(pb.GetSessionRequest(session_id="s")))
    assert (failed.code, failed.message) == (grpc.StatusCode.NOT_FOUND, "session 's' was deleted")
    assert failed.detail(rpc.ResourceInfo).resource_name == "s"
    assert (await failure(control.sessions.SealSession(seal_request()))).message == failed.message
    request = ListTracesRequest(session_id="s")
    assert (await failure(control.traces.ListTraces(request))).message == failed.message


async def test_nobody_is_not_found(control: Control) -> None:
    failed = await failure(control.sessions.SealSession(seal_request()))
    assert failed.code == grpc.StatusCode.NOT_FOUND
    assert failed.detail(rpc.ResourceInfo).resource_name == "s"


async def test_a_restart_finishes_what_was_begun(store: Store) -> None:
    trace = await begin_call(store)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serve(SETTINGS, store))
        async with connected(port) as control:
            sealing = asyncio.ensure_future(failure(control.sessions.SealSession(seal_request("r"))))
            await until(control, SEALING)
            await stack.aclose()
            failed = await asyncio.wait_for(sealing, PATIENCE)
    assert failed.code == grpc.StatusCode.UNAVAILABLE
    assert "will be sealed" in failed.message
    await store.append_trace(trace)
    async with controlling(store) as control:
        await until(control, SEALED)
        again = await control.sessions.SealSession(seal_request("r"))
        assert again.session == await check(control, trace.trace_id)


async def test_a_call_that_joins_at_the_last_moment_is_awaited(store: Store) -> None:
    await begin_call(store)
    await store.write(lambda view: view.begin_seal("s", None, cancel=False, deadline=1 << 60))
    chosen = await store.read(lambda view: view.sealing())  # as by a look before the call was admitted
    assert await store.write(lambda view: finish(view, chosen, over=())) == set()
    assert await store.write(lambda view: finish(view, chosen, over={"s"})) == {"s"}
    assert await store.write(lambda view: finish(view, chosen, over={"s"})) == set()


async def test_calls_of_a_dead_proxy_are_recorded_though_nobody_asks(
    control: Control, tmp_path: Path
) -> None:
    with started("present", tmp_path / "db", "s", "2") as proxy:
        await asyncio.to_thread(output(proxy).readline)
        proxy.kill()
        proxy.wait()
    async with asyncio.timeout(PATIENCE):
        while (session := await session_of(control)).in_flight_call_count:
            await asyncio.sleep(0.05)
    [reason] = session.incomplete_reasons
    assert (reason.kind, reason.call_count) == (session_pb2.INCOMPLETE_KIND_INTERRUPTED, 2)
    await check(control)


async def test_many_seals_at_once_all_end(control: Control, store: Store) -> None:
    names = [f"s-{number}" for number in range(300)]
    running = [await begin_call(store, name) for name in names[:100]]
    for name in names[100:]:
        await store.append_trace(samples.trace(name))
    asked = [
        asyncio.ensure_future(control.sessions.SealSession(pb.SealSessionRequest(session_id=name)))
        for name in names
    ]
    await asyncio.gather(*[store.append_trace(trace) for trace in running])
    answers = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE)
    assert {answer.session.state for answer in answers} == {SEALED}
    assert await store.read(lambda view: view.sealing()) == []


async def test_sessions_are_listed_by_their_state(control: Control, store: Store) -> None:
    for name in ("open", "sealed"):
        await control.sessions.CreateSession(pb.CreateSessionRequest(session=Session(session_id=name)))
    await control.sessions.SealSession(pb.SealSessionRequest(session_id="sealed"))
    await begin_call(store)
    call = control.sessions.SealSession(seal_request())
    await until(control, SEALING)
    for state, name in ((OPEN, "open"), (SEALED, "sealed"), (SEALING, "s")):
        request = pb.ListSessionsRequest(filter=pb.SessionFilter(state=state))
        listed = (await control.sessions.ListSessions(request)).sessions
        assert [session.session_id for session in listed] == [name]
    call.cancel()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"in_flight": 9}, "in_flight"),
        ({"timeout": Duration(seconds=-1)}, "timeout"),
        ({"timeout": Duration(nanos=-1)}, "timeout"),
        ({"timeout": Duration(seconds=3601)}, "timeout"),
        ({"outcome": Outcome(reward=float("nan"))}, "outcome.reward"),
        ({"outcome": Outcome(rewards={"a": float("nan")})}, "outcome.rewards"),
        ({"outcome": Outcome(metadata={"a": float("inf")})}, "outcome.metadata"),  # type: ignore[arg-type]
    ],
)
async def test_a_bad_request_names_its_field(
    control: Control, store: Store, fields: dict[str, object], field: str
) -> None:
    await store.append_trace(samples.trace("s"))
    failed = await failure(control.sessions.SealSession(seal_request(**fields)))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert (await session_of(control)).state == OPEN


async def test_a_seal_does_not_wait_for_calls_that_cannot_be_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full() -> int:
        raise StoreFullError("the disk is full")

    monkeypatch.setattr(store, "interrupt_orphans", full)
    await begin_call(store)
    async with controlling(store) as control, asyncio.timeout(PATIENCE):
        request = seal_request(timeout=Duration(nanos=50_000_000))
        sealed = (await control.sessions.SealSession(request)).session
    assert sealed.incomplete_reasons == [
        IncompleteReason(kind=session_pb2.INCOMPLETE_KIND_IN_FLIGHT, call_count=1)
    ]
