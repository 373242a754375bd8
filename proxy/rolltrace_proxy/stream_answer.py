"""An answer that comes as server-sent events: forwarded as it comes, captured beside the forwarding.

Rules. An event goes to the agent as soon as it is complete, byte for byte unless something has to be taken
out of it. Only the end is held back: "data: [DONE]" and what follows it, which close() gives once the
trace is committed. An event that holds nothing but tokens that Rolltrace asked for is dropped: engines send
none when they are not asked for. What cannot be read, or not before it is
mended, goes on untouched.
"""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy import gaps
from rolltrace_proxy.capture import Captured, Reader, error_message
from rolltrace_proxy.merge import Merge
from rolltrace_proxy.plain_chunks import PlainChunks, plain_chunks
from rolltrace_proxy.prompts import ReadPrompt
from rolltrace_proxy.raw_json import (
    NULL,
    OBJECT,
    OBJECTS,
    Object,
    given,
    mend,
    read_member,
    read_object,
    write,
)
from rolltrace_proxy.rewrite import Rewrite
from rolltrace_proxy.sse import MAX_EVENT_BYTES, Event, EventFramer, EventTooLargeError, parse_event
from rolltrace_proxy.tokens import pack_text

_DONE = b"[DONE]"
_EMPTY_TEXT = Raw(b'""')
_NOTHING = (NULL, _EMPTY_TEXT, Raw(b"[]"))


class StreamAnswer:
    """feed() what the worker sends; at its end capture(), commit, and send what close() gives."""

    def __init__(
        self,
        rewrite: Rewrite,
        read_prompt: ReadPrompt = pack_text,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._rewrite = rewrite
        self._framer = EventFramer(max_event_bytes)
        self._reader = Reader(rewrite, read_prompt)
        self._merge = Merge()
        self._plain = plain_chunks(rewrite)
        self._done = False
        self._unframed = False
        self._held: list[bytes] = []
        self._captured: Captured | None = None

    def feed(self, data: bytes) -> bytes:
        """What can go to the agent now; may be empty. Never raises."""
        plain = self._plain
        if plain is None or self._done or self._unframed:
            return self._feed_events(data)
        if self._framer.is_between and (seen := plain.add_alike(data)) is not None:
            return seen
        lines = self._framer.take_line(data)
        return self._feed_events(data) if lines is None else self._feed_lines(plain, lines)

    def _feed_lines(self, plain: PlainChunks, data: bytes) -> bytes:
        """As _feed_events, of data that begins between events."""
        end = data.rfind(b"\n\n") + 2
        found = plain.stretches(data[:end]) if end > 1 else None
        if found is None:
            return self._feed_events(data)
        stretches, after = found
        seen: list[bytes] = []
        for each in stretches:
            if each.before:
                seen.append(self._feed_events(each.before))
            if not plain.takes(each.frame):
                self._read_kept()
            seen.append(plain.add(each))
        if after or end < len(data):
            seen.append(self._feed_events(after + data[end:]))
        return b"".join(seen)

    def _feed_events(self, data: bytes) -> bytes:
        if self._unframed:
            return data
        try:
            events = self._framer.feed(data)
        except EventTooLargeError as error:
            self._reader.gaps.note(gaps.TOO_LARGE, str(error))
            self._unframed = True
            return self._framer.rest() + data
        return b"".join([self._forward(event) for event in events])

    def capture(self, *, ended: bool = True) -> Captured:
        """What the trace keeps. ended: the worker's answer came to its end; not so when it or the agent
        broke off. Nothing may be fed afterwards. Never raises."""
        if self._captured is None:
            rest = self._framer.rest()
            if rest:
                self._held.append(self._forward(parse_event(rest)))
            self._read_kept()
            if not self._rewrite.captures:
                self._reader.gaps.note_uncaptured(self._rewrite.unasked)
                self._captured = Captured(gaps=self._reader.gaps.messages())
            else:
                self._captured = self._reader.finish(
                    self._messages(), self._written(self._merge.body()), ended=ended
                )
        return self._captured

    @property
    def prompt_count(self) -> int:
        """How many ids of the prompt have come."""
        return self._reader.prompt_count

    def close(self) -> bytes:
        """The end that was held back, for after the commit."""
        self.capture()
        return b"".join(self._held)

    def _forward(self, event: Event) -> bytes:
        """The event for the agent; empty when it is held back or dropped."""
        if self._done or (event.data or b"").startswith(_DONE):  # as the OpenAI SDK reads it
            self._done = True
            self._held.append(event.raw)
            return b""
        if event.data is None or not self._rewrite.captures:
            return event.raw
        self._read_kept()
        return self._forward_chunk(event, event.data)

    def _read_kept(self) -> None:
        """What plain chunks said, before anything that came after them is read."""
        kept = None if self._plain is None else self._plain.take()
        if kept is not None:
            self._read_chunk(*kept)

    def _forward_chunk(self, event: Event, data: bytes) -> bytes:
        left = self._read_chunk(data)
        if left is None:
            return event.raw
        return event.with_data(write(left)) if left else b""

    def _read_chunk(self, data: bytes, tokens: Object | None = None) -> dict[str, object] | None:
        """What is left of a chunk for the agent; None when that is all of it. tokens: members of its only
        choice that data has as null."""
        top = read_object(data)
        if top is None and (mended := mend(data)) is not None:
            self._read_chunk(mended)
            return None
        choices = None if top is None else read_member(OBJECTS, top, "choices")
        if top is None or choices is None:
            self._read_other(top, data)
            return None
        if tokens is not None:
            choices[0].update(tokens)
        engine = self._rewrite.engine
        told, settled = engine.settle(top, choices)
        self._reader.read_top(told, choice_count=len(choices))
        indexes: list[int] = []
        for place, choice in enumerate(settled):
            indexes.append(self._reader.read_choice(place, choice, speaks=_speaks(choice)))
        taken = engine.take_out(top, choices, self._rewrite.added)
        if taken and engine.says_nothing(top, choices):
            return {}
        top["choices"] = NULL  # the same in every chunk, for the merge
        if not self._merge.add(top, zip(indexes, choices, strict=False)):
            self._reader.gaps.note(gaps.UNREADABLE, f"not merged: {gaps.quote(data)}")
        return {**top, "choices": choices} if taken else None

    def _read_other(self, top: Object | None, data: bytes) -> None:
        """An event that is no chunk with choices: an error, usage alone, or something unknown."""
        error = None if top is None else error_message(top)
        if error is not None:
            self._reader.error = error
        elif top is not None and given(top, "usage") is not None:
            self._reader.read_top(top, choice_count=0)
            self._merge.add(top, [])
        else:
            self._reader.gaps.note(gaps.UNREADABLE, f"not a chunk with choices: {gaps.quote(data)}")

    def _messages(self) -> dict[int, bytes]:
        chat = self._rewrite.endpoint == "chat/completions"
        message = self._merge.message if chat else self._merge.text_message
        return {index: self._written(message(index)) for index in self._reader.indexes}

    def _written(self, value: object) -> bytes:
        """JSON, or nothing for nothing."""
        try:
            return b"" if value is None else write(value)
        except ValueError as error:
            self._reader.gaps.note(gaps.UNREADABLE, f"the merged answer is {error}")
            return b""


def _speaks(choice: Object) -> bool:
    """Whether a choice of a chunk holds anything that tokens must stand for."""
    delta = read_member(OBJECT, choice, "delta")
    if delta is None:
        return given(choice, "text") not in (None, _EMPTY_TEXT)
    return any(key != "role" and value not in _NOTHING for key, value in delta.items())
