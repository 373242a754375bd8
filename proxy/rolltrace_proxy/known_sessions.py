"""What a proxy knows of sessions: their rows, parsed once for as long as their bytes stay the same."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict

from rolltrace.v1 import session_pb2
from rolltrace.v1.session_pb2 import Session
from rolltrace_proxy.limits import Limits, limits_of
from rolltrace_settings.settings import Settings

MOST = 10_000
"""Sessions that are remembered."""


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session as a call meets it; `row` is what it was parsed from. `created` in nanoseconds since 1970."""

    row: bytes
    is_open: bool
    labels: dict[str, str]
    sampling_params: dict[str, object]
    limits: Limits
    created: int


class KnownSessions:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: OrderedDict[str, KnownSession] = OrderedDict()

    def of(self, session_id: str, row: bytes) -> KnownSession:
        known = self._known.get(session_id)
        if known is None or known.row != row:
            known = self._known[session_id] = self._parsed(row)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(session_id)
        return known

    def _parsed(self, row: bytes) -> KnownSession:
        session = Session.FromString(row)
        return KnownSession(
            row,
            is_open=session.state == session_pb2.SESSION_STATE_OPEN,
            labels=dict(session.labels),
            sampling_params=MessageToDict(session.sampling_params),
            limits=limits_of(session, self._settings),
            created=session.create_time.ToNanoseconds(),
        )
