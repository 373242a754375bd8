"""Which of a session's earlier traces a new one continues, and which it is written against. Pure.

Rules. Nothing that is looked for depends on the order in which it is found, nor on what was passed over:
bounds say beforehand what cannot matter. So a turn that continues the one before compares its history once,
however many candidates there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from rolltrace_store import delta
from rolltrace_store.delta import Match, Pieces

_OVERHEAD = 512


class Turn(NamedTuple):
    """A trace that later ones continue: its context is the first `length` bytes of their prompts."""

    order: int
    trace_id: str
    length: int
    parent: Turn | None


class Leaf(NamedTuple):
    """A candidate. `order` is its call_index, or what that is expected to be; no other trace has the same."""

    pieces: Pieces
    order: int
    chain_bytes: int
    parent: Turn | None
    shortest: int
    """The length of its shortest context."""
    longest: int
    """That of its longest one; 0 when it has no ids."""
    request: int
    """The length of its request."""
    size: int

    @classmethod
    def of(cls, pieces: Pieces, order: int, chain_bytes: int, parent: Turn | None) -> Leaf:
        _, ids, samples, body = pieces
        prompt, request, sampled = len(ids), len(body), [*map(len, samples)] or [0]
        shortest, longest = prompt + min(sampled), prompt + max(sampled)
        size = prompt + sum(sampled) + request + _OVERHEAD
        return cls(pieces, order, chain_bytes, parent, shortest, longest, request, size)


_CHAIN, _PARENT = attrgetter("chain_bytes"), attrgetter("parent")
_SHORTEST, _LONGEST = attrgetter("shortest"), attrgetter("longest")


class Search:
    """A session's candidates, the least recently used first, beside a new trace.

    What it shares with one is looked for only where that can matter, and once: that compares memory, of which
    there may be a megabyte.
    """

    def __init__(self, leaves: Iterable[Leaf], pieces: Pieces) -> None:
        self.pieces = pieces
        self._leaves = [*leaves]
        self._matches: dict[str, Match] = {}

    def match(self, leaf: Leaf) -> Match:
        match = self._matches.get(leaf.pieces.trace_id)
        if match is None:
            match = self._matches[leaf.pieces.trace_id] = delta.match(leaf.pieces, self.pieces)
        return match

    def parent(self) -> Turn | None:
        """The latest trace that the prompt continues: a candidate, or one that a candidate descends from."""
        size, found, latest = len(self.pieces.prompt), None, -1
        if not any(map(_PARENT, self._leaves)) and size < min(map(_SHORTEST, self._leaves), default=0):
            return None
        for leaf in reversed(self._leaves):
            _, order, _, turn, shortest, _, _, _ = leaf
            if shortest > size:
                while turn is not None and turn.length > size:
                    turn = turn.parent
                order = -1 if turn is None else turn.order
            if order > latest:
                turn = _continued(leaf, self.match(leaf))
                if turn is not None and turn.order > latest:
                    found, latest = turn, turn.order
        return found

    def base(self) -> tuple[Leaf, Match] | None:
        """The candidate that saves most, of equal ones that with the shortest chain; None if none pays."""
        if (whole := self._whole()) is not None:
            return whole
        found, highest = None, (delta.MIN_SAVED - 1, 0, 0)
        for bound in sorted(self._bounds(), reverse=True):
            if bound <= highest:
                break
            _, chain, place = bound
            leaf = self._leaves[place]
            match = self.match(leaf)
            rank = (match.prompt + match.request_prefix + match.request_suffix, chain, place)
            if rank > highest:
                found, highest = (leaf, match), rank
        return found

    def _whole(self) -> tuple[Leaf, Match] | None:
        """The candidate that no other can outdo: it shares all there is, and of none is the chain shorter.

        A retry or another sample of the same prompt has one. It is the one whose bound is highest.
        """
        leaf = min(reversed(self._leaves), key=_CHAIN, default=None)
        if leaf is None:
            return None
        ids, body = len(self.pieces.prompt), len(self.pieces.request)
        if leaf.longest < ids or leaf.request < body or ids + body < delta.MIN_SAVED:
            return None
        match = self.match(leaf)
        whole = match.prompt + match.request_prefix + match.request_suffix == ids + body
        return (leaf, match) if whole else None

    def _bounds(self) -> list[tuple[int, int, int]]:
        """Of each candidate the most that it can save, how much its chain speaks for it, and its place."""
        ids, body = len(self.pieces.prompt), len(self.pieces.request)
        return [
            ((ids if ids < longest else longest) + (body if body < request else request), -chain, place)
            for place, (_, _, chain, _, _, longest, request, _) in enumerate(self._leaves)
        ]

    def superfluous(self, parent: Turn | None) -> list[str]:
        """The candidates of which later traces can share nothing that is not in the new trace as well.

        A parent that was sampled more than once may be continued from its other completions.
        """
        found: list[str] = []
        if not all(map(_LONGEST, self._leaves)):
            found += [
                leaf.pieces.trace_id
                for leaf in self._leaves
                if not leaf.longest and self._holds_request(leaf)
            ]
        if parent is not None:
            found += [
                leaf.pieces.trace_id
                for leaf in self._leaves
                if leaf.pieces.trace_id == parent.trace_id and len(leaf.pieces.sampled) <= 1
            ]
        return found

    def _holds_request(self, leaf: Leaf) -> bool:
        if leaf.request > len(self.pieces.request):
            return False
        match = self.match(leaf)
        return match.request_prefix + match.request_suffix == leaf.request


def _within(turn: Turn | None, size: int) -> Turn | None:
    """The turn, or the latest that it descends from, whose context has at most `size` bytes."""
    while turn is not None and turn.length > size:
        turn = turn.parent
    return turn


def _continued(leaf: Leaf, match: Match) -> Turn | None:
    """The latest trace on the way to `leaf` whose context is wholly in what matches."""
    if match.context:
        return Turn(leaf.order, leaf.pieces.trace_id, match.context, leaf.parent)
    return _within(leaf.parent, match.prompt)
