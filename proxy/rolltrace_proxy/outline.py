"""A whole answer with its big parts set aside: ids and log-probabilities are nearly all of its bytes, and a
parser takes as long to skip them as to read them.

They are found by searching and cut out, and what is left is parsed with marks in their places. Rules. A cut
is proven: every mark comes out once, as the value of the member that was meant. Given that, what is left and
the parts say the same as the whole, if each part is valid JSON; so whoever uses an outline reads every part,
and on any doubt reads the whole answer instead. Only what is written as vLLM writes it is found.
"""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy.raw_json import OBJECTS, Object, read_member, read_object
from rolltrace_proxy.tokens import ID_KEY, LOGPROBS_KEY, PROMPT_KEY

_PROMPT = f',"{PROMPT_KEY}":'.encode()
_IDS = f',"{ID_KEY}":'.encode()
_LOGPROBS = f',"{LOGPROBS_KEY}":'.encode()
_MARK = b'"\\u0000'
_LISTS = 64
"""How many lists are looked at, from the last one on, for one of ids."""

Span = tuple[int, int]


def read_outline(body: bytes, *, several: bool) -> tuple[Object, list[Object]] | None:
    """An answer's members and its choices'. None when nothing was cut, or not with certainty.

    several: whether the answer has several choices; if that is wrong, the parts may be no JSON.
    """
    spans = _spans(body, several=several)
    if not spans:
        return None
    pieces: list[bytes] = []
    parts: dict[bytes, bytes] = {}
    end = 0
    for start, after in reversed(spans):
        mark = b'%b%d"' % (_MARK, start)
        parts[mark] = body[start:after]
        pieces += body[end:start], mark
        end = after
    pieces.append(body[end:])
    left = b"".join(pieces)
    top = read_object(left) if left.count(_MARK) == len(spans) and all(map(_is_utf8, parts.values())) else None
    choices = None if top is None else read_member(OBJECTS, top, "choices")
    if top is None or choices is None:
        return None
    _put_back(top, (PROMPT_KEY,), parts)
    for choice in choices:
        _put_back(choice, (PROMPT_KEY, ID_KEY, LOGPROBS_KEY), parts)
    return None if parts else (top, choices)


def _put_back(fields: Object, keys: tuple[str, ...], parts: dict[bytes, bytes]) -> None:
    for key in keys:
        if key in fields and (part := parts.pop(bytes(fields[key]), None)) is not None:
            fields[key] = Raw(part)


def _spans(body: bytes, *, several: bool) -> list[Span]:
    """Where the parts stand, the last one first. Empty when they can't be told apart."""
    spans: list[Span] = []
    at = limit = len(body)
    has_prompt = has_ids = False
    for _ in range(_LISTS):
        at = body.rfind(b"[", 0, at)
        if at < 0 or (has_prompt and has_ids and not several):
            break
        is_prompt, is_ids = body.endswith(_PROMPT, 0, at), body.endswith(_IDS, 0, at)
        if not is_prompt and not is_ids:
            continue
        after = body.find(b"]", at, limit) + 1
        if not after:
            return []
        spans.append((at, after))
        has_prompt, has_ids = has_prompt or is_prompt, has_ids or is_ids
        if is_ids and (found := _logprobs(body, at, several=several)):
            spans.append(found)
            at = found[0]
        limit = at
    return spans


def _logprobs(body: bytes, end: int, *, several: bool) -> Span | None:
    """The object of log-probabilities that comes before the ids at `end`."""
    opening = _LOGPROBS + b"{"
    start = body.rfind(opening, 0, end) if several else body.find(opening, 0, end)
    after = body.rfind(b'},"', start, end) + 1
    return (start + len(_LOGPROBS), after) if start >= 0 and after else None


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False
