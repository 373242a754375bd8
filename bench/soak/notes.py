"""What the agents of the soak saw, session by session, to be held against what was recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class SessionNotes:
    """One session: the calls whose end was seen, how many were sent, and its new tokens so far."""

    ended: set[str] = field(default_factory=set[str])
    sent: int = 0
    tokens: int = 0
    over: bool = False
    """No call of it is made any more."""
    sealed: bool = False
    deleted: bool = False
    """Its agent asked for the deletion."""


@dataclass
class Notes:
    sessions: dict[str, SessionNotes] = field(default_factory=dict[str, SessionNotes])
    counts: Counter[str] = field(default_factory=Counter[str])
    """What happened how often, for the report."""
    broken: list[str] = field(default_factory=list[str])
    """What must not be, in words."""
    tokens: int = 0
    """New tokens of all sessions: each prompt's growth, and what was sampled."""

    def session(self, session_id: str) -> SessionNotes:
        return self.sessions.setdefault(session_id, SessionNotes())

    def grown(self, session_id: str, tokens: int) -> None:
        self.session(session_id).tokens += tokens
        self.tokens += tokens

    def kept_tokens(self, session_ids: set[str]) -> int:
        return sum(notes.tokens for name, notes in self.sessions.items() if name in session_ids)
