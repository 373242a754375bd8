"""What the writer remembers of live sessions, so that each trace is stored as what it adds.

Of each session it keeps a few candidates to write later traces against: the leaves of the tree that
its turns make. A trace takes the place of its parent, since whatever shares with the parent shares
with the child as well; so interleaved sub-agents and branches each find their own end.

Rules:
- One thread uses it. It remembers only what was committed or will be in this batch: a batch that is
  rolled back makes its sessions forgotten, to be loaded again.
- Other processes may write to the same session. A turn is committed before the agent can send the
  next one, so asking `load` for what is new, before each encoding, finds every parent.
- Memory is bounded: least recently used sessions go first, but not while they have traces in the
  batch. Up to a quarter of it is for images (cutting.py), if there are any. `load` brings a session
  back, so that neither that nor a restart breaks its chains.
- A record is written whole when the chain behind it would have grown to CHAIN_RATIO times its size.
  So what must be read for one trace is bounded, and whole records take less room than the others
  do. A fixed interval would let storage grow with the square of the turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import delta
from rolltrace_store.candidates import Leaf, Search, Turn
from rolltrace_store.cutting import NO_BLOBS, Blobs, Bodies, Cutter
from rolltrace_store.delta import Delta, Match, Pieces

CHAIN_RATIO = 2
"""Chains that only grow add up to about 1.6 whole records, answers and log-probabilities included; so at
2 a history is written whole again only when the agent rewrites it. At 1, 50 turns take a quarter more."""
LOAD_COUNT = 16
"""How many of a session's latest traces are loaded at most."""

_MAX_LEAVES = 8
_MAX_LEAVES_WITHOUT_IDS = 4


class Recent(NamedTuple):
    """A stored trace of a session, for `load`."""

    trace: Trace
    """FULL, but for the blobs of its bodies."""
    chain_bytes: int
    """The sum of the stored bodies from the one after its key frame to its own; 0 for a key frame."""


Load = Callable[[str, int], Sequence[Recent]]
"""(session_id, from_index): the committed traces with call_index from there on, at most the LOAD_COUNT
latest ones, in the order of call_index."""


class Encoded(NamedTuple):
    """A trace ready to be stored. `body` is a serialised COMPACT Trace without sequence and call_index:
    append those two, serialised as a Trace, and the message is whole."""

    trace_id: str
    session_id: str
    base_trace_id: str
    parent_trace_id: str
    body: bytes
    blobs: Blobs = NO_BLOBS
    """What its bodies have that is kept beside it."""


@dataclass(slots=True)
class _Session:
    leaves: dict[str, Leaf] = field(default_factory=dict[str, Leaf])
    """By trace_id, the least recently used first."""
    staged: set[str] = field(default_factory=set[str])
    counts: list[int] = field(default_factory=lambda: [0, 0])
    """How many have no prompt ids, and how many have some."""
    size: int = 0
    calls: int = 0
    """The call_index of the next trace, as far as this process knows."""

    def search(self, pieces: Pieces) -> Search:
        """Beside the candidates, but for the trace itself, if it comes again."""
        if pieces.trace_id in self.leaves:
            self.drop(pieces.trace_id)
        return Search(self.leaves.values(), pieces)

    def add(self, search: Search, chain_bytes: int, parent: Turn | None) -> None:
        """Make the new trace a candidate, in the place of those that it makes superfluous."""
        for trace_id in search.superfluous(parent):
            self.drop(trace_id)
        pieces = search.pieces
        for leaf in self.leaves.values():
            if leaf.pieces.prompt == pieces.prompt:
                pieces = pieces.sharing(leaf.pieces)
        self.leaves[pieces.trace_id] = leaf = Leaf.of(pieces, self.calls, chain_bytes, parent)
        self.calls += 1
        self.size += leaf.size
        alike = bool(pieces.prompt)
        self.counts[alike] = count = self.counts[alike] + 1
        if count > (_MAX_LEAVES if alike else _MAX_LEAVES_WITHOUT_IDS):
            self._drop_oldest(alike)

    def _drop_oldest(self, with_prompt: bool) -> None:
        for trace_id, leaf in self.leaves.items():
            if bool(leaf.pieces.prompt) == with_prompt:
                self.drop(trace_id)
                break

    def use(self, trace_id: str) -> None:
        """Count a candidate as used."""
        if leaf := self.leaves.pop(trace_id, None):
            self.leaves[trace_id] = leaf

    def drop(self, trace_id: str) -> None:
        if leaf := self.leaves.pop(trace_id, None):
            self.size -= leaf.size
            self.counts[bool(leaf.pieces.prompt)] -= 1


class Histories:
    """The sessions that this process writes, by id, the least recently used first."""

    def __init__(self, load: Load, limit_bytes: int = 64 << 20) -> None:
        self._load = load
        self._limit = limit_bytes
        self._cutter = Cutter(limit_bytes // 4)
        self.runs = self._cutter.runs
        self._sessions: dict[str, _Session] = {}
        self.size = 0
        """Bytes kept, about."""

    def encode(self, trace: Trace) -> Encoded:
        """Encode a FULL trace against the best of its session's earlier ones, staged ones included.

        parent_trace_id is set in the body. `trace` is not changed.
        """
        bodies = self._cutter.cut(trace)
        session = self._take(trace.session_id)
        search = session.search(Pieces.of(trace, bodies))
        parent, base = search.parent(), search.base()
        written = _write(trace, bodies, search.pieces, parent.trace_id if parent else "", base)
        encoded, chain_bytes = written
        if base:
            session.use(encoded.base_trace_id)
        session.add(search, chain_bytes, parent)
        session.staged.add(trace.trace_id)
        self._put(trace.session_id, session)
        return encoded

    def encode_alone(self, trace: Trace) -> Encoded:
        """Encode a FULL trace without base and parent, and without remembering it."""
        bodies = self._cutter.cut(trace)
        return _write(trace, bodies, Pieces.of(trace, bodies), "", None)[0]

    def committed(self, batch: Iterable[Encoded]) -> None:
        """The batch is durable."""
        for encoded in batch:
            if session := self._sessions.get(encoded.session_id):
                session.staged.discard(encoded.trace_id)
        if self.size + self.runs.size > self._limit:
            self._evict()

    def rolled_back(self, batch: Iterable[Encoded]) -> None:
        """Nothing of the batch was kept."""
        for encoded in batch:
            self.forget(encoded.session_id)

    def forget(self, session_id: str) -> None:
        """The session is gone, or was changed by others."""
        if session := self._sessions.pop(session_id, None):
            self.size -= session.size

    def _take(self, session_id: str) -> _Session:
        """Take the session out of the table, with what others have added to it."""
        session = self._sessions.pop(session_id, None) or _Session()
        self.size -= session.size
        if not session.staged:
            for recent in self._load(session_id, session.calls):
                search = session.search(Pieces.of(recent.trace))
                session.calls = recent.trace.call_index
                session.add(search, recent.chain_bytes, search.parent())
        return session

    def _put(self, session_id: str, session: _Session) -> None:
        self._sessions[session_id] = session
        self.size += session.size
        if self.size + self.runs.size > self._limit:
            self._evict()

    def _evict(self) -> None:
        """Keep within the limit, but always the latest session's latest candidate."""
        limit = self._limit - self.runs.size
        excess = self.size - limit
        for session_id in _victims(self._sessions, excess):
            self.forget(session_id)
        latest = next(reversed(self._sessions.values()))
        for trace_id in list(latest.leaves)[:-1]:
            if self.size <= limit:
                return
            self.size -= latest.leaves[trace_id].size
            latest.drop(trace_id)


def _victims(sessions: dict[str, _Session], excess: int) -> list[str]:
    """Sessions to forget: the first ones that have nothing staged, never the last."""
    victims: list[str] = []
    for session_id, session in islice(sessions.items(), len(sessions) - 1):
        if excess <= 0:
            break
        if not session.staged:
            victims.append(session_id)
            excess -= session.size
    return victims


def _write(
    trace: Trace, bodies: Bodies | None, pieces: Pieces, parent: str, base: tuple[Leaf, Match] | None
) -> tuple[Encoded, int]:
    """The stored form, and the length of the chain that it ends: 0 for a whole record."""
    alone: Delta | None = None
    if base:
        leaf, match = base
        written = delta.encode(trace, pieces, parent, leaf.pieces.trace_id, match, bodies)
        chain_bytes = leaf.chain_bytes + len(written.body)
        if chain_bytes >= CHAIN_RATIO * written.size_alone:
            alone = delta.encode(trace, pieces, parent, bodies=bodies)
        if alone is None or chain_bytes < CHAIN_RATIO * len(alone.body):
            return _encoded(trace, leaf.pieces.trace_id, parent, written, bodies), chain_bytes
    alone = alone or delta.encode(trace, pieces, parent, bodies=bodies)
    return _encoded(trace, "", parent, alone, bodies), 0


def _encoded(trace: Trace, base_trace_id: str, parent: str, written: Delta, bodies: Bodies | None) -> Encoded:
    blobs = NO_BLOBS if bodies is None else bodies.blobs
    return Encoded(trace.trace_id, trace.session_id, base_trace_id, parent, written.body, blobs)
