"""What asking to seal a session does to it, by what was asked before. Decisions only."""

from __future__ import annotations

from rolltrace.v1.session_pb2 import SESSION_STATE_SEALED, SESSION_STATE_SEALING, Outcome, Session
from rolltrace_store.errors import SealedError
from rolltrace_store.schema.seal import SealingRow


def with_outcome(session: Session, outcome: Outcome | None) -> Session:
    """The session SEALING with its outcome, or as it is if it is SEALED.

    Raises SealedError when it has another outcome, or is SEALED without one: whoever read it read that.
    """
    settled = session.state == SESSION_STATE_SEALED or session.HasField("outcome")
    if outcome is not None and settled and session.outcome != outcome:
        raise SealedError(
            session.session_id,
            f"session {session.session_id!r} was sealed with another outcome; it cannot be changed",
        )
    if session.state != SESSION_STATE_SEALED:
        session.state = SESSION_STATE_SEALING
        if outcome is not None:
            session.outcome.CopyFrom(outcome)
    return session


def sooner(before: SealingRow | None, asked: SealingRow) -> SealingRow:
    """Both wishes: cancel if either wants it, by the earlier deadline."""
    if before is None:
        return asked
    return SealingRow(before.cancel or asked.cancel, min(before.deadline, asked.deadline))
