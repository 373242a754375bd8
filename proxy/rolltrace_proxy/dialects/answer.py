"""A chat answer on its way to an agent that speaks a dialect. An Answer around an Answer."""

from __future__ import annotations

from rolltrace_proxy.answer import Answer, WholeAnswer
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.interface import Reply, Translation
from rolltrace_proxy.raw_json import read_object
from rolltrace_proxy.sse import Event, EventFramer, parse_event
from rolltrace_proxy.stream_answer import StreamAnswer

_DONE = b"[DONE]"


class TranslatedWhole:
    """An answer in one piece, which is held back as a whole."""

    def __init__(self, inner: WholeAnswer, translation: Translation, status: int) -> None:
        self._inner = inner
        self._translation = translation
        self._status = status
        self._body: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        return self._inner.feed(data)

    def capture(self, *, ended: bool = True) -> Captured:
        captured = self._inner.capture(ended=ended)
        body = self._inner.close()
        if ended and body:
            translate = self._translation.whole if self._status < 400 else self._failed
            self._body = captured.response_json = translate(body)
        return captured

    def close(self) -> bytes:
        return self._inner.close() if self._body is None else self._body

    def _failed(self, body: bytes) -> bytes:
        return self._translation.error(self._status, body)


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
        return TranslatedWhole(inner, translation, status)
    return TranslatedStream(inner, translation.reply())
