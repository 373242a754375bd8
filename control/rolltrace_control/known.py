"""The session that a request names, or why there is none: who reads a session that retention took should
not look for a typo.
"""

from __future__ import annotations

from rolltrace.v1.session_pb2 import Session
from rolltrace_store.errors import NotFoundError, SessionDeletedError
from rolltrace_store.interface import ReadView


def known_session(view: ReadView, session_id: str) -> Session:
    """Raises NotFoundError; SessionDeletedError while the session's tombstone lasts."""
    session = view.session(session_id)
    if session is None:
        when = view.deleted(session_id)
        raise NotFoundError("session", session_id) if when is None else SessionDeletedError(session_id)
    return session
