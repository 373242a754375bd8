"""What a session has used when a call comes, read from one view of the store.

Refused calls do not count against a limit, and the store does not count them. So they are counted here,
from where the last count ended, and only once a session is at its limit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_proxy.limits import exceeded, limits_of
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import ReadView

_REMEMBERED = 10_000
"""Sessions whose refused calls are remembered."""


class Usage:
    def __init__(self, settings: Settings, clock_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._clock_ns = clock_ns
        # By session and its create_time: how many of how many calls were refused.
        self._refused: OrderedDict[tuple[str, int], tuple[int, int]] = OrderedDict()

    def excess(self, view: ReadView, session: Session, own: Collection[str]) -> str:
        """The limit that one more call would pass, in words; empty when none. `own`: Running.admitted."""
        limits = limits_of(session, self._settings)
        if not (limits.max_calls or limits.max_tokens or limits.max_time):
            return ""
        in_flight = _in_flight(view, session.session_id, own) if limits.max_calls else 0
        near = 0 < limits.max_calls <= session.call_count + in_flight
        refused = self._count_refused(view, session) if near else 0
        return exceeded(limits, session, refused=refused, in_flight=in_flight, now_ns=self._clock_ns())

    def _count_refused(self, view: ReadView, session: Session) -> int:
        key = (session.session_id, session.create_time.ToNanoseconds())
        seen, refused = self._refused.pop(key, (0, 0))
        for body in view.traces(session.session_id, seen):
            seen += 1
            refused += pb.Trace.FromString(body).status == pb.CALL_STATUS_REFUSED
        self._refused[key] = seen, refused
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)
        return refused


def _in_flight(view: ReadView, session_id: str, own: Collection[str]) -> int:
    """The calls in flight: those that the store knows, and our own that it does not know yet."""
    known = {call.trace.trace_id for call in view.running(session_id)}
    return len(known.union(name for name in own if view.trace(name) is None))
