"""Whether what was read of a session is what was recorded. Pure; digests are those of rolltrace.digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rolltrace import digest

from .sessions import Session, SessionState
from .traces import Trace, View


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found, in words.

    `wrong`: what was read is not what was recorded. `missing`: what the session itself says that it lacks.
    """

    wrong: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])

    @property
    def verified(self) -> bool:
        """Every trace of the session is there, and each is as it was recorded."""
        return not self.wrong

    @property
    def complete(self) -> bool:
        """And nothing was lost before it could be recorded."""
        return not self.wrong and not self.missing


def verify(session: Session, traces: Iterable[Trace], *, view: View = View.FULL) -> Verification:
    """Checks a sealed session against its traces, in the order of their calls; late ones are not of it.

    Recomputes the digest of each trace, and from these that of the session. With View.METADATA, which is how
    the traces were read then, only the latter. Traces are taken one at a time, so a session of any size fits.
    """
    wrong = list(_wrong(session, traces, view))
    return Verification(wrong, [str(reason) for reason in session.incomplete_reasons])


def _wrong(session: Session, traces: Iterable[Trace], view: View) -> Iterator[str]:
    if session.state != SessionState.SEALED:
        yield f"session {session.session_id} is {session.state}: seal it first, it may change until then"
    expected, total = 0, digest.EMPTY
    for trace in traces:
        yield from _wrong_in(trace, session, view)
        if not trace.late:
            yield from _misplaced(trace.call_index, expected)
            expected, total = trace.call_index + 1, digest.with_trace(total, trace.proto.digest)
    yield from _misplaced(session.call_count, expected)
    if session.digest and total.hex() != session.digest:
        yield f"the digest over the traces is {total.hex()}, that of the session {session.digest}"


def _wrong_in(trace: Trace, session: Session, view: View) -> Iterator[str]:
    name = f"call {trace.call_index} ({trace.trace_id})"
    if trace.session_id != session.session_id:
        yield f"{name} is of session {trace.session_id}"
    if view == View.FULL and digest.trace_digest(trace.proto) != trace.proto.digest:
        yield f"{name} is not what its digest tells: its tokens or its end were changed"


def _misplaced(found: int, expected: int) -> Iterator[str]:
    """The call `found`, or the end of the session, where call `expected` belongs."""
    if found > expected:
        last = found - 1
        yield f"call {last} is missing" if last == expected else f"calls {expected} to {last} are missing"
    elif found < expected:
        yield f"call {expected - 1} is one too many, or out of order"
