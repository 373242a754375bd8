"""Which sessions go now, and how many at once. Decisions only.

Rules:

- Sessions go whole, those that were sealed first before others: a trainer reads whole sessions, and what is
  stored of a call rests on the calls before it.
- One transaction takes few calls, so that agents' commits never wait long. A longer session goes alone.
- An unsealed session goes only if somebody set an age for it, and no call of it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import ReadView, StoreStats

MAX_CALLS = 256
MAX_SESSIONS = 64

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rules:
    """Ages are in nanoseconds, `size` in bytes; 0 is no rule."""

    age: int
    size: int
    open_age: int
    tombstone_age: int


def rules_of(settings: Settings) -> Rules:
    return Rules(
        age=round(settings.retention_age * _NANOSECONDS),
        size=settings.retention_size,
        open_age=round(settings.retention_open_age * _NANOSECONDS),
        tombstone_age=round(settings.tombstone_age * _NANOSECONDS),
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed session; `seal_time` in nanoseconds since 1970, `calls` with those that came late."""

    session_id: str
    seal_time: int
    calls: int


def due(rules: Rules, now: int, stats: StoreStats, sealed: Iterable[Sealed]) -> list[Sealed]:
    """Those that go in the next transaction; `sealed` is all of them, the oldest first.

    How much room a session gives back is guessed from its calls: the next look measures.
    """
    excess = stats.used_bytes - rules.size if rules.size else 0
    per_call = stats.used_bytes // max(stats.trace_count, 1)
    going: list[Sealed] = []
    calls = 0
    for session in sealed:
        old = bool(rules.age) and session.seal_time < now - rules.age
        if not old and excess <= 0:
            break
        if going and (calls + session.calls > MAX_CALLS or len(going) == MAX_SESSIONS):
            break
        going.append(session)
        calls += session.calls
        excess -= per_call * session.calls
    return going


def all_sealed(view: ReadView) -> Iterator[Sealed]:
    """All of them, the oldest first."""
    for seal_time, session_id in view.sealed():
        session = view.session(session_id)
        if session is not None:
            yield Sealed(session_id, seal_time, calls_of(session))


def calls_of(session: Session) -> int:
    return session.call_count + session.late_call_count


def is_idle(rules: Rules, now: int, view: ReadView, session: Session) -> bool:
    """Whether an unsealed session goes."""
    if not rules.open_age or session.state != SESSION_STATE_OPEN or session.in_flight_call_count:
        return False
    before = now - rules.open_age
    return session.create_time.ToNanoseconds() < before and _last_end(view, session) < before


def _last_end(view: ReadView, session: Session) -> int:
    """When its last call ended, in nanoseconds since 1970; 0 if it has none."""
    for body in view.traces(session.session_id, max(calls_of(session) - 1, 0)):
        trace = Trace.FromString(body)
        return trace.admit_time.ToNanoseconds() + trace.latency.ToNanoseconds()
    return 0
