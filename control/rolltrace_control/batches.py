"""What is read in one transaction: a batch of the log, or a page of a session's traces.

Every read is bounded, by what it gives and by what it looks at, so that a transaction stays short
however much a filter leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rolltrace.v1.event_pb2 import EVENT_KIND_TRACE
from rolltrace_control import wire
from rolltrace_control.cursors import check_kept
from rolltrace_control.filters import EventMatcher
from rolltrace_control.forms import TraceForm
from rolltrace_store.interface import ReadView

MAX_BYTES = 900 << 10
"""Of a batch, so that with its frame it stays under 1 MiB."""
MAX_EVENTS = 256
MAX_SCANNED = 1000
MAX_SCANNED_BYTES = 4 << 20


@dataclass(slots=True)
class Collected:
    """Encoded rows up to a limit of bytes; the first one is taken whatever its size."""

    limit: int
    parts: wire.Parts = field(default_factory=wire.Parts)
    size: int = 0
    count: int = 0

    def add(self, row: wire.Parts) -> bool:
        """Takes a row, or returns False because there is no room for it."""
        size = wire.size(row)
        if self.count and self.size + size > self.limit:
            return False
        self.parts += row
        self.size += size
        self.count += 1
        return True


@dataclass(frozen=True, slots=True)
class Batch:
    """Events as EventBatch holds them, the sequence up to which the log was looked at, and whether
    there may be more now."""

    events: wire.Parts
    cursor: int
    more: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Traces as ListTracesResponse holds them; `next_index` is None on the last page."""

    traces: wire.Parts
    next_index: int | None


def read_batch(view: ReadView, after: int, matcher: EventMatcher, form: TraceForm) -> Batch:
    """The next events that the matcher takes. Raises CursorError when they were dropped meanwhile."""
    log = view.log_state()
    check_kept(after, log)
    batch = Collected(MAX_BYTES)
    cursor, scanned_bytes = after, 0
    for scanned, record in enumerate(view.events(after)):
        if scanned == MAX_SCANNED or scanned_bytes > MAX_SCANNED_BYTES or batch.count == MAX_EVENTS:
            return Batch(batch.parts, cursor, more=True)
        if matcher.takes(record):
            body = form.of(view, record.body) if record.kind == EVENT_KIND_TRACE else record.body
            if not batch.add(wire.event_of(record, body)):
                return Batch(batch.parts, cursor, more=True)
        cursor, scanned_bytes = record.sequence, scanned_bytes + len(record.body)
    return Batch(batch.parts, max(cursor, log.head), more=False)


def read_page(view: ReadView, session_id: str, from_index: int, size: int, form: TraceForm) -> Page:
    """The session's traces from a call_index on."""
    page = Collected(MAX_BYTES)
    for index, stored in enumerate(view.traces(session_id, from_index), from_index):
        if page.count == size or not page.add(wire.trace_of(form.of(view, stored))):
            return Page(page.parts, index)
    return Page(page.parts, None)
