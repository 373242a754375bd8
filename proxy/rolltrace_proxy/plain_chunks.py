"""The chunk that streams are made of, one token of text, read by one pattern instead of by a JSON decoder.

A worker under load sends thousands of chunks a second, and nearly all differ in five places only: the
text, the token, its log-probability, its bytes, its id. The rules that make reading them so safe:

- A pattern matches whole events. Its holes (text, number, id) take exactly what JSON's grammar allows,
  and less: no surrogates, no number that a float32 may not hold.
- What stands between the holes is taken as it comes, and is judged once a stream (is_plain) by reading
  it as every other chunk is read. A run of chunks has the same between its holes, to the byte.
- Every chunk that is not like that, the reader of single events gets. So does it get a run in the end, as
  one chunk that says all of it: what a run means is written in one place only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import NamedTuple

from msgspec import Raw

from rolltrace_proxy.engines.interface import ID_KEYS, LOGPROB_KEYS
from rolltrace_proxy.merge import NAMES
from rolltrace_proxy.raw_json import NULL, OBJECTS, Object, is_utf8, read_member, read_object, write
from rolltrace_proxy.rewrite import Rewrite
from rolltrace_proxy.tokens import ID_KEY, LOGPROBS_KEY

_TEXT = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
_NUMBER = rb"-?(?:0|[1-9][0-9]{0,3}+)(?:\.[0-9]++)?+(?:[eE]-[0-9]{1,3}+)?+"
_NATURAL = rb"(?:0|[1-9][0-9]{0,8}+)"
_BYTE = rb"[1-9][0-9]{0,2}+"  # not 0, which is rare: a choice for each byte would cost more than the rest
_BYTES = rb"(?:%b(?:,%b)*+)?+" % (_BYTE, _BYTE)
# Bounded, so that bytes which only look like beginnings of chunks are not searched to the end for each.
_HEAD = rb'(data: \{[^\[]{0,600}+\[\{"index":0,%%b")(%b)' % _TEXT
_TAIL = rb'(,"finish_reason":null,[^\[]{0,120}+)\[(%b)\](\}[^\n{]{0,600}+\n\n)' % _NATURAL
_CHAT = (
    _HEAD % rb'"delta":\{"[a-z_]{1,40}+":'
    + rb'"\},"logprobs":\{"content":\[\{"token":"%b","logprob":(%b)' % (_TEXT, _NUMBER)
    + rb',"bytes":(?:null|\[%b\]),"top_logprobs":\[\]\}\]\}' % _BYTES
    + _TAIL
)
_COMPLETIONS = (
    _HEAD % rb'"text":'
    + rb'","logprobs":\{"text_offset":\[%b\],"token_logprobs":\[(%b)\],' % (_NATURAL, _NUMBER)
    + rb'"tokens":\["%b"\],"top_logprobs":(?:null|\[(?:null|\{"%b":%b\})\])\}' % (_TEXT, _TEXT, _NUMBER)
    + _TAIL
)
_COLUMNS = 7
"""Of what a pattern splits into: what stands before the chunk, and its groups."""
_ASKED = frozenset({*ID_KEYS, *LOGPROB_KEYS})
_NAMES = tuple(b'{"%b"' % name.encode() for name in NAMES)
_MARK = b"a text that no worker says"
_LARGEST = 4096
"""Bytes that a run may grow to: thousands of streams hold one at once."""
_FRAMES = 16
"""As many as are judged of a stream: one whose chunks all differ is read one by one."""


class Frame(NamedTuple):
    """What stands around the holes: up to the text, from the log-probabilities to the ids, after them."""

    head: bytes
    middle: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where an endpoint's chunk holds its text: in which member of a choice, and what closes that."""

    pattern: re.Pattern[bytes]
    member: str
    closing: bytes

    def end(self, frame: Frame) -> bytes:
        """Of a chunk without its tokens, from the end of its text on."""
        return b'%b,"logprobs":null%bnull%b' % (self.closing, frame.middle, frame.tail)

    def is_plain(self, frame: Frame) -> bool:
        """Whether chunks of the frame say nothing but text and tokens of choice 0, and come out of their
        reader as they are but for these."""
        data = _data(frame.head + _MARK + self.end(frame))
        top = read_object(data)
        choices = None if top is None else read_member(OBJECTS, top, "choices")
        if top is None or choices is None or len(choices) != 1 or data.count(_MARK) != 1:
            return False
        (choice,) = choices
        key = b'"%b":' % self.member.encode()
        said = frame.head[frame.head.rindex(key) + len(key) :] + _MARK + self.closing
        names = {name for name, value in choice.items() if value != NULL}
        return (
            names == {"index", self.member}
            and bytes(choice[self.member]) == said
            and frame.middle.endswith(b',"token_ids":')
            and not said.startswith(_NAMES)
            and all(top[name] == NULL for name in _ASKED & top.keys())
            and write({**top, "choices": choices}) == data
        )


_LAYOUTS = {
    "chat/completions": _Layout(re.compile(_CHAT), "delta", b'"}'),
    "completions": _Layout(re.compile(_COMPLETIONS), "text", b'"'),
}


class Stretch(NamedTuple):
    """Chunks of one frame in a row, and the bytes before them."""

    before: bytes
    frame: Frame
    texts: list[bytes]
    numbers: list[bytes]
    ids: list[bytes]


class PlainChunks:
    """Reads the plain chunks of one stream, and keeps what they say until take()."""

    __slots__ = ("_end", "_frame", "_ids", "_judged", "_layout", "_numbers", "_texts")

    def __init__(self, layout: _Layout) -> None:
        self._layout = layout
        self._judged: dict[Frame, bool] = {}
        # What is kept is of this frame. A chunk without its tokens ends with _end, from its text on.
        self._frame: Frame | None = None
        self._end = b""
        self._texts = bytearray()
        self._numbers = bytearray()
        self._ids = bytearray()

    def add_alike(self, event: bytes) -> bytes | None:
        """The event for the agent, when this is one chunk of the frame before it, and one more can be kept:
        the usual read of a stream that does not lag. None, and nothing done, when it is not."""
        match = None if self._frame is None else self._layout.pattern.fullmatch(event)
        if match is None:
            return None
        head, text, number, middle, token, tail = match.groups()
        if (head, middle, tail) != self._frame or self._is_full or not (event.isascii() or is_utf8(event)):
            return None
        self._texts += text
        self._numbers += number + b","
        self._ids += token + b","
        return head + text + self._end

    def stretches(self, events: bytes) -> tuple[list[Stretch], bytes] | None:
        """What whole events hold, in order, and the bytes after the last chunk. None when they have to be
        read one by one: no chunk is plain, or one stands where it may mean something else, or there are
        bytes that are no UTF-8."""
        columns = self._layout.pattern.split(events)
        if len(columns) == 1 or not is_utf8(events):
            return None
        found = list(_cut(columns))
        return (found, columns[-1]) if all(map(self._is_plain, found)) else None

    def takes(self, frame: Frame) -> bool:
        """Whether what is kept may grow by chunks of this frame."""
        return frame == self._frame and not self._is_full

    @property
    def _is_full(self) -> bool:
        return len(self._texts) + len(self._numbers) >= _LARGEST

    def add(self, chunks: Stretch) -> bytes:
        """Keeps what the chunks say. Returns the events for the agent."""
        frame, end = chunks.frame, self._end
        if frame != self._frame:
            self._frame = frame
            self._end = end = self._layout.end(frame)
        self._texts += b"".join(chunks.texts)
        self._numbers += b",".join(chunks.numbers) + b","
        self._ids += b",".join(chunks.ids) + b","
        return b"%b%b%b" % (frame.head, (end + frame.head).join(chunks.texts), end)

    def take(self) -> tuple[bytes, Object] | None:
        """All that is kept, as the data of one chunk without its tokens, and the members of its choice that
        hold these. None when nothing is kept."""
        frame, self._frame = self._frame, None
        if frame is None:
            return None
        text, numbers, ids = map(bytes, (self._texts, self._numbers[:-1], self._ids[:-1]))
        self._texts, self._numbers, self._ids = bytearray(), bytearray(), bytearray()
        # In the form of completions, which has nothing but numbers.
        tokens = {LOGPROBS_KEY: Raw(b'{"token_logprobs":[%b]}' % numbers), ID_KEY: Raw(b"[%b]" % ids)}
        return _data(frame.head + text + self._end), tokens

    def _is_plain(self, chunks: Stretch) -> bool:
        before, frame = chunks.before, chunks.frame
        if before and (not before.endswith(b"\n\n") or b"[DONE]" in before):
            return False
        plain = self._judged.get(frame)
        if plain is None and len(self._judged) < _FRAMES:
            plain = self._judged[frame] = self._layout.is_plain(frame)
        return bool(plain)


def plain_chunks(rewrite: Rewrite) -> PlainChunks | None:
    """For the answer to a request; None when the agent gets to see more of it than its text."""
    layout = _LAYOUTS.get(rewrite.endpoint)
    if layout is None or not rewrite.plain or rewrite.echoes or not _ASKED.issubset(rewrite.added):
        return None
    return PlainChunks(layout)


def _cut(columns: list[bytes]) -> Iterator[Stretch]:
    """Neighbours with the same frame and nothing between them are one stretch: usually all of them."""
    before, heads, texts, numbers, middles, ids, tails = [columns[at::_COLUMNS] for at in range(_COLUMNS)]
    if _is_one(heads) and _is_one(middles) and _is_one(tails) and not any(before[1:-1]):
        yield Stretch(before[0], Frame(heads[0], middles[0], tails[0]), texts, numbers, ids)
        return
    start, interruptions = 0, accumulate(map(bool, before))
    for (_, *frame), chunks in groupby(zip(interruptions, heads, middles, tails, strict=False)):
        end = start + len(list(chunks))
        yield Stretch(before[start], Frame(*frame), texts[start:end], numbers[start:end], ids[start:end])
        start = end


def _is_one(column: list[bytes]) -> bool:
    return column.count(column[0]) == len(column)


def _data(event: bytes) -> bytes:
    return event[len(b"data: ") : -len(b"\n\n")]
