"""The prompts that sessions had last, so that the next one costs what is new in it and not its history.

An answer gives its prompt's ids as JSON, and the text of turn k begins as that of turn k-1 did. Rules. What
comes out is exactly what reading the whole text gives: only a text that was read as a list of ids is
remembered, so what another text shares with it up to a comma is known to be ids, and the rest is read. A
session has a few prompts, since sub-agents take turns; a prompt takes the place of one that it continues.
Memory is bounded: what was used least recently goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from rolltrace_proxy.tokens import pack_text
from rolltrace_store.delta import shared_prefix

ReadPrompt: TypeAlias = Callable[[bytes], bytes | None]
"""From a JSON list of ids to their int32, little-endian; None for anything else."""

_MOST = 4
"""Prompts of one session."""
_CONTINUED = 7 / 8
"""Of a prompt's text, from where on another is taken to continue it: its last few ids often only prompt the
model to begin, and are not there in the next turn."""
_OVERHEAD = 512


@dataclass(frozen=True, slots=True, eq=False)
class _Prompt:
    """`text` is the JSON without the closing bracket; it holds one id at least. `ids` is packed."""

    text: bytes
    ids: bytes

    def __len__(self) -> int:
        return len(self.text) + len(self.ids) + _OVERHEAD


class Prompts:
    """What is remembered of all sessions, up to `limit_bytes`."""

    def __init__(self, limit_bytes: int = 32 << 20) -> None:
        self._limit = limit_bytes
        self._sessions: OrderedDict[str, list[_Prompt]] = OrderedDict()
        self.size = 0
        """Bytes kept, about."""

    def of(self, session_id: str) -> ReadPrompt:
        """Reads the prompts of a session, each with the help of those before it. Never raises."""
        return partial(self._read, session_id)

    def _read(self, session_id: str, text: bytes) -> bytes | None:
        known = self._sessions.get(session_id)
        if known is None:
            ids = pack_text(text)
            if ids:
                self._sessions[session_id] = []
                self._remember(session_id, _Prompt(text[:-1], ids), None)
            return ids
        base, shared = _nearest(known, text)
        if shared == len(base.text) == len(text) - 1 and text.endswith(b"]"):
            self._use(session_id, base)
            return base.ids
        ids = _continued(base, shared, text)
        if ids:
            continues = shared >= _CONTINUED * len(base.text)
            self._remember(session_id, _Prompt(text[:-1], ids), base if continues else None)
        return ids

    def _use(self, session_id: str, prompt: _Prompt) -> None:
        self._sessions.move_to_end(session_id)
        known = self._sessions[session_id]
        if known[-1] is not prompt:
            known.remove(prompt)
            known.append(prompt)

    def _remember(self, session_id: str, prompt: _Prompt, instead_of: _Prompt | None) -> None:
        self._sessions.move_to_end(session_id)
        known = self._sessions[session_id]
        if instead_of is not None:
            known.remove(instead_of)
            self.size -= len(instead_of)
        elif len(known) == _MOST:
            self.size -= len(known.pop(0))
        known.append(prompt)
        self.size += len(prompt)
        while self.size > self._limit:
            _, gone = self._sessions.popitem(last=False)
            self.size -= sum(map(len, gone))


def _nearest(known: list[_Prompt], text: bytes) -> tuple[_Prompt, int]:
    """The latest prompt that a text continues, or else the one that it shares most with; and how many bytes
    that is."""
    best, most = known[-1], -1
    for prompt in reversed(known):
        if text.startswith(prompt.text):
            return prompt, len(prompt.text)
        shared = shared_prefix(prompt.text, text)
        if shared > most:
            best, most = prompt, shared
    return best, most


def _continued(base: _Prompt, shared: int, text: bytes) -> bytes | None:
    """The ids of a text whose first `shared` bytes are those of base."""
    if shared == len(base.text) and text.startswith(b",", shared):
        comma, known = shared, base.ids
    else:  # an id that is cut there may be another one
        comma = base.text.rfind(b",", 0, shared)
        if comma < 0:
            return pack_text(text)
        known = base.ids[: len(base.ids) - 4 * base.text.count(b",", comma)]
    new = pack_text(b"[" + text[comma + 1 :])
    return known + new if new else None
