"""Records on their way from a file into the store. A shell: record.py decides what each becomes.

It may be broken off and run again: what is there already is passed over. Sessions that were deleted or sealed
here stay as they are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.errors import AlreadyExistsError, SealedError, SessionDeletedError
from rolltrace_store.interface import ReadView, Store
from rolltrace_store.rllm.record import trace_of
from rolltrace_store.rllm.source import Row
from rolltrace_store.rllm.values import NOTHING, RecordError, a_text, an_object

_AT_ONCE = 64
_BYTES_AT_ONCE = 8 << 20

Report = Callable[[str], None]
Tick = Callable[[int], None]


@dataclass(slots=True)
class Tally:
    """What became of the records, and the sessions that they went to."""

    imported: int = 0
    already_there: int = 0
    left_out: int = 0
    sessions: set[str] = field(default_factory=set[str])


async def bring_over(rows: Iterable[Row], store: Store, report: Report, tick: Tick) -> Tally:
    """Records every row as a trace. `report` hears of each that is left out, `tick` how many are done.

    Raises StoreError when the store takes no more; what was imported until then stays.
    """
    tally = Tally()
    for batch in _batches(rows):
        traces = [trace for row in batch if (trace := _converted(row, tally, report)) is not None]
        fresh = await _fresh(traces, store, tally, report)
        await _record(fresh, store, tally, report)
        tick(len(batch))
    return tally


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.data or b"")
        if len(batch) == _AT_ONCE or size > _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _converted(row: Row, tally: Tally, report: Report) -> Trace | None:
    try:
        return _trace(row)
    except RecordError as error:
        tally.left_out += 1
        report(f"trace {row.trace_id!r} of session {row.session_id!r} is left out: {error}")
        return None


def _trace(row: Row) -> Trace:
    if row.data is None:
        raise RecordError("there is no record of it")
    try:
        value: object = json.loads(row.data)
    except (ValueError, RecursionError):
        raise RecordError("its record is not JSON") from None
    record = an_object(value)
    if record is NOTHING:
        raise RecordError("its record is not a JSON object")
    session_id = a_text(record.get("session_id")) if row.session_id is None else row.session_id
    return trace_of(record, row.trace_id, session_id, row.created)


async def _fresh(traces: Sequence[Trace], store: Store, tally: Tally, report: Report) -> list[Trace]:
    """Those that are not there yet, and whose sessions take them."""

    def look(view: ReadView) -> list[str | None]:
        return [_obstacle(view, trace) for trace in traces]

    fresh: list[Trace] = []
    for trace, obstacle in zip(traces, await store.read(look), strict=True):
        if obstacle is None:
            fresh.append(trace)
        elif obstacle:
            _leave_out(trace, obstacle, tally, report)
        else:
            tally.already_there += 1
    return fresh


def _obstacle(view: ReadView, trace: Trace) -> str | None:
    """Why a trace can't be recorded; "" when it is recorded already, None when it can be."""
    if view.trace(trace.trace_id) is not None:
        return ""
    seen = view.glance(trace.session_id)
    if seen.deleted:
        return "its session was deleted here"
    if seen.row is not None and Session.FromString(seen.row).state != SESSION_STATE_OPEN:
        return "its session is sealed here"
    return None


async def _record(traces: Sequence[Trace], store: Store, tally: Tally, report: Report) -> None:
    """Raises StoreError."""
    results = await asyncio.gather(*map(store.append_trace, traces), return_exceptions=True)
    for trace, result in zip(traces, results, strict=True):
        if isinstance(result, AlreadyExistsError):  # by another import
            tally.already_there += 1
        elif isinstance(result, (SealedError, SessionDeletedError)):
            _leave_out(trace, str(result), tally, report)
        elif isinstance(result, BaseException):
            raise result
        else:
            tally.imported += 1
            tally.sessions.add(trace.session_id)


def _leave_out(trace: Trace, why: str, tally: Tally, report: Report) -> None:
    tally.left_out += 1
    report(f"trace {trace.trace_id!r} of session {trace.session_id!r} is left out: {why}")
