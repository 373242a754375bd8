"""The promise of a session: it is complete, or it says exactly what is missing.

A test notes what the agents of one session saw: the trace ids of the calls whose end reached them, and how
many calls they sent. Afterwards it reads the session, and its traces in the FULL view, and checks. A checker
raises Broken, whose message begins with the promise's name.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from rolltrace.digest import session_digest, trace_digest
from rolltrace.v1.session_pb2 import (
    INCOMPLETE_KIND_CAPTURE_GAPS,
    INCOMPLETE_KIND_IN_FLIGHT,
    INCOMPLETE_KIND_INTERRUPTED,
    SESSION_STATE_SEALED,
    IncompleteKind,
    Session,
)
from rolltrace.v1.trace_pb2 import (
    CALL_STATUS_COMPLETED,
    CALL_STATUS_INTERRUPTED,
    CAPTURE_GAP_KIND_ENDPOINT,
    CallStatus,
    Trace,
)
from rolltrace_store.promises import broken_promises
from tests.promises import Broken


def check(
    session: Session, traces: Iterable[Trace], *, ended: Collection[str] = (), sent: int | None = None
) -> None:
    """All promises. `traces` are all that the session has, `ended` and `sent` what its agents saw."""
    listed = list(traces)
    check_placed(session, listed)
    check_recorded(listed, ended)
    check_once(listed, sent)
    check_whole(listed)
    check_late(session, listed)
    check_counted(session, listed)
    check_reasons(session, listed)
    check_digest(session, listed)


def check_placed(session: Session, traces: Sequence[Trace]) -> None:
    """call_index goes from 0 without gaps, in the order of the log, and no trace is another session's."""
    for index, trace in enumerate(traces):
        if trace.session_id != session.session_id:
            raise Broken(f"Placed: {trace.trace_id} is of session {trace.session_id!r}")
        if trace.call_index != index:
            raise Broken(f"Placed: call_index {trace.call_index} stands where {index} belongs")
    for before, after in itertools.pairwise(traces):
        if after.sequence <= before.sequence:
            raise Broken(f"Placed: call {after.call_index} has the sequence of an earlier call, or less")


def check_recorded(traces: Sequence[Trace], ended: Collection[str]) -> None:
    """A call whose end an agent saw has its trace, and it is not said to have been interrupted."""
    statuses = {trace.trace_id: trace.status for trace in traces}
    for trace_id in ended:
        if trace_id not in statuses:
            raise Broken(f"Recorded: an agent saw the end of call {trace_id}, which has no trace")
        if statuses[trace_id] == CALL_STATUS_INTERRUPTED:
            raise Broken(f"Recorded: an agent saw the end of call {trace_id}, which is INTERRUPTED")


def check_once(traces: Sequence[Trace], sent: int | None) -> None:
    """No call has two traces, every trace says how its call ended, and none was made up."""
    for trace_id, count in Counter(trace.trace_id for trace in traces).items():
        if count > 1:
            raise Broken(f"Once: call {trace_id} has {count} traces")
    for trace in traces:
        if not trace.status:
            raise Broken(f"Once: the trace of call {trace.trace_id} does not say how it ended")
    if sent is not None and len(traces) > sent:
        raise Broken(f"Once: {sent} calls were sent, and {len(traces)} were recorded")


def check_whole(traces: Sequence[Trace]) -> None:
    """What a completed call lacks, its capture gaps name."""
    for trace in traces:
        for lack in broken_promises(trace):
            raise Broken(f"Whole: call {trace.trace_id} {lack}")


def check_late(session: Session, traces: Sequence[Trace]) -> None:
    """What a sealed session counts came before it was sealed, and the rest is marked late."""
    sealed = session.state == SESSION_STATE_SEALED
    if sealed != session.HasField("seal_time"):
        raise Broken("Late: seal_time is set exactly when a session is sealed")
    for trace in traces:
        if trace.late != (sealed and trace.call_index >= session.call_count):
            word = "is" if trace.late else "is not"
            raise Broken(f"Late: call {trace.call_index} of {session.call_count} {word} marked late")


def check_counted(session: Session, traces: Sequence[Trace]) -> None:
    """The session's counts are those of its traces."""
    kept = _kept(traces)
    completed = sum(trace.status == CALL_STATUS_COMPLETED for trace in kept)
    counts = {
        "call_count": (session.call_count, len(kept)),
        "failed_call_count": (session.failed_call_count, len(kept) - completed),
        "late_call_count": (session.late_call_count, len(traces) - len(kept)),
        "prompt_token_count": (session.prompt_token_count, sum(map(_prompt_tokens, kept))),
        "completion_token_count": (session.completion_token_count, sum(map(_completion_tokens, kept))),
    }
    for name, (told, found) in counts.items():
        if told != found:
            raise Broken(f"Counted: {name} is {told}, the traces say {found}")


def check_reasons(session: Session, traces: Sequence[Trace]) -> None:
    """A session is incomplete if and only if it says why, and each reason counts what the traces show."""
    told = Counter({reason.kind: reason.call_count for reason in session.incomplete_reasons})
    if len(told) != len(session.incomplete_reasons) or not all(told.values()):
        raise Broken("Reasons: one reason of each kind, with at least one call")
    if session.incomplete != bool(told):
        word = "incomplete" if session.incomplete else "complete"
        raise Broken(f"Reasons: the session is {word} and gives {len(told)} reasons")
    in_flight = told.pop(INCOMPLETE_KIND_IN_FLIGHT, 0)
    outside = session.late_call_count + session.in_flight_call_count
    if in_flight > (outside if session.state == SESSION_STATE_SEALED else 0):
        raise Broken(f"Reasons: {in_flight} calls were in flight, and {outside} came late or run still")
    found = _reasons(_kept(traces))
    for kind in sorted(told | found):
        if told[kind] != found[kind]:
            name = IncompleteKind.Name(kind).removeprefix("INCOMPLETE_KIND_")
            raise Broken(f"Reasons: {told[kind]} calls {name}, the traces say {found[kind]}")


def check_digest(session: Session, traces: Sequence[Trace]) -> None:
    """Each trace's digest is its own, and a sealed session's is that of its traces."""
    for trace in traces:
        if trace.digest != trace_digest(trace):
            status = CallStatus.Name(trace.status)
            raise Broken(f"Digest: that of call {trace.trace_id}, {status}, is another trace's")
    sealed = session.state == SESSION_STATE_SEALED
    if session.digest != (session_digest(trace.digest for trace in _kept(traces)) if sealed else ""):
        raise Broken(f"Digest: that of the session, {session.digest or 'none'}, is not that of its traces")


def _kept(traces: Iterable[Trace]) -> list[Trace]:
    return [trace for trace in traces if not trace.late]


def _prompt_tokens(trace: Trace) -> int:
    """As the worker reported, else as there are ids."""
    return trace.usage.prompt_tokens if trace.HasField("usage") else len(trace.prompt_token_ids) // 4


def _completion_tokens(trace: Trace) -> int:
    ids = sum(len(completion.token_ids) for completion in trace.completions) // 4
    return trace.usage.completion_tokens if trace.HasField("usage") else ids


def _reasons(kept: Iterable[Trace]) -> Counter[IncompleteKind.ValueType]:
    """What the traces show to be missing, and in how many calls."""
    found = Counter[IncompleteKind.ValueType]()
    for trace in kept:
        lacking = any(gap.kind != CAPTURE_GAP_KIND_ENDPOINT for gap in trace.capture_gaps)
        if trace.status == CALL_STATUS_INTERRUPTED:
            found[INCOMPLETE_KIND_INTERRUPTED] += 1
        elif trace.status == CALL_STATUS_COMPLETED and lacking:
            found[INCOMPLETE_KIND_CAPTURE_GAPS] += 1
    return found
