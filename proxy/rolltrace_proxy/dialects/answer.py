"""A chat answer on its way to an agent that speaks a dialect. An Answer around an Answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rolltrace_proxy.answer import Answer, WholeAnswer
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.interface import Reply, Translation, Wording
from rolltrace_proxy.raw_json import read_object
from rolltrace_proxy.sse import Event, EventFramer, parse_event
from rolltrace_proxy.stream_answer import StreamAnswer

_DONE = b"[DONE]"


class TranslatedWhole:
    """An answer in one piece, which is held back as a whole."""

    def __init__(self, inner: WholeAnswer, translate: Callable[[bytes], bytes]) -> None:
        self._inner = inner
        self._translate = translate
        self._body: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        return self._inner.feed(data)

    def capture(self, *, ended: bool = True) -> Captured:
        captured = self._inner.capture(ended=ended)
        body = self._inner.close()
        if ended and body:
            self._body = captured.response_json = self._translate(body)
        return captured

    def close(self) -> bytes:
        return self._inner.close() if self._body is None else self._body


class TranslatedStream:
    """A stream, whose last events are held back."""

    def __init__(self, inner: Answer, reply: Reply) -> None:
        self._inner = inner
        self._reply = reply
        self._framer = EventFramer()
        self._last: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        return b"".join([self._said(event) for event in self._framer.feed(self._inner.feed(data))])

    def capture(self, *, ended: bool = True) -> Captured:
        captured = self._inner.capture(ended=ended)
        if self._last is None:
            held = self._framer.feed(self._inner.close())
            rest = self._framer.rest()
            events = [*held, parse_event(rest)] if rest else held
            self._last = b"".join([self._said(event) for event in events])
            if ended:
                self._last += self._reply.close()
        captured.response_json = self._reply.whole()
        return captured

    def close(self) -> bytes:
        self.capture()
        return self._last or b""

    def _said(self, event: Event) -> bytes:
        """Comments go on, which keep connections alive."""
        if event.data is None:
            return event.raw
        chunk = None if event.data.startswith(_DONE) else read_object(event.data)
        if chunk is None:
            return b""
        prompt = self._inner.prompt_count if isinstance(self._inner, StreamAnswer) else 0
        return self._reply.feed(chunk, prompt)


def translated(inner: Answer, translation: Translation, status: int) -> Answer:
    """How the agent gets a worker's answer with this status."""
    if isinstance(inner, WholeAnswer):
        return TranslatedWhole(
            inner, translation.whole if status < 400 else partial(translation.error, status)
        )
    return TranslatedStream(inner, translation.reply())


def worded(inner: Answer, wording: Wording | None, status: int, trace_id: str, untold: str) -> Answer:
    """How the agent gets the answer to a call that went to the worker as it came."""
    if wording is None or status < 400 or not isinstance(inner, WholeAnswer):
        return inner
    return TranslatedWhole(inner, partial(wording.error, status, trace_id=trace_id, untold=untold))
