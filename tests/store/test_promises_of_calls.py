"""Any order of admissions, ends, seals, deletions and deaths, against a model of what was promised.

The promises: every admitted call ends as exactly one trace, or its session was deleted; what comes after a
seal changes nothing that was sealed; a reader of the FULL traces computes the session's digest.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace import digest
from rolltrace.v1 import session_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_store import (
    AlreadyExistsError,
    Commit,
    NotFoundError,
    ReadView,
    SealedError,
    SessionDeletedError,
    Store,
    open_store,
)
from rolltrace_store.check import check
from rolltrace_store.inspection import snapshot
from tests.store import samples
from tests.store.completeness import IN_FLIGHT, INTERRUPTED, reasons
from tests.store.processes import options

NAMES = ("a", "a/b", "b")
OPEN, SEALING, SEALED = (
    session_pb2.SESSION_STATE_OPEN,
    session_pb2.SESSION_STATE_SEALING,
    session_pb2.SESSION_STATE_SEALED,
)


@dataclass(eq=False)
class Call:
    trace: pb.Trace
    admitted: bool = False
    life: int = 0
    ended: bool = False
    refusal: object = None
    """Of its admission, while its end can be committed together with that."""


@dataclass
class Known:
    """What a session must be."""

    state: session_pb2.SessionState.ValueType = OPEN
    calls: list[str] = field(default_factory=list[str])
    late: list[str] = field(default_factory=list[str])
    running: dict[str, Call] = field(default_factory=dict[str, Call])
    left: int = 0
    interrupted: int = 0

    def end(self, call: Call) -> int:
        """Returns its call_index."""
        self.running.pop(call.trace.trace_id, None)
        (self.late if self.state == SEALED else self.calls).append(call.trace.trace_id)
        return len(self.calls) + len(self.late) - 1


class Model:
    """Says what every operation must do, if they are done one after the other."""

    def __init__(self) -> None:
        self.sessions: dict[str, Known] = {}
        self.tombstones: set[str] = set()
        self.calls: list[Call] = []
        self.life = 0

    def apart(self) -> None:
        """What was admitted is committed before what comes."""
        for call in self.calls:
            call.refusal = None

    def admit(self, call: Call) -> object:
        call.refusal = self._admit(call)
        return call.refusal

    def _admit(self, call: Call) -> object:
        if (refusal := self._enter(call.trace.session_id)) is not None:
            return refusal
        session = self.sessions[call.trace.session_id]
        if session.state == SEALED:
            return SealedError
        call.admitted, call.life = True, self.life
        session.running[call.trace.trace_id] = call
        return None

    def end(self, call: Call) -> object:
        call.ended = True
        if call.refusal is not None:
            return call.refusal
        name = call.trace.session_id
        known = self.sessions.get(name)
        if call.admitted and (known is None or call.trace.trace_id not in known.running):
            return SessionDeletedError
        return self._enter(name) or self.sessions[name].end(call)

    def _enter(self, name: str) -> object:
        if name in self.tombstones:
            return SessionDeletedError
        self.sessions.setdefault(name, Known())
        return None

    def create(self, name: str) -> object:
        if name in self.sessions:
            return AlreadyExistsError
        self.tombstones.discard(name)
        self.sessions[name] = Known()
        return None

    def delete(self, name: str) -> object:
        if self.sessions.pop(name, None) is None:
            return NotFoundError
        self.tombstones.add(name)
        return None

    def begin_seal(self, name: str) -> object:
        if name not in self.sessions:
            return NotFoundError
        if self.sessions[name].state == OPEN:
            self.sessions[name].state = SEALING
        return None

    def finish_seal(self, name: str) -> object:
        session = self.sessions.get(name)
        if session is None or session.state != SEALING:
            return NotFoundError
        session.state, session.left = SEALED, len(session.running)
        return None

    def sweep(self) -> int:
        orphans = [
            (session, call)
            for session in self.sessions.values()
            for call in session.running.values()
            if call.life < self.life
        ]
        for session, call in sorted(orphans, key=lambda pair: pair[1].trace.trace_id):
            session.interrupted += session.state != SEALED
            session.end(call)
        return len(orphans)

    def endable(self, pick: int) -> Call | None:
        """A call that this life of the proxy took in, or failed to."""
        open_calls = [call for call in self.calls if not call.ended and call.life == self.life]
        return open_calls[pick % len(open_calls)] if open_calls else None


Step = tuple[str, str, int]
STEPS = st.tuples(
    st.sampled_from(["admit"] * 4 + ["end"] * 4 + ["create", "delete", "begin_seal", "finish_seal"]),
    st.sampled_from(NAMES),
    st.integers(0, 9),
)


def prepare(store: Store, model: Model, step: Step) -> tuple[Awaitable[object], object] | None:
    """The operation, and what it must return or raise."""
    kind, name, pick = step
    if kind == "admit":
        call = Call(samples.trace(name, prompt=range(100 + pick)), life=model.life)
        model.calls.append(call)
        return admit(store, call), model.admit(call)
    if kind == "end":
        picked = model.endable(pick)
        return None if picked is None else (end(store, picked), model.end(picked))
    model.apart()
    expected: object = getattr(model, kind)(name)
    return write(store, kind, name), expected


async def admit(store: Store, call: Call) -> None:
    await store.admit(samples.admission(of=call.trace), 1)


async def end(store: Store, call: Call) -> int:
    commit: Commit = await store.append_trace(call.trace)
    return commit.call_index


async def write(store: Store, kind: str, name: str) -> None:
    if kind == "create":
        await store.write(lambda view: view.create_session(Session(session_id=name)))
    elif kind == "delete":
        await store.write(lambda view: view.delete_session(name))
    elif kind == "begin_seal":
        await store.write(lambda view: view.begin_seal(name, None, cancel=False, deadline=1))
    else:
        await store.write(lambda view: view.finish_seal(name))


def agree(view: ReadView, model: Model) -> None:
    """The store is what the model says, and whole."""
    assert {session.session_id for session in view.sessions()} == set(model.sessions)
    assert {name for name in NAMES if view.deleted(name) is not None} == model.tombstones
    for name, known in model.sessions.items():
        session = view.session(name)
        assert session is not None
        assert {call.trace.trace_id for call in view.running(name)} == set(known.running)
        traces = [view.expand(pb.Trace.FromString(body)) for body in view.traces(name)]
        by_id = {trace.trace_id: trace for trace in traces}
        assert len(by_id) == len(traces)
        assert [trace.trace_id for trace in traces] == known.calls + known.late
        assert [trace.late for trace in traces] == [False] * len(known.calls) + [True] * len(known.late)
        assert (session.state, session.call_count) == (known.state, len(known.calls))
        assert session.late_call_count == len(known.late)
        assert session.in_flight_call_count == len(known.running)
        chain = digest.session_digest(digest.trace_digest(by_id[trace_id]) for trace_id in known.calls)
        assert session.digest == (chain if known.state == SEALED else "")
        expected = {INTERRUPTED: known.interrupted, IN_FLIGHT: known.left}
        assert reasons(session) == {kind: count for kind, count in expected.items() if count}


async def live(path: Path, model: Model, batches: Sequence[Sequence[Step]]) -> None:
    """One life of a proxy: each batch is queued at once, so that the store may commit it together."""
    store = open_store(path, options(), proxy=True)
    assert await store.interrupt_orphans() == model.sweep()
    for batch in batches:
        model.apart()
        prepared = [pair for step in batch if (pair := prepare(store, model, step)) is not None]
        results = await asyncio.gather(*[work for work, _ in prepared], return_exceptions=True)
        for result, (_, expected) in zip(results, prepared, strict=True):
            assert (type(result) if isinstance(result, BaseException) else result) == expected
        await store.read(lambda view: agree(view, model))
    await store.close()


@given(st.lists(st.lists(st.lists(STEPS, max_size=10), max_size=4), max_size=3))
@settings(max_examples=40, deadline=None)
def test_every_order_keeps_the_promises(lives: list[list[list[Step]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Model()
        for batches in [*lives, []]:
            asyncio.run(live(Path(folder), model, batches))
            model.life += 1
        assert not any(session.running for session in model.sessions.values())
        findings: list[object] = []
        with snapshot(Path(folder)) as source:
            check(source, findings.append, lambda: None)
        assert findings == []
