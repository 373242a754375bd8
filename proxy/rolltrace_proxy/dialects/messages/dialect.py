"""The Messages API, as dialects.known lists it."""

from __future__ import annotations

from rolltrace_proxy.dialects.interface import Reply
from rolltrace_proxy.dialects.messages.answer import Message
from rolltrace_proxy.dialects.messages.errors import error_object, translate_error
from rolltrace_proxy.dialects.messages.replayed import replayed
from rolltrace_proxy.dialects.messages.request import Asked, chat_request
from rolltrace_proxy.dialects.messages.stream import MessageStream
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.raw_json import OBJECTS, read_member, read_object, write


class MessagesTranslation:
    """One call."""

    def __init__(self, asked: Asked, trace_id: str) -> None:
        self._asked = asked
        self._trace_id = trace_id

    @property
    def body(self) -> bytes:
        return self._asked.body

    def whole(self, body: bytes) -> bytes:
        top = read_object(body)
        if top is None or not read_member(OBJECTS, top, "choices"):
            return body
        message = Message(self._trace_id)
        message.add(top)
        message.end()
        return write(message.body())

    def error(self, status: int, body: bytes) -> bytes:
        return translate_error(status, body, self._trace_id)

    def reply(self) -> Reply:
        return MessageStream(self._trace_id, self._asked.eager)


class Messages:
    """A dialects.interface.Dialect."""

    def translate(self, body: bytes, trace_id: str) -> MessagesTranslation:
        return MessagesTranslation(chat_request(body), trace_id)

    def refusal(self, refused: Refused) -> bytes:
        return error_object(refused.status, refused.message)

    def error(self, status: int, body: bytes, trace_id: str, untold: str) -> bytes:
        why = f"The worker's own /v1/messages was asked, since chat completions can't express this: {untold}"
        return translate_error(status, body, trace_id, why)

    def stream(self, answer: bytes) -> bytes | None:
        return replayed(answer)


class CountTokens:
    """A Wording. Tokens are counted by the worker, which alone knows its template and its tokenizer."""

    def refusal(self, refused: Refused) -> bytes:
        return error_object(refused.status, refused.message)

    def error(self, status: int, body: bytes, trace_id: str, untold: str) -> bytes:
        lacks = status in (404, 405, 501)
        why = (
            "The worker's own /v1/messages/count_tokens was asked, which not every engine has."
            if lacks
            else ""
        )
        return translate_error(status, body, trace_id, why)
