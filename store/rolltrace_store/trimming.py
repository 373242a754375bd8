"""How much of the log's beginning may go. Decisions only.

Rules:

- The log is cut at one place and not thinned out: whoever is behind that place is told so, and nobody
  needs to know which events were in it.
- What concerns a session that is kept, or one whose deletion a subscriber may not have seen yet, stays, and
  all that comes after it.
- Events without a time (a worker's, a policy's) are as old as the next one that has a time; when there are
  very many in a row, they are old enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rolltrace.v1 import event_pb2 as event
from rolltrace_store.interface import Record


def trimmable(records: Iterator[Record], settled: Callable[[str, int], bool], most: int) -> list[int]:
    """The sequences that may go, at most so many, of the log's events from the first on.

    `settled` says of a session_id and the time of its event, in nanoseconds since 1970, whether that is long
    ago and nothing is kept of the session.
    """
    seen: list[int] = []
    may_go = 0
    for record in records:
        if len(seen) == most:
            return seen[:may_go] or seen
        timed = _session_and_time(record)
        if record.kind == event.EVENT_KIND_TRACE or (timed is not None and not settled(*timed)):
            break
        seen.append(record.sequence)
        if timed is not None:
            may_go = len(seen)
    return seen[:may_go]


def _session_and_time(record: Record) -> tuple[str, int] | None:
    """Which session was sealed or deleted, and when; None for another event."""
    if record.kind == event.EVENT_KIND_SESSION_DELETED:
        deleted = event.SessionDeleted.FromString(record.body)
        return deleted.session_id, deleted.delete_time.ToNanoseconds()
    if record.kind == event.EVENT_KIND_SESSION_SEALED:
        sealed = event.SessionSealed.FromString(record.body).session
        return sealed.session_id, sealed.seal_time.ToNanoseconds()
    return None
