"""Ids and log-probabilities, cut out of an answer before it is parsed: they are nearly all of its bytes, and
a parser takes as long to skip them as to read them.

Rules. They are found by searching for what vLLM writes; a mark takes the place of each. The user proves a
cut: each mark MUST come out of the parser once, as the value of the member that was meant. Then what is left
and the parts say what the whole says, if each part is valid JSON: so each part MUST be read as well. On any
doubt the whole is to be parsed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rolltrace_proxy.tokens import ID_KEY, LOGPROBS_KEY, PROMPT_KEY

_PROMPT = f',"{PROMPT_KEY}":'.encode()
_IDS = f',"{ID_KEY}":'.encode()
_LOGPROBS = f',"{LOGPROBS_KEY}":'.encode()
_LISTS = 64
"""How many lists are looked at, from the last one on, for those of ids."""
_BEGIN = b'"\\u0000'
_MARKS = [b'%b%d"' % (_BEGIN, number) for number in range(2 * _LISTS)]
_NAMES = [f"\0{number}" for number in range(2 * _LISTS)]


@dataclass(slots=True)
class Cut:
    keys: list[str]
    """Of the parts, in order: PROMPT_KEY, ID_KEY or LOGPROBS_KEY."""
    pieces: list[bytes]
    """The body: what is left before a part, that part, and so on, and what is left behind the last."""

    def left(self) -> bytes | None:
        """The body with marks for parts; None when it has such marks of its own."""
        marked = self._joined(_MARKS[: len(self.keys)])
        return marked if marked.count(_BEGIN) == len(self.keys) else None

    def parts(self) -> dict[str, bytes]:
        """By what the parser makes of their marks."""
        return dict(zip(_NAMES, self.pieces[1::2], strict=False))

    def without(self, keys: tuple[str, ...]) -> bytes:
        """The body with null in the place of parts."""
        if set(self.keys).issubset(keys):
            return b"null".join(self.pieces[::2])
        kept = zip(self.keys, self.pieces[1::2], strict=True)
        return self._joined([b"null" if key in keys else part for key, part in kept])

    def _joined(self, between: list[bytes]) -> bytes:
        pieces = self.pieces.copy()
        pieces[1::2] = between
        return b"".join(pieces)


def cut(body: bytes, *, several: bool) -> Cut | None:
    """several: whether the answer has several choices; when that is wrong, a part may be no JSON."""
    keys, bounds = _found(body, several=several)
    if not keys or bounds != sorted(bounds):
        return None
    return Cut(keys, list(map(body.__getitem__, map(slice, bounds[:-1], bounds[1:]))))


def _found(body: bytes, *, several: bool) -> tuple[list[str], list[int]]:
    """The keys of the parts; and where the body, its parts and what is between them begin and end. A part
    without an end ends at 0. Without `several` there is one of each."""
    keys: list[str] = []
    bounds = [len(body)]
    at, missing = len(body), {_PROMPT, _IDS}
    for _ in range(_LISTS):
        at = body.rfind(b"[", 0, at)
        if at < 0 or not (missing or several):
            break
        if body.endswith(_PROMPT, 0, at):
            keys.append(PROMPT_KEY)
            bounds += body.find(b"]", at) + 1, at
            missing.discard(_PROMPT)
        elif body.endswith(_IDS, 0, at):
            keys.append(ID_KEY)
            bounds += body.find(b"]", at) + 1, at
            missing.discard(_IDS)
            start, after = _logprobs(body, at, several=several)
            if start >= 0:
                keys.append(LOGPROBS_KEY)
                bounds += after, start
                at = start
    bounds.append(0)
    return keys[::-1], bounds[::-1]


def _logprobs(body: bytes, end: int, *, several: bool) -> tuple[int, int]:
    """Where the object of log-probabilities is that comes before the ids at `end`; -1 when there is none."""
    opening = _LOGPROBS + b"{"
    start = body.rfind(opening, 0, end) if several else body.find(opening, 0, end)
    return (-1, -1) if start < 0 else (start + len(_LOGPROBS), body.rfind(b'},"', start, end) + 1)
