"""`rolltrace db check` on what is known of sessions: running calls, seals, tombstones, digests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rolltrace.v1.session_pb2 import Session
from rolltrace_store import open_store, schema
from rolltrace_store.schema import meta
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.log import Entry
from rolltrace_store.schema.running import RunningKey, RunningRow
from rolltrace_store.schema.seal import SealingRow
from tests.store import samples
from tests.store.completeness import begun, seal
from tests.store.processes import options
from tests.store.test_check import Damage, damage_to, findings_in

SEALED_EVENT = 5


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Session s: sealed with two calls, one late and one running. t: SEALING. u: open. gone: deleted."""
    path = tmp_path / "db"
    store = open_store(path, options(), proxy=True)
    for name in ("gone", "u", "s", "s"):
        await store.append_trace(samples.trace(name))
    late, _ = await begun(store, "s"), await begun(store, "s")
    await store.write(seal)
    await store.append_trace(late)
    await begun(store, "t")
    await store.write(lambda view: view.begin_seal("t", None, cancel=False, deadline=1))
    await store.write(lambda view: view.delete_session("gone"))
    await store.close()
    assert findings_in(path) == []
    return path


def _only(db: Damage, session_id: str) -> RunningKey:
    (key,) = [key for key in db.keys(schema.RUNNING) if key.session_id == session_id]
    return key


def _age(db: Damage) -> Age:
    return Age(db.get(schema.SESSIONS, "s").seal_time.ToNanoseconds(), "s")


def _no_secret(db: Damage) -> None:
    db.delete(meta.SECRETS, meta.SECRET)


def _another_digest(db: Damage) -> None:
    trace = db.trace(3)
    trace.digest = bytes(32)
    db.put_trace(3, trace)


def _broken_chain(db: Damage) -> None:
    db.put(schema.COUNTERS, "s", db.get(schema.COUNTERS, "s")._replace(digest=bytes(32)))


def _in_time_after_late(db: Damage) -> None:
    trace = db.trace(3)
    trace.late = True
    db.put_trace(3, trace)


def _lying_event(db: Damage) -> None:
    body = db.get(schema.LOG, SEALED_EVENT).body.replace(b"\x58\x02", b"\x58\x03", 1)  # call_count
    db.put(schema.LOG, SEALED_EVENT, Entry(db.get(schema.LOG, SEALED_EVENT).kind, body))


def _run_of_nobody(db: Damage) -> None:
    db.put(schema.RUNNING, RunningKey("none", samples.trace().trace_id), RunningRow("p", 1, b""))


def _run_unreadable(db: Damage) -> None:
    db.put(schema.RUNNING, _only(db, "t"), RunningRow("p", 1, b"\xff"))


def _run_of_the_dead(db: Damage) -> None:
    trace = db.trace(2)
    row = RunningRow("p", 1, samples.admission(of=trace).SerializeToString())
    db.put(schema.RUNNING, RunningKey("u", trace.trace_id), row)


def _lost_run(db: Damage) -> None:
    db.delete(schema.RUNNING, _only(db, "s"))


def _lost_sealing(db: Damage) -> None:
    db.delete(schema.SEALING, "t")


def _sealing_of_an_open_one(db: Damage) -> None:
    db.put(schema.SEALING, "u", SealingRow(cancel=False, deadline=1))


def _lost_sealed(db: Damage) -> None:
    db.delete(schema.SEALED, _age(db))


def _sealed_of_an_open_one(db: Damage) -> None:
    db.put(schema.SEALED, Age(5, "u"), None)


def _sealed_at_another_time(db: Damage) -> None:
    db.put(schema.SEALED, Age(5, "s"), None)


def _unsealed_counters(db: Damage) -> None:
    db.put(schema.COUNTERS, "s", db.get(schema.COUNTERS, "s")._replace(sealed=False))


def _sealed_too_soon(db: Damage) -> None:
    db.put(schema.COUNTERS, "u", db.get(schema.COUNTERS, "u")._replace(left_calls=1))


def _back_from_the_dead(db: Damage) -> None:
    db.put(schema.SESSIONS, "gone", Session(session_id="gone"))


def _ageless_tombstone(db: Damage) -> None:
    db.delete(schema.TOMBSTONE_TIMES, Age(db.get(schema.TOMBSTONES, "gone"), "gone"))


def _age_of_no_tombstone(db: Damage) -> None:
    db.put(schema.TOMBSTONE_TIMES, Age(5, "u"), None)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_no_secret, "meta: secret is missing"),
        (_another_digest, "has another digest than its tokens"),
        (_broken_chain, "counters: session s has counters Counters(calls=2"),
        (_in_time_after_late, "log: call 1 of session s is not late, but one before it is"),
        (_lying_event, "log: event 5 says that session s has 3 calls"),
        (_run_of_nobody, "of session none runs, but its session is not there"),
        (_run_unreadable, "of session t cannot be read, or says it is another"),
        (_run_of_the_dead, "of session u runs, but has its trace already"),
        (_lost_run, "counters: session s was sealed with 2 calls running; 0 run, 1 came"),
        (_lost_sealing, "sealing: session t is not there, but it is SEALING"),
        (_sealing_of_an_open_one, "sealing: session u is not there, or not SEALING"),
        (_lost_sealed, "sealed: session s is not there, but it is SEALED"),
        (_sealed_of_an_open_one, "sealed: session u is not there, or not SEALED"),
        (_sealed_at_another_time, "sealed: session s was not sealed at 5"),
        (_unsealed_counters, "counters: session s has counters that are sealed: False, and is: True"),
        (_sealed_too_soon, "counters: session u has late calls, but is not sealed"),
        (_back_from_the_dead, "tombstones: session gone has a tombstone, but is there"),
        (_ageless_tombstone, "tombstones: session gone has no row in tombstone_times"),
        (_age_of_no_tombstone, "tombstone_times: session u has no tombstone of 5"),
    ],
)
def test_damage_is_named(path: Path, damage: Callable[[Damage], None], expected: str) -> None:
    damage_to(path, damage)
    findings = findings_in(path)
    assert any(expected in finding for finding in findings), findings
