"""The calls that this proxy runs for sessions, to be found by session: to be cut off, and to be counted."""

from __future__ import annotations

from typing import Protocol

from rolltrace_proxy.call import Call, State
from rolltrace_proxy.errors import Refused

_RECORDED = frozenset({State.COMMITTED, State.CLOSED})


class Cuttable(Protocol):
    """A call that can be ended from outside."""

    @property
    def call(self) -> Call: ...

    def cut(self, refused: Refused) -> None: ...


class Running:
    def __init__(self) -> None:
        self._by_session: dict[str, set[Cuttable]] = {}

    def add(self, one: Cuttable) -> None:
        """From here on it can be cut off."""
        self._by_session.setdefault(one.call.session_id, set()).add(one)

    def discard(self, one: Cuttable) -> None:
        calls = self._by_session[one.call.session_id]
        calls.discard(one)
        if not calls:
            del self._by_session[one.call.session_id]

    def admitted(self, session_id: str) -> list[str]:
        """The trace ids of a session's calls that are admitted and, as far as is known, not recorded."""
        calls = [one.call for one in self._by_session.get(session_id, ())]
        return [call.trace_id for call in calls if call.was_admitted and call.state not in _RECORDED]

    def cut(self, session_id: str, refused: Refused) -> None:
        """Cuts off all calls of a session, those that wait for others too."""
        for one in list(self._by_session.get(session_id, ())):
            one.cut(refused)
