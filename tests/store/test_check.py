"""`rolltrace db check`: a sound environment is called sound, each kind of damage is found and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import lmdb
import pytest

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1 import worker_pb2
from rolltrace.v1.policy_service_pb2 import Policy
from rolltrace.v1.session_pb2 import Session
from rolltrace_store import Request, open_store, schema
from rolltrace_store.__main__ import main
from rolltrace_store.check import check, ticks
from rolltrace_store.environment import LMDB_MAJOR
from rolltrace_store.inspection import snapshot
from rolltrace_store.rows import Database
from rolltrace_store.schema import meta
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.codec import Table
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.log import Entry
from rolltrace_store.schema.session_trace import CallKey, CallRow
from tests.store.processes import options
from tests.store.sessions import Agent

K = TypeVar("K")
V = TypeVar("V")


class Damage:
    """A transaction that writes what it should not."""

    def __init__(self, environment: lmdb.Environment, txn: lmdb.Transaction[bytes]) -> None:
        self._environment = environment
        self._txn = txn

    def get(self, table: Table[K, V], key: K) -> V:
        data = self._txn.get(table.key.encode(key), None, self._open(table))
        assert data is not None
        return table.value.decode(data)

    def put(self, table: Table[K, V], key: K, value: V) -> None:
        self.put_bytes(table, table.key.encode(key), table.value.encode(value))

    def put_bytes(self, table: Table[K, V], key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._open(table))

    def delete(self, table: Table[K, V], key: K) -> None:
        assert self._txn.delete(table.key.encode(key), db=self._open(table))

    def keys(self, table: Table[K, V]) -> list[K]:
        with self._txn.cursor(self._open(table)) as cursor:
            return [table.key.decode(key) for key, _ in cursor]

    def trace(self, sequence: int) -> pb.Trace:
        return pb.Trace.FromString(self.get(schema.LOG, sequence).body)

    def put_trace(self, sequence: int, trace: pb.Trace) -> None:
        kind = self.get(schema.LOG, sequence).kind
        self.put(schema.LOG, sequence, Entry(kind, trace.SerializeToString()))

    def _open(self, table: Table[K, V]) -> Database:
        return self._environment.open_db(table.name.encode(), self._txn)


async def _fill(path: Path) -> None:
    """Events 1 to 8: six turns of session a, one of session b, a worker; and a remembered request."""
    store = open_store(path, options())
    agent = Agent(1, "a")
    for _ in range(6):
        await store.append_trace(agent.turn())
    await store.append_trace(Agent(2, "b").turn())
    worker = worker_pb2.Worker(worker_id="w", url="http://127.0.0.1:1")
    await store.write(lambda view: view.put_worker(worker))
    await store.write(lambda view: view.remember(Request("r", "RPC", b"d"), b"answer"))
    await store.close()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    await _fill(tmp_path / "db")
    return tmp_path / "db"


def damage_to(path: Path, damage: Callable[[Damage], None]) -> None:
    tables, size = len(schema.TABLES), options().max_db_size
    with (
        lmdb.open(str(path), max_dbs=tables, map_size=size, lib_version=LMDB_MAJOR) as environment,
        environment.begin(write=True) as txn,
    ):
        damage(Damage(environment, txn))


def findings_in(path: Path) -> list[str]:
    found: list[str] = []
    ticked = 0

    def tick() -> None:
        nonlocal ticked
        ticked += 1

    with snapshot(path) as source:
        check(source, lambda finding: found.append(str(finding)), tick)
        assert ticked <= ticks(source)
        assert ticked == ticks(source) or found
    return found


def test_sound(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings_in(path) == []
    assert main(["check", "--db-path", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} is sound (2 sessions, 7 traces, 8 events)\n"


async def test_sound_after_deleting(path: Path) -> None:
    store = open_store(path, options())
    await store.write(lambda view: view.delete_session("a"))
    await store.write(lambda view: view.create_session(Session(session_id="a")))
    await store.append_trace(Agent(3, "a").turn())
    await store.close()
    assert findings_in(path) == []


def test_verdict_and_status(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage_to(path, lambda db: db.put(schema.COUNTERS, "b", Counters(5)))
    assert main(["check", "--db-path", str(path)]) == 1
    finding, verdict = capsys.readouterr().out.splitlines()
    assert finding.startswith("counters: session b has counters Counters(calls=5")
    assert verdict == f"{path} is NOT SOUND: 1 findings (2 sessions, 7 traces, 8 events)"


def _drop_trace_id(db: Damage) -> None:
    db.delete(schema.TRACE_IDS, db.trace(7).trace_id)


def _misleading_trace_id(db: Damage) -> None:
    db.put(schema.TRACE_IDS, db.trace(7).trace_id, 6)


def _index_of_nothing(db: Damage) -> None:
    db.put(schema.TRACE_IDS, "00000000-0000-4000-8000-000000000000", 99)


def _drop_call(db: Damage) -> None:
    db.delete(schema.SESSION_TRACES, CallKey("a", 2))


def _calls_out_of_order(db: Damage) -> None:
    first, second = (db.get(schema.SESSION_TRACES, CallKey("a", call)) for call in (0, 1))
    db.put(schema.SESSION_TRACES, CallKey("a", 0), second)
    db.put(schema.SESSION_TRACES, CallKey("a", 1), first)


def _call_of_nothing(db: Damage) -> None:
    db.put(schema.SESSION_TRACES, CallKey("b", 1), CallRow(99, db.trace(7).trace_id))


def _drop_session(db: Damage) -> None:
    db.delete(schema.SESSIONS, "b")


def _another_session(db: Damage) -> None:
    db.put(schema.SESSIONS, "b", db.get(schema.SESSIONS, "a"))


def _wrong_counter(db: Damage) -> None:
    db.put(schema.COUNTERS, "a", Counters(6, 1))


def _drop_counter(db: Damage) -> None:
    db.delete(schema.COUNTERS, "a")


def _left_counter(db: Damage) -> None:
    db.put(schema.COUNTERS, "gone", Counters(1))


def _drop_base(db: Damage) -> None:
    db.delete(schema.LOG, 2)


def _foreign_body(db: Damage) -> None:
    trace = db.trace(2)
    trace.compact.body = db.trace(1).compact.body
    db.put_trace(2, trace)


def _later_base(db: Damage) -> None:
    trace = db.trace(2)
    trace.compact.base_trace_id = db.trace(3).trace_id
    db.put_trace(2, trace)


def _wrong_sequence(db: Damage) -> None:
    trace = db.trace(7)
    trace.sequence = 70
    db.put_trace(7, trace)


def _unknown_kind(db: Damage) -> None:
    db.put_bytes(schema.LOG, schema.LOG.key.encode(8), b"\x63nothing")


def _unreadable_event(db: Damage) -> None:
    db.put_bytes(schema.LOG, schema.LOG.key.encode(8), b"")


def _low_head(db: Damage) -> None:
    db.put(meta.NUMBERS, meta.HEAD, 7)


def _high_revision(db: Damage) -> None:
    db.put(meta.NUMBERS, meta.WORKERS_REVISION, 70)


def _another_policy(db: Damage) -> None:
    said = event.PolicyChanged(policy_version="17")
    db.put(schema.LOG, 8, Entry(event.EVENT_KIND_POLICY_CHANGED, said.SerializeToString()))
    db.put(meta.POLICIES, meta.POLICY, Policy(policy_version="16"))


def _no_policy(db: Damage) -> None:
    _another_policy(db)
    db.delete(meta.POLICIES, meta.POLICY)


def _unreadable_policy(db: Damage) -> None:
    db.put_bytes(meta.POLICIES, meta.POLICY.encode(), b"\xff")


def _no_epoch(db: Damage) -> None:
    db.delete(meta.TEXTS, meta.EPOCH)


def _drop_age(db: Damage) -> None:
    db.delete(schema.REQUEST_TIMES, Age(db.get(schema.REQUESTS, "r").time, "r"))


def _another_worker(db: Damage) -> None:
    db.put(schema.WORKERS, "v", db.get(schema.WORKERS, "w"))


def _missing_logprobs(db: Damage) -> None:
    trace = db.trace(7)
    payload = pb.CompactPayload(prompt_rest=bytes(8))
    payload.completions.add(token_ids=bytes(8), logprobs=bytes(4), finish_reason="stop")
    trace.compact.compression = pb.COMPRESSION_NONE
    trace.compact.body = payload.SerializeToString()
    db.put_trace(7, trace)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_drop_trace_id, ["trace_ids: trace {7} is not there, or does not lead to event 7"]),
        (_misleading_trace_id, ["trace_ids: trace {7} leads to event 6, which is not it"]),
        (_index_of_nothing, ["leads to event 99, which is not it"]),
        (_drop_call, ["call 2 of session a is not there", "call 3 of session a comes where call 2 should"]),
        (_drop_call, ["session a has counters Counters(calls=6"]),
        (_calls_out_of_order, ["session_traces: call 1 of session a has sequence 1, not after 2"]),
        (_call_of_nothing, ["session_traces: call 1 of session b leads to event 99, which is not it"]),
        (_drop_session, ["sessions: session b is missing, but has traces"]),
        (_another_session, ["sessions: session b says it is a"]),
        (_wrong_counter, ["counters: session a has counters Counters(calls=6, failed_calls=1"]),
        (_drop_counter, ["counters: session a has counters None"]),
        (_left_counter, ["counters: session gone has counters"]),
        (_drop_base, ["leads to event 2, which is not it", "log: event 3, trace {3}, does not expand"]),
        (_foreign_body, ["log: event 3, trace {3}, does not expand: trace {3} refers beyond the end"]),
        (
            _later_base,
            ["event 2, trace {2}, does not expand: trace {2} rests on trace {3}, which is later"],
        ),
        (_wrong_sequence, ["log: event 7 says that its sequence is 70"]),
        (_unknown_kind, ["log: event 8 cannot be read as one of kind 99"]),
        (_unreadable_event, ["log: the row of key 0000000000000008 cannot be read"]),
        (_low_head, ["meta: head is 7, but the log goes on to 8"]),
        (_high_revision, ["meta: workers_revision is 70, but the head is 8"]),
        (_another_policy, ["meta: policy is '16', but the log says '17'"]),
        (_no_policy, ["meta: policy is '', but the log says '17'"]),
        (_unreadable_policy, ["meta: policy cannot be read"]),
        (_no_epoch, ["meta: epoch is missing"]),
        (_drop_age, ["requests: request r has no row in request_times"]),
        (_another_worker, ["workers: worker v says it is w"]),
        (
            _missing_logprobs,
            ["trace {7}, completion 0 has 2 ids and 1 log-probabilities, and no"],
        ),
    ],
)
def test_damage_is_named(path: Path, damage: Callable[[Damage], None], expected: Sequence[str]) -> None:
    ids: dict[int, str] = {}

    def damaged(db: Damage) -> None:
        ids.update({sequence: db.trace(sequence).trace_id for sequence in range(1, 8)})
        damage(db)

    damage_to(path, damaged)
    findings = findings_in(path)
    for part in expected:
        for sequence, trace_id in ids.items():
            part = part.replace(f"{{{sequence}}}", trace_id)
        assert any(part in finding for finding in findings), findings


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_flipped_byte_in_a_base_is_found_in_it_and_in_what_rests_on_it(path: Path, at: float) -> None:
    ids: list[str] = []

    def flip(db: Damage) -> None:
        trace = db.trace(2)
        assert db.trace(3).compact.base_trace_id == trace.trace_id
        ids.extend((trace.trace_id, db.trace(3).trace_id))
        body = bytearray(trace.compact.body)
        body[int(len(body) * at)] ^= 0x10
        trace.compact.body = bytes(body)
        db.put_trace(2, trace)

    damage_to(path, flip)
    findings = findings_in(path)
    for trace_id in ids:
        fault = f"trace {trace_id}, does not expand: the compact body of trace {ids[0]} cannot be read"
        assert any(fault in finding for finding in findings), findings
