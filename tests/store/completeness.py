"""What every store must do so that a session is complete: admissions, seals, tombstones, digests.

As contract.py, over a fixture `store`, which was opened as a proxy's.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from rolltrace import digest
from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import session_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Outcome, Session
from rolltrace_store import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    RunningCall,
    SealedError,
    Sealing,
    SessionDeletedError,
    Store,
    WriteView,
)
from tests.store import samples
from tests.store.contract import events, full, stored

CAPTURE_GAPS = session_pb2.INCOMPLETE_KIND_CAPTURE_GAPS
IN_FLIGHT = session_pb2.INCOMPLETE_KIND_IN_FLIGHT
INTERRUPTED = session_pb2.INCOMPLETE_KIND_INTERRUPTED
SOON = 1 << 60


async def session_of(store: Store, session_id: str = "s") -> Session:
    session = await store.read(lambda view: view.session(session_id))
    assert session is not None
    return session


async def running(store: Store, session_id: str = "s") -> list[RunningCall]:
    return await store.read(lambda view: list(view.running(session_id)))


async def begun(store: Store, session_id: str = "s") -> pb.Trace:
    """A trace whose call was admitted."""
    trace = samples.trace(session_id)
    await store.admit(samples.admission(of=trace), 1)
    return trace


def begin_seal(view: WriteView, *, cancel: bool, deadline: int) -> Session:
    return view.begin_seal("s", None, cancel=cancel, deadline=deadline)


def seal(view: WriteView, session_id: str = "s", outcome: Outcome | None = None) -> Session:
    view.begin_seal(session_id, outcome, cancel=False, deadline=SOON)
    return view.finish_seal(session_id)


def remake(view: WriteView) -> Session:
    view.delete_session("s")
    return view.create_session(Session(session_id="s"))


def reasons(session: Session) -> dict[session_pb2.IncompleteKind.ValueType, int]:
    assert session.incomplete == bool(session.incomplete_reasons)
    return {reason.kind: reason.call_count for reason in session.incomplete_reasons}


class AdmissionContract:
    async def test_an_admission_brings_its_session_into_being(self, store: Store) -> None:
        await store.admit(samples.admission("s"), 1)
        session = await session_of(store)
        assert session.state == session_pb2.SESSION_STATE_OPEN
        assert (session.call_count, session.in_flight_call_count) == (0, 1)

    async def test_a_call_runs_from_its_admission_to_its_trace(self, store: Store) -> None:
        trace = samples.trace("s")
        admission = samples.admission(of=trace)
        await store.admit(admission, 0xFFFFFFFF)
        (report,) = await store.live_proxies()
        assert await running(store) == [RunningCall(report.proxy_id, 0xFFFFFFFF, admission)]
        await store.append_trace(trace)
        assert await running(store) == []
        session = await session_of(store)
        assert (session.call_count, session.in_flight_call_count) == (1, 0)

    async def test_an_admission_needs_no_waiting(self, store: Store) -> None:
        trace = samples.trace("s")
        admitted = store.admit(samples.admission(of=trace), 1)
        await store.append_trace(trace)
        assert admitted.done()
        assert await running(store) == []

    async def test_running_calls_are_told_by_session_or_all(self, store: Store) -> None:
        for name in ("s", "s", "s/t", "s0"):
            await store.admit(samples.admission(name), 1)
        assert [call.trace.session_id for call in await running(store)] == ["s", "s"]
        assert len(await running(store, "")) == 4
        assert await running(store, "none") == []
        sessions = await store.read(lambda view: list(view.sessions()))
        assert [session.in_flight_call_count for session in sessions] == [2, 1, 1]

    async def test_a_bad_admission_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidArgumentError):
            store.admit(samples.admission("/s"), 1)
        with pytest.raises(InvalidArgumentError):
            store.admit(pb.Trace(session_id="s", trace_id="t-1"), 1)

    async def test_a_call_that_has_ended_is_not_admitted(self, store: Store) -> None:
        trace = samples.trace("s")
        await store.append_trace(trace)
        with pytest.raises(AlreadyExistsError):
            await store.admit(samples.admission(of=trace), 1)
        assert await running(store) == []

    async def test_calls_of_living_proxies_are_left_alone(self, store: Store) -> None:
        await begun(store)
        assert await store.interrupt_orphans() == 0
        assert len(await running(store)) == 1


class SealContract:
    async def test_a_session_is_sealed_in_two_steps(self, store: Store) -> None:
        before = time.time_ns()
        await store.append_trace(samples.trace("s"))
        outcome = Outcome(status="success", reward=0.5, rewards={"style": 1})
        made = await store.write(lambda view: view.begin_seal("s", outcome, cancel=True, deadline=7))
        assert (made.state, made.digest, made.outcome) == (session_pb2.SESSION_STATE_SEALING, "", outcome)
        assert await store.read(lambda view: view.sealing()) == [Sealing("s", cancel=True, deadline=7)]
        assert await store.read(lambda view: list(view.sealed())) == []
        sealed = await store.write(lambda view: view.finish_seal("s"))
        assert (sealed.state, sealed.outcome) == (session_pb2.SESSION_STATE_SEALED, outcome)
        assert before <= sealed.seal_time.ToNanoseconds() <= time.time_ns()
        assert await session_of(store) == sealed
        assert await store.read(lambda view: view.sealing()) == []
        assert await store.read(lambda view: list(view.sealed())) == [(sealed.seal_time.ToNanoseconds(), "s")]
        record = (await events(store))[-1]
        assert record.kind == event.EVENT_KIND_SESSION_SEALED
        assert event.SessionSealed.FromString(record.body).session == sealed

    async def test_asking_again_hurries_and_never_slows(self, store: Store) -> None:
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        for cancel, deadline, expected in (
            (False, 9, (False, 9)),
            (True, 12, (True, 9)),
            (False, 4, (True, 4)),
        ):
            await store.write(partial(begin_seal, cancel=cancel, deadline=deadline))
            (row,) = await store.read(lambda view: view.sealing())
            assert (row.cancel, row.deadline) == expected

    async def test_an_outcome_is_given_once(self, store: Store) -> None:
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        good, bad = Outcome(reward=1), Outcome(reward=0)

        async def begin(outcome: Outcome | None) -> Session:
            return await store.write(lambda view: view.begin_seal("s", outcome, cancel=False, deadline=SOON))

        assert not (await begin(None)).HasField("outcome")
        for outcome in (good, good, None):
            assert (await begin(outcome)).outcome == good
        with pytest.raises(SealedError, match="another outcome"):
            await begin(bad)
        sealed = await store.write(lambda view: view.finish_seal("s"))
        for outcome in (good, None):
            assert await begin(outcome) == sealed
        with pytest.raises(SealedError, match="another outcome"):
            await begin(bad)
        assert await session_of(store) == sealed
        assert await store.read(lambda view: view.sealing()) == []

    async def test_a_session_sealed_without_an_outcome_takes_none(self, store: Store) -> None:
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        await store.write(seal)
        with pytest.raises(SealedError):
            await store.write(
                lambda view: view.begin_seal("s", Outcome(reward=1), cancel=False, deadline=SOON)
            )

    async def test_what_is_not_there_is_not_sealed(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            await store.write(seal)
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        with pytest.raises(NotFoundError):
            await store.write(lambda view: view.finish_seal("s"))
        await store.write(seal)
        with pytest.raises(NotFoundError):
            await store.write(lambda view: view.finish_seal("s"))

    async def test_a_session_takes_calls_until_it_is_sealed(self, store: Store) -> None:
        await begun(store)
        await store.write(lambda view: view.begin_seal("s", None, cancel=False, deadline=SOON))
        trace = await begun(store)
        await store.append_trace(trace)
        await store.write(lambda view: view.finish_seal("s"))
        with pytest.raises(SealedError):
            await store.admit(samples.admission("s"), 1)
        assert len(await running(store)) == 1

    async def test_an_empty_session_can_be_sealed(self, store: Store) -> None:
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        sealed = await store.write(seal)
        assert (sealed.call_count, sealed.incomplete, sealed.digest) == (0, False, digest.session_digest([]))

    async def test_what_comes_after_the_seal_is_late(self, store: Store) -> None:
        in_time, straggler = await begun(store), await begun(store)
        await store.append_trace(in_time)
        sealed = await store.write(seal)
        assert reasons(sealed) == {IN_FLIGHT: 1}
        assert (sealed.call_count, sealed.in_flight_call_count, sealed.late_call_count) == (1, 1, 0)
        commits = [await store.append_trace(trace) for trace in (straggler, samples.trace("s"))]
        assert [commit.call_index for commit in commits] == [1, 2]
        assert [trace.late for trace in await stored(store, "s")] == [False, True, True]
        after = await session_of(store)
        assert (after.in_flight_call_count, after.late_call_count) == (0, 2)
        after.in_flight_call_count, after.late_call_count = 1, 0
        assert after == sealed

    async def test_why_a_session_is_incomplete(self, store: Store) -> None:
        gaps = [pb.CAPTURE_GAP_KIND_LOGPROBS]
        for status, found in (
            (pb.CALL_STATUS_COMPLETED, []),
            (pb.CALL_STATUS_COMPLETED, [pb.CAPTURE_GAP_KIND_ENDPOINT]),
            (pb.CALL_STATUS_UPSTREAM_ERROR, gaps),
            (pb.CALL_STATUS_REFUSED, gaps),
        ):
            await store.append_trace(samples.trace("s", status=status, gaps=found))
        assert reasons(await session_of(store)) == {}
        await begun(store)
        assert reasons(await session_of(store)) == {}
        for status in (pb.CALL_STATUS_COMPLETED, pb.CALL_STATUS_COMPLETED, pb.CALL_STATUS_INTERRUPTED):
            await store.append_trace(samples.trace("s", status=status, gaps=gaps))
        sealed = await store.write(seal)
        assert reasons(sealed) == {INTERRUPTED: 1, CAPTURE_GAPS: 2, IN_FLIGHT: 1}
        assert (sealed.call_count, sealed.failed_call_count) == (7, 3)

    async def test_tokens_are_counted_as_reported_or_as_recorded(self, store: Store) -> None:
        reported = samples.trace("s", prompt=range(10), sampled=range(5))
        reported.usage.prompt_tokens, reported.usage.completion_tokens = 100, 50
        await store.append_trace(reported)
        await store.append_trace(samples.trace("s", prompt=range(10), sampled=range(5)))
        session = await session_of(store)
        assert (session.prompt_token_count, session.completion_token_count) == (110, 55)


class DigestContract:
    async def test_a_trace_is_stored_with_its_digest(self, store: Store) -> None:
        trace = samples.trace("s")
        await store.append_trace(trace)
        (compact,) = await stored(store, "s")
        assert compact.digest == digest.trace_digest(trace)
        assert not trace.digest

    async def test_a_reader_can_recompute_the_digest_of_a_session(self, store: Store) -> None:
        for trace in [*samples.conversation("s", 5), samples.trace("s", status=pb.CALL_STATUS_REFUSED)]:
            await store.append_trace(trace)
        straggler = await begun(store)
        sealed = await store.write(seal)
        await store.append_trace(straggler)
        traces = (await full(store, "s"))[: sealed.call_count]
        assert sealed.digest == digest.session_digest(map(digest.trace_digest, traces))
        assert (await session_of(store)).digest == sealed.digest

    async def test_a_replay_is_noted_and_changes_nothing_else(self, store: Store) -> None:
        conversation = samples.conversation("s", 3)
        for trace in conversation:
            await store.append_trace(trace)
        before, whole = await stored(store, "s"), await full(store, "s")
        for count in (1, 2, 300):
            for _ in range(count - before[1].replay_count):
                await store.write(lambda view: view.note_replay(conversation[1].trace_id))
            before[1].replay_count = whole[1].replay_count = count
            assert await stored(store, "s") == before
            assert await full(store, "s") == whole
        body = await store.read(lambda view: view.trace(conversation[1].trace_id))
        assert body is not None
        assert len(body) == before[1].ByteSize()
        with pytest.raises(NotFoundError):
            await store.write(lambda view: view.note_replay(samples.trace().trace_id))


class TombstoneContract:
    async def test_a_deletion_leaves_a_tombstone(self, store: Store) -> None:
        before = time.time_ns()
        await store.append_trace(samples.trace("s"))
        assert await store.read(lambda view: view.deleted("s")) is None
        await store.write(lambda view: view.delete_session("s", event.DELETE_REASON_RETENTION))
        deleted = await store.read(lambda view: view.deleted("s"))
        assert deleted is not None
        assert before <= deleted <= time.time_ns()
        (record,) = await events(store)
        told = event.SessionDeleted.FromString(record.body)
        assert (told.reason, told.delete_time.ToNanoseconds()) == (event.DELETE_REASON_RETENTION, deleted)

    async def test_no_call_brings_a_deleted_session_back(self, store: Store) -> None:
        straggler = await begun(store)
        await store.write(lambda view: view.delete_session("s"))
        assert await running(store) == []
        for attempt in (straggler, samples.trace("s")):
            with pytest.raises(SessionDeletedError):
                await store.append_trace(attempt)
            with pytest.raises(SessionDeletedError):
                await store.admit(samples.admission(of=attempt), 1)
        assert await store.read(lambda view: view.session("s")) is None
        assert [record.kind for record in await events(store)] == [event.EVENT_KIND_SESSION_DELETED]

    async def test_creating_a_session_lifts_its_tombstone(self, store: Store) -> None:
        straggler = await begun(store)
        await store.write(remake)
        assert await store.read(lambda view: view.deleted("s")) is None
        with pytest.raises(SessionDeletedError):
            await store.append_trace(straggler)
        assert (await session_of(store)).call_count == 0
        fresh = await begun(store)
        await store.append_trace(fresh)
        assert await full(store, "s") == [fresh]

    async def test_a_refused_straggler_harms_nobody_of_its_batch(self, store: Store) -> None:
        straggler = await begun(store)
        others = [samples.trace("t"), samples.trace("s")]
        blocked = asyncio.create_task(store.write(lambda view: time.sleep(0.05)))
        remade = asyncio.create_task(store.write(remake))
        await asyncio.sleep(0)  # now the others wait in one batch behind the first
        refused, *taken = [store.append_trace(trace) for trace in (straggler, *others)]
        with pytest.raises(SessionDeletedError):
            await refused
        await asyncio.gather(*taken)
        await asyncio.gather(blocked, remade)
        assert await full(store, "t") + await full(store, "s") == others

    @pytest.mark.parametrize("state", ["open", "sealing", "sealed"])
    async def test_a_session_is_deleted_in_every_state(self, store: Store, state: str) -> None:
        await begun(store)
        if state != "open":
            await store.write(lambda view: view.begin_seal("s", None, cancel=False, deadline=SOON))
        if state == "sealed":
            await store.write(lambda view: view.finish_seal("s"))
        await store.write(remake)
        assert await store.read(lambda view: (view.sealing(), list(view.sealed()))) == ([], [])
        session = await session_of(store)
        assert (session.state, session.in_flight_call_count) == (session_pb2.SESSION_STATE_OPEN, 0)
        assert (session.incomplete, session.HasField("seal_time")) == (False, False)


class SecretContract:
    async def test_an_environment_has_a_secret(self, store: Store) -> None:
        secret = await store.read(lambda view: view.secret())
        assert len(secret) == 32
        assert len(set(secret)) > 8


class CompletenessContract(
    AdmissionContract, SealContract, DigestContract, TombstoneContract, SecretContract
):
    """All of it."""
