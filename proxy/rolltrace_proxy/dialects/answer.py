"""A chat answer on its way to an agent that speaks a dialect. An Answer around an Answer.

Rule. An answer that can't be read can't be translated: as the agent could make nothing of it as it is, the
call ends with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rolltrace_proxy.answer import Answer, WholeAnswer
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.interface import Reply, Translation, Wording
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.raw_json import mend, read_object
from rolltrace_proxy.sse import Event, EventFramer, EventTooLargeError, parse_event
from rolltrace_proxy.stream_answer import StreamAnswer

_DONE = b"[DONE]"


class TranslatedWhole:
    """An answer in one piece, which is held back as a whole."""

    def __init__(self, inner: WholeAnswer, translate: Callable[[bytes], bytes]) -> None:
        self._inner = inner
        self._translate = translate
        self._body: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """Raises Refused."""
        if self._inner.feed(data):
            raise _untranslatable("has more bytes than are held back (--max-answer-size)")
        return b""

    def capture(self, *, ended: bool = True) -> Captured:
        captured = self._inner.capture(ended=ended)
        body = self._inner.close()
        if ended and body:
            self._body = captured.response_json = self._translate(_readable(body))
        return captured

    def close(self) -> bytes:
        return self._inner.close() if self._body is None else self._body


class TranslatedStream:
    """A stream, whose last events are held back."""

    def __init__(self, inner: StreamAnswer, reply: Reply) -> None:
        self._inner = inner
        self._reply = reply
        self._framer = EventFramer()
        self._done = False
        self._last: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """Raises Refused."""
        try:
            return self._said_in(self._framer.feed(self._inner.feed(data)))
        except EventTooLargeError as error:
            raise _untranslatable(f"can't be read: {error}") from None

    def capture(self, *, ended: bool = True) -> Captured:
        captured = self._inner.capture(ended=ended)
        if self._last is None:
            held = self._framer.rest() + self._inner.close()
            self._last = self._said_in(_events(held)) + (self._reply.close() if ended else b"")
        captured.response_json = self._reply.whole()
        return captured

    def close(self) -> bytes:
        self.capture()
        return self._last or b""

    def _said_in(self, events: list[Event]) -> bytes:
        return b"".join([self._said(event) for event in events])

    def _said(self, event: Event) -> bytes:
        """Comments go on, which keep connections alive."""
        if event.data is None:
            return event.raw if event.raw.startswith(b":") else b""
        self._done = self._done or event.data.startswith(_DONE)
        if self._done:
            return b""
        chunk = read_object(event.data) or read_object(mend(event.data) or b"")
        return b"" if chunk is None else self._reply.feed(chunk, self._inner.prompt_count)


def translated(inner: Answer, translation: Translation, status: int) -> Answer:
    """How the agent gets a worker's answer with this status. Raises Refused."""
    if isinstance(inner, WholeAnswer):
        return TranslatedWhole(
            inner, translation.whole if status < 400 else partial(translation.error, status)
        )
    if isinstance(inner, StreamAnswer):
        return TranslatedStream(inner, translation.reply())
    if status < 400:
        raise _untranslatable("is compressed, though it was asked not to be")
    return inner


def worded(inner: Answer, wording: Wording | None, status: int, trace_id: str, untold: str) -> Answer:
    """How the agent gets the answer to a call that went to the worker as it came."""
    if wording is None or status < 400 or not isinstance(inner, WholeAnswer):
        return inner
    return TranslatedWhole(inner, partial(wording.error, status, trace_id=trace_id, untold=untold))


def _untranslatable(what: str) -> Refused:
    return Refused(Fault.UNTRANSLATABLE, f"The worker's answer {what}, and this API is served from it.")


def _events(data: bytes) -> list[Event]:
    """All of them, the last of which may not have ended."""
    framer = EventFramer()
    events = framer.feed(data)
    rest = framer.rest()
    return [*events, parse_event(rest)] if rest else events


def _readable(body: bytes) -> bytes:
    """An object, mended if it has to be; what is none as it is."""
    return body if read_object(body) is not None else mend(body) or body
